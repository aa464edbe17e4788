"""Which images are one exam: one rule for ingest, ``predict`` and the gateway. A library."""
