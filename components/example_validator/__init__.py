"""The ExampleValidator node: TFDV checks the examples against the curated schema; anomalies stop the run."""
