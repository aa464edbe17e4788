"""Parameters of a run: what may change from run to run without compiling the pipeline anew.

Each stands for a key of the configuration. Nodes carry their configuration as JSON in an execution parameter, so a run
parameter cannot be that parameter itself; the compiled task takes it beside, and the entry point puts it in its place.
Kubeflow's cache looks at both.
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
        name: Its name.
        key: Key of the configuration that it stands for.
        default: Its value where a run gives none; tells its type too.
    """

    name: str
    key: str
    default: Value


@dataclass(frozen=True)
class Place:
    """Where a node keeps a key of the configuration.

    Attributes:
        parameter: Execution parameter.
        path: Keys inside; a text that is met on the way is JSON or YAML.
    """

    parameter: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((self.parameter, *self.path))

    @classmethod
    def parse(cls, text: str) -> Place:
        """Reads what ``str`` wrote."""
        parameter, *path = text.split("/")
        return cls(parameter, tuple(path))


# Keys that no other node computes with, so that a run parameter of one node cannot contradict another.
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
    """Names a distribution, where it has a name."""
    if value is None:
        return NOTHING
    config = DistributionConfig.model_validate(value)
    return next((name for name in SHORT_FORMS if DistributionConfig.model_validate(name) == config), None)


def run_parameters(configuration: Mapping[str, Any]) -> tuple[RunParameter, ...]:
    """Lists the parameters that runs of a configuration have.

    Args:
        configuration: ``RunConfig`` as JSON types.

    Returns:
        One for each key that has a value; a gate that is off cannot be switched on by a run, and the archive stays of
        the kind that it is.
    """
    found = []
    for name, key in _KEYS.items():
        value = _value(configuration, key)
        if name == "distribution":
            value = _distribution_name(value)
        if value is not None:
            found.append(RunParameter(name, key, value))
    return tuple(found)


def place_of(parameter: RunParameter, kind: str) -> Place | None:
    """Tells where a kind of node keeps what a run parameter stands for; None for nowhere."""
    section, _, leaf = parameter.key.rpartition(".")
    if parameter.key == "kubeflow.span":
        return Place("wanted_span", ()) if kind == "ArchiveScan" else None
    if kind == "ReportGenerator" and section.startswith("pipeline."):
        return Place("configuration", (section.removeprefix("pipeline."), leaf))
    at = _IN_NODES[section].get(kind)
    return Place(at[0], (*at[1:], leaf)) if at else None


def with_value(text: str, path: Sequence[str], value: Any) -> str:
    """Puts a value into a text of JSON or YAML.

    Args:
        text: JSON, whose texts may be JSON again, or YAML.
        path: Keys; empty to put the value in the place of the text.
        value: The value.

    Returns:
        The text with the value, in the format that it had.

    Raises:
        ParameterError: There is no such key.
    """
    if not path:
        return str(value)
    try:
        document, is_json = json.loads(text), True
    except json.JSONDecodeError:
        document, is_json = yaml.safe_load(text), False
    if not isinstance(document, dict):
        raise ParameterError(f"A run parameter goes into a mapping. Received: {type(document).__name__}")
    _put(document, path, value)
    return json.dumps(document) if is_json else yaml.safe_dump(document, sort_keys=False)


def _put(document: dict[str, Any], path: Sequence[str], value: Any) -> None:
    key, *rest = path
    if key not in document:
        raise ParameterError(f"A node's configuration has no key {key}: compile the pipeline anew.")
    if not rest:
        is_whole = isinstance(document[key], int) and isinstance(value, float) and value.is_integer()
        document[key] = int(value) if is_whole else value  # JSON's numbers have no type on the way through Kubeflow
    elif isinstance(document[key], str):
        document[key] = with_value(document[key], rest, value)
    else:
        _put(document[key], rest, value)


def meaning(value: Any) -> Any:
    """Gives the configuration's value of a run parameter's: the text ``none`` stands for nothing."""
    return None if value == NOTHING else value


def checked(given: Mapping[str, str], known: Sequence[RunParameter]) -> dict[str, Value]:
    """Types the parameters that a person gave a run.

    Raises:
        ParameterError: One is unknown, or no number where one is needed.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values: dict[str, Value] = {}
    for name, text in given.items():
        if name not in by_name:
            raise ParameterError(f"There is no run parameter {name}: give one of {', '.join(by_name)}.")
        kind = type(by_name[name].default)
        try:
            values[name] = kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ParameterError(f"The run parameter {name} is {wanted}. Received: {text}") from None
    return values
