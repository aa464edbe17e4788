"""Library: texture features of preprocessed pictures, and the classifier of exams that is fitted to them."""
