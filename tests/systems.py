"""The acquisition systems of the phantoms, as a model that was trained on them lists them."""

from __future__ import annotations

from schema.acquisition import REFERENCE_SYSTEMS, ImageSystem
from schema.training_systems import SystemTally, TrainedSystem


def systems_of_phantoms() -> tuple[TrainedSystem, ...]:
    tally = SystemTally()
    for number, reference in enumerate(REFERENCE_SYSTEMS):
        tally.add(f"exam {number}", ImageSystem(reference.system))
    return tally.systems()
