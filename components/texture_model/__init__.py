"""The TextureModel node: it fits the texture model of the mixed classifier."""
