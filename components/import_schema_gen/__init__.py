"""The ImportSchemaGen node: imports the text of the curated schema; only a changed text makes it run again."""
