"""The local model server, for machines without ``tensorflow_model_server``.

It serves one model from ``MODEL_DIR/VERSION/`` with TensorFlow Serving's gRPC services and REST paths. Start it with
`serving.server.run.start_server`. Names, codes and messages follow TensorFlow Serving 2.16. The docstrings of
`serving.server.grpc_service`, `serving.server.http_server` and `serving.server.json_tensors` list the differences.
"""
