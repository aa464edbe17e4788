"""The BaselineModel node: finds the latest pushed model for the Evaluator to compare with.

TFX's Resolver runs on no open-source Kubeflow Pipelines v2, and resolves a model's own push as its baseline when
nothing has changed, which spoils the cache. This node is an ordinary one: it looks again only for a new candidate.
"""
