"""Section "Calibration": how well probabilities agree with accuracy, before and after temperature scaling."""

from __future__ import annotations

from components.report_generator.artifacts import ReadEvaluation
from components.report_generator.figures import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.model_artifacts import ReadCalibration
from components.report_generator.page import Block, Note, Section, missing_note
from components.report_generator.text import number
from components.statistics.intervals import Figure
from components.statistics.metrics import CALIBRATION


def _temperature(calibration: ReadCalibration) -> Note:
    interval = calibration.temperature_ci95
    shown = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    meaning = " T below 1 sharpens the probabilities, T above 1 flattens them; the predicted class does not change."
    if calibration.decision in ("", "taken"):
        text = (
            "The mean probability p of an exam's views becomes softmax(log(p) / T) with"
            f" T = {number(calibration.temperature, 3)}{shown},"
            f" fitted to {calibration.exams:,} exams of the eval split."
        )
        return Note(" ".join(filter(None, (text, calibration.reason))) + meaning)
    fitted = (
        f" The temperature that fits the {calibration.exams:,} exams of the eval split best is"
        f" {number(calibration.fitted, 3)}{shown}."
    )
    text = f"The probabilities are the mean of an exam's views, without a temperature (T = 1). {calibration.reason}"
    return Note(text + (fitted + meaning if calibration.fitted is not None else ""))


def _test_rows(evaluation: ReadEvaluation | None) -> list[IntervalRow]:
    overall = evaluation.overall if evaluation else None
    if overall is None:
        return []
    served = {n: overall.metrics[n] for n in CALIBRATION if n in overall.metrics}
    before: dict[str, Figure] = {n: overall.metrics.get(f"uncalibrated_{n}", m) for n, m in served.items()}
    return [IntervalRow("Mean of the views", before), IntervalRow("As served", served)] if served else []


def _eval_rows(calibration: ReadCalibration | None) -> list[IntervalRow]:
    if calibration is None:
        return []
    ece, nll = calibration.ece, calibration.nll
    return [
        IntervalRow("Mean of the views", {"ece": ece.before, "nll": nll.before}),
        IntervalRow("As served", {"ece": ece.after, "nll": nll.after}),
    ]


def calibration_section(calibration: ReadCalibration | None, evaluation: ReadEvaluation | None) -> Section:
    """Show calibration error and log-likelihood of exams before and after calibration, on the test and eval splits."""
    blocks: list[Block] = []
    if calibration is None:
        blocks.append(missing_note("calibration", "ExamEnsemble"))
    else:
        blocks.append(_temperature(calibration))
        blocks += [Note(remark, "warn") for remark in calibration.remarks]
    test = _test_rows(evaluation)
    if not test:
        blocks.append(Note("Missing: no calibration metrics of the test split (output of node Evaluator).", "warn"))
    groups = (
        IntervalGroup("Test split: use this to judge the model", test),
        IntervalGroup("Eval split: used to fit the temperature and to choose the epochs", _eval_rows(calibration)),
    )
    if any(group.rows for group in groups):
        bins = f" over {calibration.ece_bins} bins" if calibration else ""
        blocks.append(
            interval_figure(
                "Calibration of exams before and after temperature scaling; lower is better",
                CALIBRATION,
                groups,
                note=f"ECE: mean difference between confidence and accuracy{bins}. With few exams, it is biased"
                " upwards: a perfectly calibrated model has about 0.15 on 50 exams and 0.06 on 300. The interval is not"
                " biased: it reaches down to 0 if chance can explain the measured error.",
            )
        )
    return Section("calibration", "Calibration", tuple(blocks))
