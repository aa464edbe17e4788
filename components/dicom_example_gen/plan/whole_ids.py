"""Identifiers of exams that a program wrote as numbers, ``1.0`` for ``1``: what they name in an archive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from components.sources.labels import WITH_FRACTION, Label, RowProblem, renamed, whole_id


def with_whole_ids(
    labels: Mapping[str, Label | RowProblem], known: Callable[[], Collection[str]]
) -> Mapping[str, Label | RowProblem]:
    """Cuts ``.0`` off identifiers that a program wrote as numbers.

    Args:
        labels: exam_id -> label or problem, of a labels file.
        known: Returns what the files name exams by: folders and identifiers of headers. Not called without need.

    Returns:
        The labels as they are where one of them does not end in ``.0``, or where a file is named as one of them is.
    """
    if not all(map(WITH_FRACTION.fullmatch, labels)) or not labels.keys().isdisjoint(known()):
        return labels
    return {whole_id(exam): renamed(label, whole_id(exam)) for exam, label in labels.items()}
