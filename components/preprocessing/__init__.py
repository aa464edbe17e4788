"""Library: turn one view into the network's picture (background, pectoral muscle, geometry, grey levels)."""
