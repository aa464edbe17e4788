"""The GradCamExplainer node: heat maps of the test split, and how well they stay on the breast."""
