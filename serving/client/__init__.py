"""Files of an exam to a grade: prepare the images, call the model, read its response."""
