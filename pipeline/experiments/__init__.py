"""The thesis's experiments: declared arms, each one run of the pipeline, and tables in the slides' own form."""
