"""The GradCamExplainer node: heat maps of the test split, where their heat lies, and the networks from the inside."""
