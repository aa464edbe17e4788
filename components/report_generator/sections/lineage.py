"""Section "Lineage": which data, code, configuration and packages the run was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from components.report_generator.inputs import NodeInfo, RunInfo
from components.report_generator.page import Block, Cell, Code, Fold, Note, Section, Table, missing
from components.report_generator.text import NOTHING


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _run_table(run: RunInfo) -> Table:
    data = [(f"Data ({n.node})", n.data) for n in run.nodes if n.data]
    rows = [
        ("Run", run.name, ""),
        ("Written", run.generated, ""),
        ("Exams", run.origin or "an archive's", ""),
        *((name, found, "names, sizes and dates of the files; labels by content") for name, found in data),
        ("Configuration", _fingerprint(run.configuration), "SHA-256 of the YAML below, its first 16 digits"),
    ]
    listed = tuple((Cell(name), Cell(value, detail)) for name, value, detail in rows)
    return Table("The run", ("", "Value or fingerprint"), listed)


def _node_table(nodes: Sequence[NodeInfo]) -> Table:
    rows = tuple(
        (Cell(node.node), Cell(node.code or "TFX's own"), Cell(", ".join(node.parents) or NOTHING)) for node in nodes
    )
    note = "Code: hash of the source that a node runs, imports followed. Equal data, code, parameters: equal results."
    return Table("Nodes, their code, and the nodes they take from", ("Node", "Code", "Parents"), rows, note)


def lineage_section(run: RunInfo | None) -> Section:
    """Shows fingerprints of data, code and configuration, the page's own inputs, packages, and the whole YAML."""
    if run is None:
        return Section("lineage", "Lineage", (missing("run information", "ReportGenerator"),))
    blocks: list[Block] = [_run_table(run)]
    if run.nodes:
        blocks.append(_node_table(run.nodes))
    else:
        blocks.append(Note("Missing: the nodes' fingerprints were not given to this report.", "warn"))
    if run.artifacts:
        rows = tuple((Cell(name), Cell(place)) for name, place in run.artifacts.items())
        columns = ("Input of the page", "Node / output / execution")
        blocks.append(Fold("Artifacts this page was made from", (Table("Artifacts of this page", columns, rows),)))
    if run.packages:
        rows = tuple((Cell(name), Cell(version)) for name, version in sorted(run.packages.items()))
        blocks.append(Fold("Package versions", (Table("Package versions", ("Package", "Version"), rows),)))
    if run.configuration.strip():
        blocks.append(Fold("Effective configuration (YAML)", (Code(run.configuration.strip()),)))
    else:
        blocks.append(Note("Missing: no configuration was given to this report.", "warn"))
    return Section("lineage", "Lineage", tuple(blocks))
