"""The declaration of an experiment: arms to run, parts of the test split for evaluation, and the form of the table.

Every metric value has three coordinates: arm, part and metric. A table arranges them along its rows and columns. The
values of the thesis have the same coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal

from schema.features import ClassDistribution

Axis = Literal["arm", "part", "figure"]
Key = tuple[str, str, str]  # arm, part, figure

EXAMS: Final = "exams"  # a metric of its own: the number of observations of the others


@dataclass(frozen=True)
class Arm:
    """One configuration of the pipeline.

    Attributes:
        name: Unique in its experiment.
        overrides: Values by dotted key, which override the configuration of the experiment.
        group: Heading over several arms.
        label: Heading of the arm inside its group; empty to use the name.
        image_scale: Factor for the image size of the configuration.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    label: str = ""
    image_scale: Fraction = Fraction(1)


@dataclass(frozen=True)
class Part:
    """A part of the test split for evaluation; by default all exams.

    Attributes:
        name: Heading.
        distribution: Resample by exam to this class distribution.
        view: Only the images of this view, evaluated as single images.
        side: The breasts of this side, R or L.
        system: The exams of this acquisition system.
    """

    name: str
    distribution: ClassDistribution | None = None
    view: str = ""
    side: str = ""
    system: str = ""


@dataclass(frozen=True)
class Published:
    """Values copied from the slides. They were measured on other data than any run of this command.

    Attributes:
        caption: Title of the table in the slides.
        figures: Values in the unit of the metric (a share, not per cent).
        data: Data that they were measured on.
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
        arms: Arms to run.
        parts: Parts of the test split; empty to use the acquisition systems of the data.
        figures: Metrics by the Evaluator's names.
        rows: Axes along the rows, the outer axis first.
        columns: Axis along the columns.
        baseline: Arm that the others are compared with, exam by exam.
        published: Values of the slides, if any.
        note: What a reader must know.
        leave_one_system_out: Run one more arm per acquisition system, which is excluded from training. Each system is
            evaluated by the arm that never saw it, and by the first arm.
        detail: Part for the table by view that every arm has.
        detail_published: Values of the slides for this part.
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
