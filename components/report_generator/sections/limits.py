"""Section "Intended use and limits": what the model is for, and what this run cannot say."""

from __future__ import annotations

from components.report_generator.cautions import cautions
from components.report_generator.inputs import RunInfo
from components.report_generator.loading import Artifacts
from components.report_generator.page import Block, Heading, Items, Note, Section
from schema.features import VIEWS

_USE = (
    "Research on breast density: it gives the class A, B, C or D of BI-RADS, 5th edition, of an exam of the views"
    f" {', '.join(view.replace('_', ' ') for view in VIEWS)}, with heat maps.",
    "Users: medical physicists, radiologists and engineers who judge such classifiers on archives they may use.",
    "Not for diagnosis, screening decisions, triage, or for telling a patient her density. Nobody has certified it.",
)
_LIMITS = (
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
        Note("Research software. Not a medical device.", "warn"),
        Heading("Intended use"),
        Items(_USE),
        Heading("Limits of this run"),
    ]
    of_run = (*cautions(artifacts, run), *_of_this_run(artifacts))
    blocks.append(Items(of_run) if of_run else Note("Missing: nothing of this run was given to this report.", "warn"))
    blocks += [Heading("Limits of every run"), Items(_LIMITS)]
    return Section("limits", "Intended use and limits", tuple(blocks))
