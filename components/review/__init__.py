"""Library: a reviewer's outline of the muscle in one image replaces the automatic result on the next run."""
