"""Weights of a pushed exam model, as the start of a new training."""

from __future__ import annotations

import os
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from schema.features import VIEWS, projection_of

_PROJECTIONS: Final = tuple(dict.fromkeys(projection_of(view) for view in VIEWS))
_WEIGHTS: Final = "_weights"  # of components.exam_model.signatures.ExamModel: one packed variable a network


def _packed(model_dir: str, view: str) -> np.ndarray:
    """Reads the packed weights of a view's network, float32 [P], from a SavedModel's variables."""
    reader = tf.train.load_checkpoint(os.path.join(model_dir, "variables", "variables"))
    nodes = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")).nodes

    def children(node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in nodes[node].children}

    networks = children(children(0)[_WEIGHTS])
    separate = len(networks) == len(VIEWS)
    index = VIEWS.index(view) if separate else _PROJECTIONS.index(projection_of(view))
    return reader.get_tensor(nodes[networks[str(index)]].attributes[0].checkpoint_key)


def pushed_weights(model_dir: str, view: str, network: keras.Model) -> list[np.ndarray] | None:
    """Takes the weights of a view's network from an exam model.

    Args:
        model_dir: SavedModel that ExamEnsemble wrote, of a network a view or a network a projection.
        view: One of VIEWS.
        network: A network of the architecture wanted; it is left as it is.

    Returns:
        Weights as ``network.set_weights`` takes them; None where the model's network is of another size.
    """
    packed = _packed(model_dir, view)
    order = [
        variable
        for part in (network.get_layer("features"), network.get_layer("head"))
        for variable in (*part.trainable_variables, *part.non_trainable_variables)
    ]
    sizes = [int(np.prod(variable.shape)) for variable in order]
    if sum(sizes) != len(packed):
        return None
    pieces = np.split(packed, np.cumsum(sizes)[:-1])
    values = {id(v): piece.reshape(v.shape) for v, piece in zip(order, pieces, strict=True)}
    return [values[id(variable)] for variable in network.weights]
