"""The ImportSchemaGen node: imports the curated schema by its text, so editing it is noticed and moving it is not."""
