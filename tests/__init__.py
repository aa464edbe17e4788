"""Tests. A regular package, because IPython and others put packages of the same name on the path."""
