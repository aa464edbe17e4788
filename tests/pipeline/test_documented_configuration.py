"""What README and docs say of configuration keys is so: blocks load, overrides are taken, keys exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.config import PipelineConfig, RunConfig, load_config

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
SECTIONS = set(PipelineConfig.model_fields) - {"name"}


def code_of(text: str) -> list[str]:
    return [*re.findall(r"`([^`\n]+)`", text), *re.findall(r"--set '?([^\s'`]+)", text)]


def exists(key: str, model: type[BaseModel] = RunConfig) -> bool:
    name, _, rest = key.partition(".")
    if name not in model.model_fields:
        return False
    annotation = model.model_fields[name].annotation
    options = getattr(annotation, "__args__", (annotation,))
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    # Without a model it is inside a value, such as a class of a distribution.
    return not rest or not models or any(exists(rest, option) for option in models)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_documented_configuration_is_so(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for number, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", text, re.S | re.M)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        load_config(file)
    keys = {match for code in code_of(text) for match in re.findall(r"^((?:[a-z_]+\.)+[a-z_]+)\b", code)}
    named = {key for key in keys if key.split(".")[0] in RunConfig.model_fields}
    assert [key for key in sorted(named) if not exists(key)] == []
    # Keys of the pipeline are only taken with their whole name.
    assert [key for key in sorted(keys) if key.split(".")[0] in SECTIONS] == []
    for assignment in re.findall(r"--set '?([a-z_.]+=[^\s'`]+)", text):
        load_config(None, [assignment])


def test_keys_that_there_are_not_are_found_out() -> None:
    assert exists("pipeline.ingest.splits.train")
    assert not exists("pipeline.ingest.split")
    assert exists("beam.job_endpoint")
    assert not exists("beam.job_server")
    assert "pipeline.trainer.epochs=50" in code_of("--set pipeline.trainer.epochs=50")
