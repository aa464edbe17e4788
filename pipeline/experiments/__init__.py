"""The experiments of the thesis: declared arms, one pipeline run per arm, and tables in the form of the slides."""
