"""Hyperparameters that another node found, laid over a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from components.trainer.config import TrainConfig


def with_hyperparameters(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Replaces values of a configuration.

    Args:
        config: The configuration.
        values: By dotted key, such as ``network.dropout``.

    Returns:
        The configuration with these values, validated.

    Raises:
        ValueError: There is no such key, or its value is not allowed.
    """
    changed = config.model_dump()
    for key, value in values.items():
        node = changed
        model: type[BaseModel] = TrainConfig
        *parents, last = key.split(".")
        for parent in parents:
            inner = model.model_fields[parent].annotation if parent in model.model_fields else None
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                raise ValueError(f"there is no trainer.{key}: {parent} has no keys inside")
            node, model = node[parent], inner
        if last not in model.model_fields:
            raise ValueError(f"there is no trainer.{key}; known are {', '.join(model.model_fields)}")
        node[last] = value
    try:
        return TrainConfig.model_validate(changed)
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(map(str, found["loc"]))
        raise ValueError(f"trainer.{key} cannot be {found['input']!r}: {found['msg']}") from error
