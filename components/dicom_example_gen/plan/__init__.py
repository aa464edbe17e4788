"""The plan of ingest: exam, label, patient and split of each file."""
