"""The model that comes with the software: whole, judged, small, and described by its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.exam_model.contract import CONTRACT_FILE, Contract, read_contract
from components.exam_model.saved_model import model_digest
from components.exam_model.versions import find_versions
from components.reference_model import REFERENCE, card, model_or_reference, reference_folder
from schema.features import VIEWS
from tests.known import known


@pytest.fixture(scope="module")
def model() -> Path:
    [folder] = find_versions(reference_folder()).values()
    return folder


@pytest.fixture(scope="module")
def contract(model: Path) -> Contract:
    return read_contract((model / CONTRACT_FILE).read_bytes())


def test_its_files_are_those_that_were_judged(model: Path, contract: Contract) -> None:
    assert model_digest(str(model)) == contract.model_sha256
    assert contract.evaluation is not None
    assert known(contract.evaluation.slices[0].metrics["quadratic_kappa"].value) > 0.4
    assert contract.exam.texture_weight == 0.5
    assert contract.views == VIEWS


def test_it_names_its_films(contract: Contract) -> None:
    systems = contract.training_data.training_systems.systems
    assert [system.name for system in systems if system.named] == ["DDSM film scanner A", "DDSM film scanner D"]
    assert sum(counts.exams for counts in contract.training_data.splits.values()) == 248


def test_it_is_small(model: Path) -> None:
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) < 12e6


def test_the_card_is_of_this_model(model: Path) -> None:
    text = card().read_text(encoding="utf-8")
    assert (model / "fingerprint.pb").read_bytes().hex()[:16] in text
    for words in ("Heath", "free for research", "must not be used", "quadratic weighted kappa", "recall A"):
        assert words in text


def test_a_named_model_is_taken_and_none_is_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_or_reference(None) == model_or_reference(REFERENCE) == reference_folder()
    assert model_or_reference(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / REFERENCE).mkdir()
    assert model_or_reference(REFERENCE) == Path(REFERENCE)
