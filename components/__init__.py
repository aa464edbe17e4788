"""TFX components, one folder a node: adapters over pure functions."""
