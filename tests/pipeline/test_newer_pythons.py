"""What the base lane's Python takes and a newer one refuses: found here, where most of the tests run."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmarks", "components", "pipeline", "schema", "serving")


def refused_defaults(cls: type) -> list[str]:
    """Fields whose default cannot be hashed, which is a ValueError since Python 3.11 and none before."""
    return [
        f"{cls.__module__}.{cls.__qualname__}.{field.name}"
        for field in dataclasses.fields(cls)
        if type(field.default).__hash__ is None
    ]


def dataclasses_of(package: str) -> Iterator[type]:
    for file in sorted((ROOT / package).rglob("*.py")):
        if package == "benchmarks" and file.name.startswith("make_"):  # programs, which import each other
            continue
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for found in vars(importlib.import_module(name)).values():
            if inspect.isclass(found) and dataclasses.is_dataclass(found) and found.__module__ == name:
                yield found


def test_an_array_is_a_default_that_is_refused() -> None:
    @dataclasses.dataclass
    class Good:
        counted: object = dataclasses.field(default_factory=lambda: np.ones(1))
        name: str = ""

    assert refused_defaults(Good) == []
    Good.__dataclass_fields__["counted"].default = np.ones(1)
    assert [name.rpartition(".")[2] for name in refused_defaults(Good)] == ["counted"]


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_no_dataclass_has_a_default_that_newer_pythons_refuse(package: str) -> None:
    found = list(dataclasses_of(package))
    assert len(found) > 1
    assert [name for cls in found for name in refused_defaults(cls)] == []
