"""The pipeline on Kubeflow Pipelines v2: compiling, submitting, the containers' entry point, a walk without a cluster.

The folder ``kubeflow/`` at the top holds the image and the manifests; it is no Python package, since that name is the
Kubeflow SDK's.
"""
