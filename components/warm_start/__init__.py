"""The WarmStart node: finds the latest pushed model for the Trainers to start from.

Like BaselineModel, it is an ordinary node and not a Resolver of TFX, because a Resolver does not run on open-source
Kubeflow Pipelines v2.
"""
