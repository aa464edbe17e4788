"""The pipeline on Kubeflow Pipelines v2: compile, submit, the containers' entry point, a run without a cluster.

The folder ``kubeflow/`` at the top level holds the image and the manifests. It is not a Python package, because the
Kubeflow SDK has that name.
"""
