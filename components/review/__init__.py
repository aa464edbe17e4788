"""Reviews: what a person says of the muscle in one image, read back as ``manual`` on the next run."""
