"""Sections about the run: serving checks, experiments, lineage, intended use and limits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from components.report_generator.loading import Artifacts, NodeInfo, PushInfo, RunInfo
from components.report_generator.model_artifacts import Infra
from components.report_generator.page import Block, Cell, Code, Fold, Heading, Items, Note, Section, Table, missing_note
from components.report_generator.text import NOTHING, passed_cell
from components.report_generator.warnings import run_warnings
from schema.software import INTENDED_USE, LIMITS, NOT_FOR, NOTICE


def push_note(push: PushInfo | None) -> Note:
    """Return a note on whether the model is in the serving directory."""
    if push is None:
        return missing_note("push result", "Pusher")
    if push.pushed:
        return Note(f"✓ Pushed to the serving directory as version {push.version or 'unknown'}.", "pass")
    return Note("✗ Not pushed: the serving directory is unchanged.", "warn")


def serving_section(infra: Infra | None, push: PushInfo | None) -> Section:
    """Show the checks of InfraCheck and the result of the Pusher."""
    blocks: list[Block] = [push_note(push)]
    if infra is None:
        blocks.append(missing_note("serving check", "InfraCheck"))
    else:
        rows = tuple(
            (Cell(c.name), passed_cell(c.passed), Cell(f"{c.seconds:.1f}"), Cell(c.detail)) for c in infra.checks
        )
        blocks.append(Table("Checks of the exported model", ("Check", "Result", "Seconds", "Detail"), rows))
    return Section("serving", "Serving checks", tuple(blocks))


def experiments_section() -> Section:
    """Return a section that explains where comparisons of runs are."""
    text = (
        "This page shows one run. Experiments compare several runs on the same data (architecture, normalisation,"
        " segmentation, flip, image size, an unseen acquisition system, dataset size). Each experiment has its own"
        " page; the command breast-density experiment NAME writes it."
    )
    return Section("experiments", "Experiments", (Note(text),))


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _run_table(run: RunInfo) -> Table:
    data = [(f"Data ({n.node})", n.data) for n in run.nodes if n.data]
    rows = [
        ("Run", run.name, ""),
        ("Written", run.generated, ""),
        ("Exams", run.origin or "from an archive", ""),
        *((name, found, "names, sizes and dates of the files; content of the labels") for name, found in data),
        ("Configuration", _fingerprint(run.configuration), "first 16 digits of the SHA-256 of the YAML below"),
    ]
    listed = tuple((Cell(name), Cell(value, detail)) for name, value, detail in rows)
    return Table("The run", ("", "Value or fingerprint"), listed)


def _node_table(nodes: Sequence[NodeInfo]) -> Table:
    rows = tuple(
        (Cell(node.node), Cell(node.code or "TFX's own"), Cell(", ".join(node.parents) or NOTHING)) for node in nodes
    )
    note = (
        "Code: hash of the source that a node runs, including its imports. Equal data, code and parameters give equal"
        " results."
    )
    return Table("Nodes, their code, and the nodes that they read from", ("Node", "Code", "Parents"), rows, note)


def lineage_section(run: RunInfo | None) -> Section:
    """Show fingerprints of data, code and configuration, inputs of the page, package versions and the whole YAML."""
    if run is None:
        return Section("lineage", "Lineage", (missing_note("run information", "ReportGenerator"),))
    blocks: list[Block] = [_run_table(run)]
    if run.nodes:
        blocks.append(_node_table(run.nodes))
    else:
        blocks.append(Note("Missing: no fingerprints of the nodes.", "warn"))
    if run.artifacts:
        rows = tuple((Cell(name), Cell(place)) for name, place in run.artifacts.items())
        columns = ("Input of the page", "Node / output / execution")
        blocks.append(Fold("Artifacts that this page shows", (Table("Artifacts of this page", columns, rows),)))
    if run.packages:
        rows = tuple((Cell(name), Cell(version)) for name, version in sorted(run.packages.items()))
        blocks.append(Fold("Package versions", (Table("Package versions", ("Package", "Version"), rows),)))
    if run.configuration.strip():
        blocks.append(Fold("Effective configuration (YAML)", (Code(run.configuration.strip()),)))
    else:
        blocks.append(Note("Missing: no configuration.", "warn"))
    return Section("lineage", "Lineage", tuple(blocks))


def _of_this_run(artifacts: Artifacts) -> tuple[str, ...]:
    ingest = artifacts.ingest
    if ingest is None:
        return ()
    names = ", ".join(sorted(ingest.systems))
    found = [f"Acquisition systems in the data: {names}. The model was not tested on any other system."]
    ages = sorted(age for summary in ingest.ages.values() for age in summary.counts)
    if ages:
        found.append(f"Ages in the data: {ages[0]} to {ages[-1]} years.")
    return tuple(found)


def limits_section(artifacts: Artifacts, run: RunInfo | None) -> Section:
    """Return the intended use, the limits of this run and the limits of every run."""
    blocks: list[Block] = [
        Note(NOTICE, "warn"),
        Heading("Intended use"),
        Items((*INTENDED_USE, NOT_FOR)),
        Heading("Limits of this run"),
    ]
    of_run = (*run_warnings(artifacts, run), *_of_this_run(artifacts))
    blocks.append(Items(of_run) if of_run else Note("Missing: no information about this run.", "warn"))
    blocks += [Heading("Limits of every run"), Items(LIMITS)]
    return Section("limits", "Intended use and limits", tuple(blocks))
