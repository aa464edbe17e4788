"""Library: texture features of preprocessed pictures, and the classifier of views that is fitted to them."""
