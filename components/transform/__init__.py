"""The Transform node: decoding and normalisation of images, labels, vocabularies, numeric features."""
