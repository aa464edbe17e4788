"""Library of all nodes: progress, code fingerprints, TFRecord shards, files, archive locations."""
