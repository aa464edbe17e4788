"""The WarmStart node: finds the latest pushed model for the Trainers to start from.

Like BaselineModel, it is an ordinary node where TFX would use a Resolver, which runs on no open-source Kubeflow
Pipelines v2.
"""
