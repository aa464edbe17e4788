"""Names that all packages share: features, views, density classes, acquisition systems."""
