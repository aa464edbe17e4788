"""The local stand-in of TensorFlow Serving, for machines without ``tensorflow_model_server``.

It serves one model from ``MODEL_DIR/VERSION/`` through TensorFlow Serving's own gRPC services and REST
paths. Start it with `serving.server.run.start_server`. Names, codes and messages follow TensorFlow Serving
2.16; what differs is written in the docstrings of `serving.server.grpc_service` and `serving.server.rest`.
"""
