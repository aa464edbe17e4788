"""What this software says about itself: its version, and the intended use and limits of its models."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Final

from schema.features import VIEWS

DISTRIBUTION: Final = "breast-density"
NOTICE: Final = "Research software. Not a medical device."
INTENDED_USE: Final = (
    "Research on breast density: it gives the class A, B, C or D of BI-RADS, 5th edition, of an exam of the views"
    f" {', '.join(view.replace('_', ' ') for view in VIEWS)}, with heat maps.",
    "Users: medical physicists, radiologists and engineers who judge such classifiers on archives they may use.",
)
NOT_FOR: Final = (
    "Not for diagnosis, screening decisions, triage, or for telling a patient her density. Nobody has certified it."
)
LIMITS: Final = (
    "A label is one reader's visual grade, unless the archive says otherwise. Readers differ, most between neighbouring"
    " classes: no model can be shown to be better than the labels it is judged by.",
    "The test split is of the same archive as the training: other patients, but the same readers, systems and"
    " population. What happens elsewhere needs an archive from elsewhere.",
    "Intervals say what other patients of the same archive would have given. They do not cover errors of the labels,"
    " other training runs, or other sites.",
    "Implants, magnified and spot views, biopsies and specimens are left out at ingest unless the configuration takes"
    " them: the model has not seen them. Tomosynthesis is not supported.",
    "A heat map is a few cells wide before it is enlarged to the picture: it shows a region, not a structure.",
    "Density changes with compression, dose and processing: a new software version of a system is a new system.",
)


@cache
def installed_version() -> str:
    """Return the version of the installed package, such as ``0.6.0``; reading the package's metadata takes 30 ms."""
    return metadata.version(DISTRIBUTION)
