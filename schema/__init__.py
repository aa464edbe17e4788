"""Names that everything shares: features, views, density classes, acquisition systems."""
