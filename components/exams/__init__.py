"""Library: which images form one exam. Ingest, ``predict`` and the gateway use the same rules."""
