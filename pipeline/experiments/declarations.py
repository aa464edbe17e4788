"""What an experiment is: arms to run, parts of the test split to judge them on, and the form of the table.

Every figure has three coordinates: arm, part, figure. A table lays them along its rows and columns, and the thesis's
figures are found by the same coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal

Axis = Literal["arm", "part", "figure"]
Key = tuple[str, str, str]  # arm, part, figure

EXAMS: Final = "exams"  # a figure of its own: how many observations the others rest on


@dataclass(frozen=True)
class Arm:
    """One configuration of the pipeline.

    Attributes:
        name: Unique in its experiment.
        overrides: Values by dotted key, over the configuration that the experiment is started with.
        group: Heading over several arms.
        label: Heading of the arm inside its group; the name where empty.
        image_scale: Factor on the image size of the configuration.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    label: str = ""
    image_scale: Fraction = Fraction(1)


@dataclass(frozen=True)
class Part:
    """What of the test split is judged; everything at exam level where nothing is set.

    Attributes:
        name: Heading.
        distribution: Resample by exam to ``AOUP``, ``BIRADS`` or ``uniform``.
        view: This view's images alone, each by itself.
        side: The breasts of this side, R or L.
        system: The exams of this acquisition system.
    """

    name: str
    distribution: Literal["AOUP", "BIRADS", "uniform"] | None = None
    view: str = ""
    side: str = ""
    system: str = ""


@dataclass(frozen=True)
class Published:
    """Figures of the slides, copied. They are of other data than any run of this command.

    Attributes:
        caption: What the slides call the table.
        figures: In the unit of the figure (a share, not per cent).
        data: What they were measured on.
    """

    caption: str
    figures: Mapping[Key, float]
    data: str


@dataclass(frozen=True)
class Experiment:
    """A table of the thesis as a command.

    Attributes:
        name: Name on the command line.
        title: Title of the table.
        sentence: What is compared, for ``--help``.
        arms: What is run.
        parts: Where it is judged; empty where they are the acquisition systems of the data.
        figures: Figures by the Evaluator's names.
        rows: Axes along the rows, outer one first.
        columns: Axis along the columns.
        baseline: Arm that the others are compared with, exam by exam.
        published: Figures of the slides, where they give any.
        note: What a reader must know.
        leave_one_system_out: Run one more arm an acquisition system, which is kept from training; each system is judged
            by the arm that never saw it, and by the first arm.
        detail: Part whose table view by view every arm has.
        detail_published: Figures of the slides for it.
    """

    name: str
    title: str
    sentence: str
    arms: tuple[Arm, ...]
    parts: tuple[Part, ...]
    figures: tuple[str, ...]
    rows: tuple[Axis, ...]
    columns: Axis
    baseline: str
    published: Published | None = None
    note: str = ""
    leave_one_system_out: bool = False
    detail: Part = Part("test set")
    detail_published: Published | None = None
