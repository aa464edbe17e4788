"""One view to the picture that the networks see: background, muscle, geometry, grey. A library."""
