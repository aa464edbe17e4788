"""The InfraCheck node: it checks that the exam model serves in a process with only TensorFlow.

TFX's own InfraValidator needs Docker and does not run on Kubeflow Pipelines v2.
"""
