"""The acquisition systems of a model's training exams, and the comparison of an exam with them.

ExamEnsemble collects them from the train split, the SavedModel and its contract contain them, and the client compares
the systems of every graded exam. Names are those of ingest; nothing else is normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schema.acquisition import ImageSystem
from schema.features import UNKNOWN


class SystemStatus(str, Enum):
    """How the acquisition system of an image relates to the training exams, from the best to the worst."""

    SEEN = "seen"  # manufacturer and model, or the name in the labels, are those of training exams
    OTHER_VERSION = "other_version"  # so they are, but the software version is not
    UNNAMED = "unnamed"  # the header names no system, as in training exams of the same kind
    UNSEEN = "unseen"
    NOT_KNOWN = "not_known"  # the model does not say what it was trained on, or the system was not given


_ORDER: Final = tuple(SystemStatus)


class TrainedSystem(BaseModel):
    """A system of the training exams.

    Attributes:
        name: Manufacturer and model; for a header without them the kind of image, one of
            ``schema.acquisition.IMAGE_KINDS``; names that labels give are systems of their own.
        software_versions: Known versions, sorted.
        exams: Exams of the train split with an image of this system.
        named: False if ``name`` is a kind of image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    software_versions: tuple[str, ...] = ()
    exams: int = Field(ge=1)
    named: bool = True


class TrainingSystems(BaseModel):
    """What a model says about its training exams.

    Attributes:
        origin: Where the exams come from, if they are not exams of patients.
        systems: Their acquisition systems, sorted by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str = ""
    systems: tuple[TrainedSystem, ...] = ()

    @classmethod
    def of_model(cls, text: bytes | str) -> TrainingSystems:
        """Read the JSON in an answer of a model; no systems if another version wrote it."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls()

    def status(self, system: ImageSystem) -> SystemStatus:
        """Compare the system of an image with the training exams."""
        if not self.systems:
            return SystemStatus.NOT_KNOWN
        trained = {(found.name, found.named): found for found in self.systems}
        if (system.label, True) in trained:
            return SystemStatus.SEEN
        found = trained.get((system.name, system.is_named))
        if found is None or (system.label and not system.is_named):  # a name in labels tells more than the kind
            return SystemStatus.UNSEEN
        if not found.named:
            return SystemStatus.UNNAMED
        versions = found.software_versions
        other = versions and system.system.software_version not in (UNKNOWN, *versions)
        return SystemStatus.OTHER_VERSION if other else SystemStatus.SEEN


NO_TRAINING: Final = TrainingSystems()  # of a model that does not say what it was trained on


def worst(statuses: Iterable[SystemStatus]) -> SystemStatus:
    """Return the worst status of an exam's images; without images it is not known."""
    return max(statuses, key=_ORDER.index, default=SystemStatus.NOT_KNOWN)


class SystemTally:
    """Collects the systems of training exams, image by image. Its memory grows with the number of exams."""

    def __init__(self) -> None:
        """Start without exams."""
        self._exams: dict[tuple[str, bool], set[str]] = {}
        self._versions: dict[tuple[str, bool], set[str]] = {}

    def add(self, exam_id: str, system: ImageSystem) -> None:
        """Count an image of an exam."""
        for name, named in self._names(system):
            self._exams.setdefault((name, named), set()).add(exam_id)
            if name == system.name and system.system.software_version != UNKNOWN:
                self._versions.setdefault((name, named), set()).add(system.system.software_version)

    @staticmethod
    def _names(system: ImageSystem) -> Iterator[tuple[str, bool]]:
        if system.label:
            yield system.label, True
        if system.name != system.label:
            yield system.name, system.is_named

    def systems(self) -> tuple[TrainedSystem, ...]:
        """Return the systems, sorted by name."""
        return tuple(
            TrainedSystem(
                name=name,
                software_versions=tuple(sorted(self._versions.get((name, named), ()))),
                exams=len(exams),
                named=named,
            )
            for (name, named), exams in sorted(self._exams.items())
        )
