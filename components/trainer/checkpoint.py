"""Checkpoints of a training: after each epoch, so that a run that was stopped goes on where it was.

TFX gives each execution folders of its own, and removes those of an execution that failed. Checkpoints therefore lie
beside them, in a folder named by what decides the training, and are removed when it is finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from components.trainer.epochs import Epoch, epoch_from_dict
from components.trainer.optimization import WeightAverage
from schema.features import VIEWS, projection_of

_PROJECTIONS: Final = tuple(dict.fromkeys(projection_of(view) for view in VIEWS))
_WEIGHTS: Final = "_weights"  # of components.exam_model.signatures.ExamModel: one packed variable a network


def _packed(model_dir: str, view: str) -> np.ndarray:
    """Read the packed weights of a view's network, float32 [P], from a SavedModel's variables."""
    reader = tf.train.load_checkpoint(os.path.join(model_dir, "variables", "variables"))
    nodes = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")).nodes

    def children(node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in nodes[node].children}

    networks = children(children(0)[_WEIGHTS])
    separate = len(networks) == len(VIEWS)
    index = VIEWS.index(view) if separate else _PROJECTIONS.index(projection_of(view))
    return reader.get_tensor(nodes[networks[str(index)]].attributes[0].checkpoint_key)


def pushed_weights(model_dir: str, view: str, network: keras.Model) -> list[np.ndarray] | None:
    """Take the weights of a view's network from an exam model.

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


_FOLDER: Final = ".checkpoints"
_EPOCHS: Final = "epochs"


def checkpoint_folder(model_run_dir: str, decides: Any) -> str:
    """Name the folder of a training's checkpoints.

    Args:
        model_run_dir: TFX's folder of this execution, ``.../Trainer.CC_R/model_run/17``.
        decides: Everything that decides the training, as JSON can hold it: configuration, data, code.

    Returns:
        ``.../Trainer.CC_R/.checkpoints/HASH``: the same for each execution of an equal training of this node.
    """
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    node = os.path.dirname(os.path.dirname(model_run_dir.rstrip("/")))
    return os.path.join(node, _FOLDER, digest)


class Progress(tf.train.experimental.PythonState):
    """What a training has reached, as a checkpoint keeps it.

    Attributes:
        epochs: Figures of the epochs that are finished.
        best: Weights of the best of them.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.best: list[np.ndarray] = []

    def serialize(self) -> bytes:
        """Write figures and weights as NPZ."""
        stream = io.BytesIO()
        text = json.dumps([epoch.to_dict() for epoch in self.epochs])
        # Any, because a keyword of savez itself is a flag.
        arrays: dict[str, Any] = {f"{number:05d}": weight for number, weight in enumerate(self.best)}
        np.savez(stream, **{_EPOCHS: np.array(text), **arrays})
        return stream.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        """Read what :meth:`serialize` wrote."""
        with np.load(io.BytesIO(string_value), allow_pickle=False) as arrays:
            self.epochs = [epoch_from_dict(values) for values in json.loads(str(arrays[_EPOCHS]))]
            self.best = [arrays[name] for name in sorted(set(arrays.files) - {_EPOCHS})]


class Checkpoints:
    """The checkpoint of a training; a new one replaces the one before."""

    def __init__(
        self,
        folder: str,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        average: WeightAverage | None,
        progress: Progress,
    ):
        """Name what is kept.

        Args:
            folder: Folder of :func:`checkpoint_folder`; made at the first save.
            network: The network, with the state of its random generators.
            optimizer: Its optimiser, built.
            average: Average of the weights, if there is one.
            progress: Figures and best weights.
        """
        kept: dict[str, Any] = {
            "network": [variable.value for variable in network.variables],
            "optimizer": [variable.value for variable in optimizer.variables],
            "progress": progress,
        }
        if average is not None:
            kept["average"] = average
        self._checkpoint = tf.train.Checkpoint(**kept)
        self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=1, checkpoint_name="epoch")

    def restore(self) -> bool:
        """Take up the last checkpoint; tells whether there was one."""
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        self._checkpoint.restore(path).assert_consumed()
        return True

    def save(self, epoch: int) -> None:
        """Write the state after an epoch, and then removes the one before."""
        self._manager.save(checkpoint_number=epoch)


def discard(folder: str) -> None:
    """Remove the checkpoints of a training that is finished."""
    if tf.io.gfile.isdir(folder):
        tf.io.gfile.rmtree(folder)
    parent = os.path.dirname(folder)
    if tf.io.gfile.isdir(parent) and not tf.io.gfile.listdir(parent):
        tf.io.gfile.rmtree(parent)
