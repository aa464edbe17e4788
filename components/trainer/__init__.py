"""The Trainer node: one 41-layer ResNet a projection."""
