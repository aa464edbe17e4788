"""The GradCamExplainer node: heat maps of the test split, their scores, and checks of the networks behind them."""
