"""Node that turns ingested views into the networks' pictures: breast cropped, pectoral muscle replaced."""
