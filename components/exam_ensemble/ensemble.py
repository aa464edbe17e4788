"""Build the exam model from trained Keras networks, and grade a split with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View, batched, read_views
from components.exam_model.familiarity import channel_statistics, feature_layers
from components.exam_model.heat_source import LAST_STAGE, stage_end
from components.exam_model.signatures import ExamModel, ExamSettings
from components.exam_model.view_networks import ViewFunctions
from components.statistics.combination import CombinedExams, combine_views
from components.statistics.scores import cluster_of
from components.transform.config import ImageConfig
from schema.features import DENSITY_CLASSES, VIEWS


@dataclass(frozen=True)
class PackedFunctions:
    """A network as functions of its packed weights; networks of one architecture share the functions.

    Attributes:
        features: From weights, float32 [P], and images, float32 [N, size, size, C], to the activations of the first
            stage of the heat map and the statistics of earlier layers.
        parts: From weights, float32 [P], and the activations of each stage of the heat map to those of the next one;
            the last goes to logits, float32 [N, 4] or [N, 3].
        stages: Stages of the heat map.
        shapes: Shapes of the packed weights, in their order.
        statistics: Number of statistics; 0 if the network lacks the layers.
        layers: These layers.
    """

    features: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    parts: tuple[Callable[[tf.Tensor, tf.Tensor], tf.Tensor], ...]
    stages: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    statistics: int
    layers: tuple[str, ...]


def packed_functions(network: keras.Model, stages: Sequence[int] = (LAST_STAGE,)) -> PackedFunctions:
    """Trace the parts of a network as inference functions of its packed weights.

    Args:
        network: Network of :func:`components.trainer.network.build_network`, with layers ``features`` and ``head``.
        stages: Stages of the heat map, ascending; the network is cut behind each.

    Raises:
        ValueError: The network lacks a stage.
    """
    features, head = _parts(network)
    variables = [*_variables(features), *_variables(head)]
    shapes = tuple(tuple(variable.shape) for variable in variables)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    places = {id(variable): place for place, variable in enumerate(variables)}
    weights_spec = tf.TensorSpec([int(ends[-1])])

    def call(part: keras.Model, packed: tf.Tensor, inputs: tf.Tensor) -> Any:
        def piece(variable: keras.Variable) -> tf.Tensor:
            end, size = ends[places[id(variable)]], int(np.prod(variable.shape))
            return tf.reshape(packed[end - size : end], variable.shape)

        trained, others = map(piece, part.trainable_variables), map(piece, part.non_trainable_variables)
        return part.stateless_call(list(trained), list(others), inputs, training=False)[0]

    cuts = [stage_end(features, stage) for stage in stages]
    layers = feature_layers(layer.name for layer in features.layers)
    stem = keras.Model(features.inputs, [cuts[0], *(features.get_layer(name).output for name in layers)])

    @tf.function(input_signature=[weights_spec, tf.TensorSpec(features.input_shape)], autograph=False)
    def run_features(packed: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = call(stem, packed, images)
        if not layers:  # Keras returns a single output without its list
            return found, tf.zeros((tf.shape(images)[0], 0))
        activations, *earlier = found
        return activations, channel_statistics(earlier)

    def traced(chain: Sequence[keras.Model]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        def run(packed: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
            for part in chain:
                activations = call(part, packed, activations)
            return activations

        spec = [weights_spec, tf.TensorSpec(chain[0].input_shape)]
        result: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(run, spec, autograph=False)
        return result

    rest = [] if cuts[-1] is features.output else [keras.Model(cuts[-1], features.output)]
    chains = [*([keras.Model(*ends)] for ends in pairwise(cuts)), [*rest, head]]
    statistics = 2 * sum(int(output.shape[-1]) for output in stem.outputs[1:])
    return PackedFunctions(run_features, tuple(map(traced, chains)), tuple(stages), shapes, statistics, layers)


def view_functions(network: keras.Model, shared: PackedFunctions | None = None) -> ViewFunctions:
    """Bind the weights of a network to the functions of its architecture.

    The weights are packed in one variable, and four networks share the functions, each traced once. With hundreds of
    variables captured by dozens of nested functions, export and loading take a minute; with a copy of the functions per
    network they still take three times as long.

    Args:
        network: Network of :func:`components.trainer.network.build_network`.
        shared: Functions of a network of the same architecture; None traces new functions.

    Raises:
        ValueError: The weights of the network do not have the shapes of the functions.
    """
    functions = shared or packed_functions(network)
    values = [np.asarray(variable.numpy(), np.float32) for part in _parts(network) for variable in _variables(part)]
    if tuple(value.shape for value in values) != functions.shapes:
        raise ValueError(
            f"The view networks must be of one architecture. Received: {len(values)} weights, where the first network"
            f" has {len(functions.shapes)}, or weights of other shapes."
        )
    packed = tf.Variable(np.concatenate([value.ravel() for value in values]), trainable=False, name="weights")

    def features(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return functions.features(tf.convert_to_tensor(packed), images)

    def bound(part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda activations: part(tf.convert_to_tensor(packed), activations)

    parts = tuple(map(bound, functions.parts))
    return ViewFunctions(features, parts, functions.stages, packed, functions.statistics, functions.layers)


def _parts(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    return network.get_layer("features"), network.get_layer("head")


def _variables(part: keras.Model) -> list[keras.Variable]:
    """Return the variables of a part, with the unused state of dropout."""
    return [*part.trainable_variables, *part.non_trainable_variables]


def load_exam_model(
    network_files: Mapping[str, str], image: ImageConfig, settings: ExamSettings | None = None
) -> ExamModel:
    """Load the networks and combine them.

    Args:
        network_files: Path of the ``.keras`` file of each view; views of the same file share one network.
        image: Input of every network.
        settings: Settings of the model; None for the default values.

    Returns:
        The exam model.

    Raises:
        ValueError: A view is missing, the input of a network differs from the configuration, or the networks do not
            have one architecture.
    """
    settings = settings or ExamSettings()
    loaded: dict[str, ViewFunctions] = {}
    shared: PackedFunctions | None = None
    expected = (None, image.size, image.size, image.channels)
    for view in VIEWS:
        if view not in network_files or network_files[view] in loaded:
            continue
        network = keras.models.load_model(network_files[view], compile=False)
        if network.input_shape != expected:
            raise ValueError(f"Network {view} takes {network.input_shape}. Expected: {expected}")
        shared = shared or packed_functions(network, settings.heat_map.stages)
        loaded[network_files[view]] = view_functions(network, shared)
    networks = {view: loaded[file] for view, file in network_files.items()}
    return ExamModel(networks, image, settings)


_BATCH: Final = 8  # views in memory; at the published size the activations of a view take about 100 MB


def batches_of(views: Iterable[View]) -> Iterator[list[View]]:
    """Yield views in groups that a network takes at once."""
    return batched(views, _BATCH)


@dataclass(frozen=True, eq=False)
class GradedSplit:
    """A split, graded without calibration.

    Attributes:
        exams: The exams in the order of the shards, with their raw probabilities.
        labels: Their classes, int64 [E].
        patients: Their patients, numbered, int64 [E].
        exam_ids: Exam of each image, [N].
        views: View of each image, [N].
        distances: Distance of each image from the training views, float64 [N]; zeros if they are not fitted.
    """

    exams: CombinedExams
    labels: NDArray[Any]
    patients: NDArray[Any]
    exam_ids: tuple[str, ...]
    views: tuple[str, ...]
    distances: NDArray[Any]


def grade_split(model: ExamModel, folder: str) -> GradedSplit:
    """Grade a split, without calibration.

    Args:
        model: Exam model; its temperature is not applied.
        folder: Split folder of preprocessed examples.
    """
    strings = tf.TensorSpec([None], tf.string)
    predict = tf.function(model.view_distances, input_signature=[strings, strings], autograph=False)
    exam_ids: list[str] = []
    views: list[str] = []
    probabilities: list[NDArray[Any]] = []
    distances: list[NDArray[Any]] = []
    density: dict[str, str] = {}
    patients: dict[str, str] = {}
    for batch in batches_of(read_views(folder)):
        answer = predict(tf.constant([view.image for view in batch]), tf.constant([view.view for view in batch]))
        probabilities.append(answer[0].numpy())
        distances.append(answer[1].numpy())
        exam_ids += [view.exam_id for view in batch]
        views += [view.view for view in batch]
        density |= {view.exam_id: view.density for view in batch}
        patients |= {view.exam_id: cluster_of(view.patient_id, view.exam_id) for view in batch}
    rows = np.concatenate(probabilities) if probabilities else np.zeros((0, len(DENSITY_CLASSES)))
    exams = combine_views(exam_ids, views, rows)
    labels = np.array([DENSITY_CLASSES.index(density[exam]) for exam in exams.exam_ids], np.int64)
    _, clusters = np.unique([patients[exam] for exam in exams.exam_ids], return_inverse=True)
    whole = np.concatenate(distances).astype(np.float64) if distances else np.zeros(0)
    return GradedSplit(exams, labels, clusters.astype(np.int64), tuple(exam_ids), tuple(views), whole)
