"""The training section: networks that serve two views, and what the Tuner chose."""

from __future__ import annotations

from typing import Any

from components.report_generator.artifacts import History
from components.report_generator.page import Table
from components.report_generator.sections.training import training_section
from schema.features import VIEWS, projection_of


def history(network: str, **more: Any) -> History:
    epoch = {"epoch": 1, "loss": 1.0, "accuracy": 0.4, "val_loss": 1.1, "val_accuracy": 0.5}
    images = {"train": 10, "eval": 4}
    figures = {"best_epoch": 1, "parameters": 100, "convolutions": 41, "images": images, "epochs": [epoch]}
    return History.model_validate({"view": network, **figures, **more})


def table(training: dict[str, History]) -> Table:
    [found] = [block for block in training_section(training).blocks if isinstance(block, Table)]
    return found


def test_a_network_that_serves_two_views_is_shown_once() -> None:
    shown = table({view: history(projection_of(view)) for view in VIEWS})
    assert [row[0].text for row in shown.rows] == ["CC", "MLO"]
    assert "Tuner" not in shown.note


def test_what_the_tuner_chose_is_named() -> None:
    chosen = {"network.dropout": 0.25, "learning_rate": 0.0012345}
    shown = table({view: history(view, hyperparameters=chosen) for view in VIEWS})
    assert len(shown.rows) == len(VIEWS)
    assert shown.note.endswith("The Tuner chose learning_rate 0.00123, network.dropout 0.25.")
