"""A library: grey statistics of preprocessed pictures, and the simple classifier that a network has to beat."""
