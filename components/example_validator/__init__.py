"""The ExampleValidator node: TFDV against the curated schema; anomalies stop the run."""
