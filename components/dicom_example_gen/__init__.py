"""Ingest: files and labels of an archive become one tf.Example an image, or a typed rejection."""
