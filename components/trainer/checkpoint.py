"""Weights that a training starts from: its own checkpoints, or a pushed exam model.

A checkpoint is written after each epoch, so that a stopped training can be resumed. TFX gives each execution its own
folders and removes those of a failed execution. Checkpoints are therefore beside these folders. Their folder is named
by a hash of everything that determines the training, and removed when the training is finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from components.trainer.epochs import Epoch, epoch_from_dict
from components.trainer.optimization import WeightAverage
from schema.features import VIEWS, projection_of

# Views of each network of an exam model, by the number of its networks: per view, per projection, one for all.
_PROJECTIONS: Final = tuple(dict.fromkeys(projection_of(view) for view in VIEWS))
_VIEWS_BY_COUNT: Final[dict[int, tuple[tuple[str, ...], ...]]] = {
    len(VIEWS): tuple((view,) for view in VIEWS),
    len(_PROJECTIONS): tuple(tuple(v for v in VIEWS if projection_of(v) == name) for name in _PROJECTIONS),
    1: (VIEWS,),
}
_WEIGHTS: Final = "_weights"  # of components.exam_model.signatures.ExamModel: one packed variable a network


def _packed(model_dir: str, views: Sequence[str]) -> NDArray[Any] | None:
    """Read the packed weights of the network of exactly these views, float32 [P], from a SavedModel; or None."""
    reader = tf.train.load_checkpoint(os.path.join(model_dir, "variables", "variables"))
    nodes = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")).nodes

    def children(node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in nodes[node].children}

    networks = children(children(0)[_WEIGHTS])
    groups = _VIEWS_BY_COUNT.get(len(networks), ())
    if tuple(views) not in groups:
        return None
    index = groups.index(tuple(views))
    result: NDArray[Any] = reader.get_tensor(nodes[networks[str(index)]].attributes[0].checkpoint_key)
    return result


def pushed_weights(model_dir: str, views: Sequence[str], network: keras.Model) -> list[NDArray[Any]] | None:
    """Return the weights of a network from an exam model.

    Args:
        model_dir: SavedModel of ExamEnsemble, with one network per view, one per projection, or one for all views.
        views: Views of the network, in the order of VIEWS.
        network: A network of the required architecture; it is not changed.

    Returns:
        Weights for ``network.set_weights``; None if no network of the model has these views, or if its
        head or its size differs.
    """
    packed = _packed(model_dir, views)
    if packed is None:
        return None
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
    """Return the folder of the checkpoints of a training.

    Args:
        model_run_dir: TFX's folder of this execution, ``.../Trainer.CC_R/model_run/17``.
        decides: Everything that determines the training, in JSON types: configuration, data, code.

    Returns:
        ``.../Trainer.CC_R/.checkpoints/HASH``: the same for all executions of an equal training of this node.
    """
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    node = os.path.dirname(os.path.dirname(model_run_dir.rstrip("/")))
    return os.path.join(node, _FOLDER, digest)


class TrainingProgress(tf.train.experimental.PythonState):
    """Progress of a training, as a checkpoint stores it.

    Attributes:
        epochs: Metrics of the finished epochs.
        best: Weights of the kept epoch.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.best: list[NDArray[Any]] = []

    def serialize(self) -> bytes:
        """Return metrics and weights as NPZ."""
        stream = io.BytesIO()
        text = json.dumps([epoch.to_dict() for epoch in self.epochs])
        # Any, because savez also has a keyword that is a flag.
        arrays: dict[str, Any] = {f"{number:05d}": weight for number, weight in enumerate(self.best)}
        np.savez(stream, **{_EPOCHS: np.array(text), **arrays})
        return stream.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        """Restore the output of :meth:`serialize`."""
        with np.load(io.BytesIO(string_value), allow_pickle=False) as arrays:
            self.epochs = [epoch_from_dict(values) for values in json.loads(str(arrays[_EPOCHS]))]
            self.best = [arrays[name] for name in sorted(set(arrays.files) - {_EPOCHS})]


class Checkpoints:
    """The checkpoint of a training. A new checkpoint replaces the previous one."""

    def __init__(
        self,
        folder: str,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        average: WeightAverage | None,
        progress: TrainingProgress,
    ):
        """Define the content of the checkpoint.

        Args:
            folder: Folder of :func:`checkpoint_folder`; the first save creates it.
            network: The network, with the state of its random generators.
            optimizer: Its optimiser, built.
            average: Average of the weights, or None.
            progress: Metrics and best weights.
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
        """Restore the last checkpoint; return True if there was one."""
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        self._checkpoint.restore(path).assert_consumed()
        return True

    def save(self, epoch: int) -> None:
        """Save the state after an epoch, and then remove the previous checkpoint."""
        self._manager.save(checkpoint_number=epoch)


def discard(folder: str) -> None:
    """Remove the checkpoints of a finished training."""
    if tf.io.gfile.isdir(folder):
        tf.io.gfile.rmtree(folder)
    parent = os.path.dirname(folder)
    if tf.io.gfile.isdir(parent) and not tf.io.gfile.listdir(parent):
        tf.io.gfile.rmtree(parent)
