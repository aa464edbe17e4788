"""Files of an exam to a grade: prepare, ask the model, read its answer."""
