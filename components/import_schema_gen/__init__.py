"""The ImportSchemaGen node: TFX's own, which does not notice an edited schema, given the file's hash."""
