"""Section "Training": the networks of the views, their curves and their best epochs."""

from __future__ import annotations

from collections.abc import Mapping

from components.report_generator.artifacts import History
from components.report_generator.charts import training_chart
from components.report_generator.page import Block, Cell, Charts, Section, Table, missing
from components.report_generator.text import number, value_text, view_name
from schema.features import VIEWS


def in_view_order(training: Mapping[str, History]) -> list[History]:
    """Returns the histories in the order of the views, unknown ones last; one that serves two views comes once."""
    names = [v for v in VIEWS if v in training] + sorted(set(training) - set(VIEWS))
    return list({training[name].view: training[name] for name in names}.values())


def _table(histories: list[History]) -> Table:
    rows = []
    for history in histories:
        best = history.best
        rows.append(
            (
                Cell(view_name(history.view)),
                Cell(f"{history.images.get('train', 0):,}"),
                Cell(f"{history.images.get('eval', 0):,}"),
                Cell(f"{history.parameters:,}"),
                Cell(f"{history.convolutions}"),
                Cell(f"{best.epoch} of {len(history.epochs)}"),
                Cell(value_text("accuracy", best.val_accuracy)),
                Cell(number(best.val_loss, 3)),
            )
        )
    return Table(
        "Networks, and their figures on the eval split at the best validation epoch (BV epoch)",
        (
            "Network",
            "Train images",
            "Eval images",
            "Parameters",
            "Convolutions",
            "BV epoch",
            "Eval accuracy",
            "Eval loss",
        ),
        tuple(rows),
        "Figures of single views. The eval split chose the epoch, so they are optimistic: judge by the test split."
        + _tuned(histories[0].hyperparameters),
    )


def _tuned(hyperparameters: Mapping[str, float | str]) -> str:
    """Says what the Tuner chose, the same for all networks."""
    if not hyperparameters:
        return ""
    texts = (f"{k} {v if isinstance(v, str) else format(v, '.3g')}" for k, v in sorted(hyperparameters.items()))
    return f" The Tuner chose {', '.join(texts)}."


def training_section(training: Mapping[str, History]) -> Section:
    """Shows the training of each view network; views without a history are named."""
    absent = [v for v in VIEWS if v not in training]
    blocks: list[Block] = [missing("training history", f"Trainer.{view}") for view in absent]
    if training:
        histories = in_view_order(training)
        blocks += [_table(histories), Charts(tuple(training_chart(h) for h in histories))]
    return Section("training", "Training", tuple(blocks))
