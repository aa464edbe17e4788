"""The InfraCheck node: proof that the exam model serves, from a process that has TensorFlow alone.

TFX's own InfraValidator needs Docker and does not run on Kubeflow Pipelines v2.
"""
