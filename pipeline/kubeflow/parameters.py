"""Parameters of a run: what may change from run to run without compiling the pipeline again.

Each run parameter sets a key of the configuration. Nodes receive their configuration as JSON in an execution parameter,
so a run parameter cannot be an execution parameter itself. The compiled task receives it separately, and the entry
point inserts it into the configuration. Kubeflow's cache considers both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from components.exams.distribution import SHORT_FORMS, DistributionConfig

Value = str | int | float
NOTHING: Final = "none"


class ParameterError(ValueError):
    """A run parameter is unknown, or its value is not allowed."""


@dataclass(frozen=True)
class RunParameter:
    """A parameter of a run.

    Attributes:
        name: Name of the parameter.
        key: Key of the configuration that it sets.
        default: Value for runs that do not set it; it also defines the type.
    """

    name: str
    key: str
    default: Value


@dataclass(frozen=True)
class ParameterPlace:
    """Where a node stores a key of the configuration.

    Attributes:
        parameter: Execution parameter.
        path: Keys inside; a text on the path is JSON or YAML.
    """

    parameter: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((self.parameter, *self.path))

    @classmethod
    def parse(cls, text: str) -> ParameterPlace:
        """Read what ``str`` wrote."""
        parameter, *path = text.split("/")
        return cls(parameter, tuple(path))


# Keys that only one node computes with, so that a run parameter of one node cannot contradict another node.
_KEYS: Final[Mapping[str, str]] = {
    "data_folder": "data.folder",
    "data_labels": "data.labels",
    "data_manifest": "data.manifest",
    "span": "kubeflow.span",
    "distribution": "pipeline.ingest.distribution",
    "split_seed": "pipeline.ingest.split_seed",
    "epochs": "pipeline.trainer.epochs",
    "batch_size": "pipeline.trainer.batch_size",
    "learning_rate": "pipeline.trainer.learning_rate",
    "minimum_exam_accuracy": "pipeline.evaluator.minimum_exam_accuracy",
    "minimum_exam_macro_recall": "pipeline.evaluator.minimum_exam_macro_recall",
    "minimum_exam_quadratic_kappa": "pipeline.evaluator.minimum_exam_quadratic_kappa",
    "minimum_exam_class_recall": "pipeline.evaluator.minimum_exam_class_recall",
    "maximum_kappa_loss": "pipeline.evaluator.maximum_kappa_loss",
    "maximum_system_loss": "pipeline.evaluator.maximum_system_loss",
    "minimum_energy_in_breast": "pipeline.explainer.minimum_energy_in_breast",
}
_IN_NODES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "data": {"ArchiveScan": ("archive",)},
    "pipeline.ingest": {"DicomExampleGen": ("config",)},
    "pipeline.trainer": {
        "Trainer": ("custom_config", "config"),
        "Tuner": ("custom_config", "config"),
        "WarmStart": ("trainer",),
    },
    "pipeline.evaluator": {"Evaluator": ("config",)},
    "pipeline.explainer": {"GradCamExplainer": ("config",)},
}


def _value(configuration: Mapping[str, Any], key: str) -> Any:
    value: Any = configuration
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _distribution_name(value: Any) -> str | None:
    """Return the name of a distribution; None if it has no name."""
    if value is None:
        return NOTHING
    config = DistributionConfig.model_validate(value)
    return next((name for name in SHORT_FORMS if DistributionConfig.model_validate(name) == config), None)


def run_parameters(configuration: Mapping[str, Any]) -> tuple[RunParameter, ...]:
    """Return the parameters of the runs of a configuration.

    Args:
        configuration: ``RunConfig`` as JSON types.

    Returns:
        One parameter per key that has a value. A run cannot switch on a gate that is off, and cannot change the kind of
        the archive.
    """
    found = []
    for name, key in _KEYS.items():
        value = _value(configuration, key)
        if name == "distribution":
            value = _distribution_name(value)
        if value is not None:
            found.append(RunParameter(name, key, value))
    return tuple(found)


def place_of(parameter: RunParameter, kind: str) -> ParameterPlace | None:
    """Return where a kind of node stores the key of a run parameter; None if it does not."""
    section, _, leaf = parameter.key.rpartition(".")
    if parameter.key == "kubeflow.span":
        return ParameterPlace("wanted_span", ()) if kind == "ArchiveScan" else None
    if kind == "ReportGenerator" and section.startswith("pipeline."):
        return ParameterPlace("configuration", (section.removeprefix("pipeline."), leaf))
    at = _IN_NODES[section].get(kind)
    return ParameterPlace(at[0], (*at[1:], leaf)) if at else None


def with_value(text: str, path: Sequence[str], value: Any) -> str:
    """Set a value in a JSON or YAML text.

    Args:
        text: JSON, in which texts may be JSON again, or YAML.
        path: Keys; empty to replace the text by the value.
        value: The value.

    Returns:
        The text with the value, in the same format.

    Raises:
        ParameterError: The key does not exist.
    """
    if not path:
        return str(value)
    try:
        document, is_json = json.loads(text), True
    except json.JSONDecodeError:
        document, is_json = yaml.safe_load(text), False
    if not isinstance(document, dict):
        raise ParameterError(f"A run parameter sets a key of a mapping. Received: {type(document).__name__}")
    _put(document, path, value)
    return json.dumps(document) if is_json else yaml.safe_dump(document, sort_keys=False)


def _put(document: dict[str, Any], path: Sequence[str], value: Any) -> None:
    key, *rest = path
    if key not in document:
        raise ParameterError(f"A node's configuration has no key {key}: compile the pipeline again.")
    if not rest:
        is_whole = isinstance(document[key], int) and isinstance(value, float) and value.is_integer()
        document[key] = int(value) if is_whole else value  # Kubeflow does not keep the type of JSON numbers
    elif isinstance(document[key], str):
        document[key] = with_value(document[key], rest, value)
    else:
        _put(document[key], rest, value)


def config_value(value: Any) -> Any:
    """Return the configuration's value for a run parameter's value: None for the text ``none``."""
    return None if value == NOTHING else value


def typed_values(given: Mapping[str, str], known: Sequence[RunParameter]) -> dict[str, Value]:
    """Convert run parameters from text to their types.

    Raises:
        ParameterError: A parameter is unknown, or is not a number although one is required.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values: dict[str, Value] = {}
    for name, text in given.items():
        if name not in by_name:
            raise ParameterError(f"The run parameter {name} does not exist: give one of {', '.join(by_name)}.")
        kind = type(by_name[name].default)
        try:
            values[name] = kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ParameterError(f"The run parameter {name} must be {wanted}. Received: {text}") from None
    return values
