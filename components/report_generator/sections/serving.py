"""Section "Serving checks": proof that the model answers, and how it calibrates its answers."""

from __future__ import annotations

from components.report_generator.artifacts import Calibration, Infra
from components.report_generator.inputs import PushInfo
from components.report_generator.page import Block, Cell, Heading, Note, Section, Table, missing
from components.report_generator.text import metric_cell, n_cell, passed_cell


def push_note(push: PushInfo | None) -> Note:
    """Says whether the model is in the serving directory."""
    if push is None:
        return missing("push result", "Pusher")
    if push.pushed:
        return Note(f"✓ Pushed to the serving directory as version {push.version or 'unknown'}.", "pass")
    return Note("✗ Not pushed: the serving directory keeps what it had.", "warn")


def _calibration_blocks(calibration: Calibration | None) -> list[Block]:
    if calibration is None:
        return [missing("calibration", "ExamEnsemble")]
    interval = calibration.temperature_ci95
    temperature = Cell(f"{calibration.temperature:.3f}", f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "")
    names = {
        "ece": f"Expected calibration error, {calibration.ece_bins} bins",
        "nll": "Negative log-likelihood, nats an exam",
    }
    figures = {"ece": calibration.ece, "nll": calibration.nll}
    rows = [
        (Cell(names[name]), metric_cell(name, pair.before), metric_cell(name, pair.after))
        for name, pair in figures.items()
    ]
    rows.append((Cell("Temperature"), Cell("1"), temperature))
    rows.append((Cell("Exams of the eval split"), n_cell(calibration.exams), n_cell(calibration.exams)))
    table = Table(
        "The exam model before and after calibration, eval split",
        ("", "Mean of the views", "As served"),
        tuple(rows),
        "p, the mean of an exam's views, becomes softmax(log(p) / temperature): under 1"
        " sharpens, above 1 flattens, and no grade changes. The temperature was fitted to these exams, and"
        " the eval split chose the epochs: judge by the test split. Under each value its 95\u00a0% interval.",
    )
    return [Heading("Calibration"), table, *(Note(remark, "warn") for remark in calibration.remarks)]


def serving_section(infra: Infra | None, calibration: Calibration | None, push: PushInfo | None) -> Section:
    """Shows the checks of InfraCheck, what was pushed, and the calibration that the model applies."""
    blocks: list[Block] = [push_note(push)]
    if infra is None:
        blocks.append(missing("serving check", "InfraCheck"))
    else:
        blocks.append(
            Table(
                "Checks of the exported model",
                ("Check", "Result", "Seconds", "Detail"),
                tuple(
                    (Cell(c.name), passed_cell(c.passed), Cell(f"{c.seconds:.1f}"), Cell(c.detail))
                    for c in infra.checks
                ),
            )
        )
    blocks += _calibration_blocks(calibration)
    return Section("serving", "Serving checks", tuple(blocks))
