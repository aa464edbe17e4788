"""Charts of the report: their style, and figures as picture blocks.

Charts are SVG data URIs, drawn with the object API of matplotlib; equal data give equal bytes. Colours are those of
Okabe and Ito (2008), which colour-blind readers can distinguish; shapes and line styles differ too. Text from files is
never parsed as math. A chart is as wide as a phone, so that its text stays readable there.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from matplotlib import style
from matplotlib.figure import Figure

from components.report_generator.page import Picture
from components.report_generator.pictures import data_uri

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREY: Final = "#6e6e6e"
_INK: Final = "#1b1f24"
GRID: Final = "#e3e6ea"
CHART_WIDTH: Final = 4.2  # inches
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
def chart_style() -> Iterator[None]:
    """Apply the style of the report to figures that are made and saved inside the block."""
    with style.context(_STYLE):
        yield


def chart_picture(figure: Figure, alt: str, caption: str) -> Picture:
    """Return a figure as a picture block: SVG without a date, with its size in CSS pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(data_uri(buffer.getvalue(), "image/svg+xml"), alt, caption, width=width, height=height)
