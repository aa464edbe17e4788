"""The BaselineModel node: finds the latest pushed model for the Evaluator to compare with.

TFX's Resolver does not run on open-source Kubeflow Pipelines v2. If nothing has changed, it also resolves the model's
own push as the baseline, which invalidates the cache. This ordinary node searches again only for a new candidate.
"""
