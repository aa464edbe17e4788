"""Section "Training": the networks of the views, their curves and their best epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from components.report_generator.artifacts import History, ReadEpoch
from components.report_generator.charts import BLUE, CHART_WIDTH, GREY, GRID, ORANGE, chart_picture, chart_style
from components.report_generator.page import Block, Cell, Charts, Picture, Section, Table, missing_note
from components.report_generator.text import number, value_text, view_name
from schema.features import VIEWS

_LOG_FROM: Final = 8.0  # ratio of largest and smallest loss from which the axis is logarithmic
_MARGINS: Final = {"left": 0.13, "right": 0.98, "bottom": 0.12, "top": 0.94, "hspace": 0.25}  # shares of the figure


def _curves(
    axes: Axes, epochs: Sequence[ReadEpoch], train: Sequence[float], held_out: Sequence[float], best: int
) -> None:
    numbers = [e.epoch for e in epochs]
    axes.plot(numbers, train, color=GREY, linewidth=1.3, linestyle="--", label="train")
    axes.plot(numbers, held_out, color=BLUE, linewidth=1.8, label="eval")
    axes.axvline(best, color=ORANGE, linewidth=1, linestyle=":")
    at_best = held_out[numbers.index(best)]
    axes.plot(best, at_best, marker="D", markersize=6, color=ORANGE, linestyle="none", label="BV epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(color=GRID)


def _scale_losses(axes: Axes, losses: Sequence[float]) -> str:
    """Make the axis logarithmic if losses span a wide range; return the title."""
    finite = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    if not finite or max(finite) < _LOG_FROM * min(finite):
        return "Loss"
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    return "Loss, log axis"


def network_name(history: History) -> str:
    """Return the name of a network: its view, its projection, or ``all views``."""
    return "all views" if history.view == "ALL" else view_name(history.view)


def training_chart(history: History) -> Picture:
    """Draw loss and accuracy of the train and eval splits by epoch, and mark the best validation epoch."""
    best, epochs = history.best, history.epochs
    losses, held_out = [e.loss for e in epochs], [e.val_loss for e in epochs]
    with chart_style():
        figure = Figure(figsize=(CHART_WIDTH, 3.7))
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw=_MARGINS)
        _curves(upper, epochs, losses, held_out, best.epoch)
        upper.set_title(_scale_losses(upper, [*losses, *held_out]))
        upper.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
        _curves(lower, epochs, [e.accuracy for e in epochs], [e.val_accuracy for e in epochs], best.epoch)
        lower.set_title("Accuracy of single views")
        lower.set_ylim(0, 1.02)
        lower.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        lower.set_xlabel("Epoch")
        accuracy = value_text("accuracy", best.val_accuracy)
        alt = (
            f"Training curves of {network_name(history)}. Best epoch {best.epoch}: eval loss {best.val_loss:.3f}, "
            f"eval accuracy {accuracy}."
        )
        images = f"{history.images.get('train', 0):,} train and {history.images.get('eval', 0):,} eval images"
        caption = f"{network_name(history)}: BV epoch {best.epoch} of {len(epochs)}; {images}"
        return chart_picture(figure, alt, caption)


def in_view_order(training: Mapping[str, History]) -> list[History]:
    """Return the histories in the order of the views, unknown views last; a network of several views appears once."""
    names = [v for v in VIEWS if v in training] + sorted(set(training) - set(VIEWS))
    return list({training[name].view: training[name] for name in names}.values())


def _table(histories: list[History]) -> Table:
    rows = []
    for history in histories:
        best = history.best
        rows.append(
            (
                Cell(network_name(history)),
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
        "Networks and their metrics on the eval split at the best validation epoch (BV epoch)",
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
        "Metrics of single views. They are optimistic, because the eval split also chose the epoch; use the test split."
        + _head(histories[0].head)
        + _tuned(histories[0].hyperparameters),
    )


def _head(head: str) -> str:
    """Return sentences about a head that is not the published one; empty if it is."""
    if head != "cumulative":
        return ""
    return (
        " The networks have a cumulative head: probabilities of a density above A, above B and above C; the classes are"
        " their differences. The train loss is the sum of three binary cross-entropies, the eval loss the cross-entropy"
        " of the classes, so their levels cannot be compared."
    )


def _tuned(hyperparameters: Mapping[str, float | str]) -> str:
    """Return a sentence with the hyperparameters that the Tuner chose for all networks; empty if there are none."""
    if not hyperparameters:
        return ""
    texts = (f"{k} {v if isinstance(v, str) else format(v, '.3g')}" for k, v in sorted(hyperparameters.items()))
    return f" The Tuner chose {', '.join(texts)}."


def training_section(training: Mapping[str, History]) -> Section:
    """Show the training of each network; name each view without a history."""
    absent = [v for v in VIEWS if v not in training]
    blocks: list[Block] = [missing_note("training history", f"Trainer.{view}") for view in absent]
    if training:
        histories = in_view_order(training)
        blocks += [_table(histories), Charts(tuple(training_chart(h) for h in histories))]
    return Section("training", "Training", tuple(blocks))
