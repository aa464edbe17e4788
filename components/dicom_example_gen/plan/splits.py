"""Which split a patient falls into: a function of the patient alone, so that new patients move nobody."""

from __future__ import annotations

import hashlib

from components.dicom_example_gen.config import SplitFractions
from components.sources.labels import DEVELOPMENT


def split_of(patient_hash: str, fractions: SplitFractions, seed: str | int, named: str = "") -> str:
    """Assigns a patient to a split.

    The hash of seed and patient is read as a number in [0, 1) and compared with the cumulated fractions.
    Other patients do not enter, so adding or removing some never moves one; all exams of a patient stay
    together.

    Args:
        patient_hash: Keyed hash of the patient.
        fractions: Share of patients by split.
        seed: Another seed gives another, independent assignment.
        named: Split that the source names: ``train``, ``eval`` or ``test``, which it is then; ``train+eval``, which
            the fractions of these two divide; empty = none.

    Returns:
        ``train``, ``eval`` or ``test``.
    """
    if named and named != DEVELOPMENT:
        return named
    digest = hashlib.sha256(f"{seed}\0{patient_hash}".encode()).digest()
    position = (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact, always below 1
    if named == DEVELOPMENT:
        return "train" if position * (fractions.train + fractions.eval) < fractions.train else "eval"
    if position < fractions.train:
        return "train"
    # Compared from the other end too, so that rounding of train + eval gives no patient to an empty split.
    return "test" if position >= 1 - fractions.test and fractions.test > 0 else "eval"
