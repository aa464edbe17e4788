"""What several nodes share: progress, code fingerprints, TFRecord shards."""
