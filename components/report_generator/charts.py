"""Charts as SVG data URIs, drawn with matplotlib's object API and the same to the byte for equal data.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; shapes and line styles
differ too. Text from files is never read as math. A chart is as wide as a phone, so that its text stays readable there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from components.report_generator.artifacts import Epoch, History
from components.report_generator.page import Picture
from components.report_generator.pictures import data_uri
from components.report_generator.text import value_text, view_name

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREY: Final = "#6e6e6e"
_INK: Final = "#1b1f24"
_GRID: Final = "#e3e6ea"
_WIDTH: Final = 4.2  # inches
_MARGINS: Final = {"left": 0.13, "right": 0.98, "bottom": 0.12, "top": 0.94, "hspace": 0.25}  # shares of the figure
_LOG_FROM: Final = 8.0  # ratio of losses from which a logarithmic axis shows more
_STYLE: Final = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.borderpad": 0.0,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "breast-density-report",
}


@contextmanager
def _chart_style() -> Iterator[None]:
    """Applies the look of the report to figures made and saved inside."""
    with style.context(_STYLE):
        yield


def _picture(figure: Figure, alt: str, caption: str) -> Picture:
    """Makes a block of a figure: SVG without a date, and its size in CSS pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(data_uri(buffer.getvalue(), "image/svg+xml"), alt, caption, width=width, height=height)


def _curves(axes: Axes, epochs: Sequence[Epoch], train: Sequence[float], held_out: Sequence[float], best: int) -> None:
    numbers = [e.epoch for e in epochs]
    axes.plot(numbers, train, color=GREY, linewidth=1.3, linestyle="--", label="train")
    axes.plot(numbers, held_out, color=BLUE, linewidth=1.8, label="eval")
    axes.axvline(best, color=ORANGE, linewidth=1, linestyle=":")
    at_best = held_out[numbers.index(best)]
    axes.plot(best, at_best, marker="D", markersize=6, color=ORANGE, linestyle="none", label="BV epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(color=_GRID)


def _scale_losses(axes: Axes, losses: Sequence[float]) -> str:
    """Makes the axis logarithmic where losses span much; returns the title."""
    finite = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    if not finite or max(finite) < _LOG_FROM * min(finite):
        return "Loss"
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    return "Loss, log axis"


def training_chart(history: History) -> Picture:
    """Draws loss and accuracy over the epochs, training and eval split, with the best validation epoch marked."""
    best, epochs = history.best, history.epochs
    losses, held_out = [e.loss for e in epochs], [e.val_loss for e in epochs]
    with _chart_style():
        figure = Figure(figsize=(_WIDTH, 3.7))
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
            f"Training curves of {history.view}. Best epoch {best.epoch}: eval loss {best.val_loss:.3f}, "
            f"eval accuracy {accuracy}."
        )
        images = f"{history.images.get('train', 0):,} train and {history.images.get('eval', 0):,} eval images"
        caption = f"{view_name(history.view)}: BV epoch {best.epoch} of {len(epochs)}; {images}"
        return _picture(figure, alt, caption)
