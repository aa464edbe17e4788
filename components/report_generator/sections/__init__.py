"""Sections of the report, one module each: typed artifacts in, blocks of the page out."""
