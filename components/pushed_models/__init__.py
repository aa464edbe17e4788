"""The nodes that find the latest pushed model: for the Evaluator to compare with, and for the Trainers to start from.

TFX's Resolver does not run on open-source Kubeflow Pipelines v2. If nothing has changed, it also resolves the model's
own push as the baseline, which invalidates the cache. These ordinary nodes search again only for a new input.
"""
