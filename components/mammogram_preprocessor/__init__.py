"""Node that turns an ingested view into the network's picture: breast cropped, pectoral muscle replaced."""
