"""Section "Intended use and limits": what the model is for, and what this run cannot say."""

from __future__ import annotations

from components.report_generator.cautions import cautions
from components.report_generator.inputs import RunInfo
from components.report_generator.loading import Artifacts
from components.report_generator.page import Block, Heading, Items, Note, Section
from schema.intended_use import INTENDED_USE, LIMITS, NOT_FOR, NOTICE


def _of_this_run(artifacts: Artifacts) -> tuple[str, ...]:
    ingest = artifacts.ingest
    if ingest is None:
        return ()
    found = [f"Acquisition systems in training and test: {', '.join(sorted(ingest.systems))}. No others are known."]
    ages = sorted(age for summary in ingest.ages.values() for age in summary.counts)
    if ages:
        found.append(f"Ages in the data: {ages[0]} to {ages[-1]} years.")
    return tuple(found)


def limits_section(artifacts: Artifacts, run: RunInfo | None) -> Section:
    """States the intended use, the limits of every run, and those of this one."""
    blocks: list[Block] = [
        Note(NOTICE, "warn"),
        Heading("Intended use"),
        Items((*INTENDED_USE, NOT_FOR)),
        Heading("Limits of this run"),
    ]
    of_run = (*cautions(artifacts, run), *_of_this_run(artifacts))
    blocks.append(Items(of_run) if of_run else Note("Missing: nothing of this run was given to this report.", "warn"))
    blocks += [Heading("Limits of every run"), Items(LIMITS)]
    return Section("limits", "Intended use and limits", tuple(blocks))
