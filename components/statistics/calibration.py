"""Temperature scaling of an exam's probabilities: the fit, its metrics, and the file in which the model carries them.

The mean of four views is under-confident: if the views differ, it is flatter than each of them. One temperature T,
softmax(log(p) / T), makes the probabilities agree with how often they are right, and changes no grade.

If every exam of a small split is graded right, the likelihood alone would make the probabilities as confident as the
bounds allow, without evidence. So the fit has a weak prior: log T is normal about 0 with a standard deviation of .5.
20 to 60 exams can overrule it and 200 hardly notice it. In simulations with true temperatures of .6 to 1.7, a fit to 20
exams then loses half as much on other exams, and a fit to 200 the same.

A temperature is taken only where cross-validation by patient shows that it helps: the whole 95 % interval of the change
of the held-out log-likelihood must be below 0. Else T is 1, because a temperature that fits chance makes the
probabilities of other exams worse.

Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599; for the
prior, Gelman, Jakulin, Pittau, Su, A weakly informative default prior distribution for logistic and other regression
models, Annals of Applied Statistics 2(4):1360, 2008 (1 / T is the only coefficient of a logistic regression).
"""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from components.statistics.intervals import Figure, bootstrap_weights, make_figure, percentile_interval
from components.statistics.probabilities import (
    ECE_BINS,
    calibration_error_interval,
    expected_calibration_error,
    gaps_by_bin,
    losses,
)
from schema.features import DENSITY_CLASSES

# In the SavedModel's folder. TensorFlow Serving ignores foreign files in ``assets.extra``.
CALIBRATION_FILE: Final = "assets.extra/calibration.json"
TEMPERATURE_BOUNDS: Final = (0.25, 4.0)
MINIMUM_EXAMS: Final = 20  # with fewer exams the fit is mostly noise
PRIOR_SD: Final = 0.5  # of log T; 95 % of the prior lies between T = .38 and 2.7
FOLDS: Final = 5
Decision = Literal["", "taken", "not_shown_to_help", "too_few_exams", "off"]
_GRID: Final = 201
_HALF_CHI2_95: Final = 1.92  # half of the 95 % point of chi squared with one degree of freedom
_DRAWS: Final = 500
_SEED: Final = 0
_DIGITS: Final = 6


class BeforeAfter(BaseModel):
    """A metric of the raw probabilities and of the calibrated probabilities, on the same exams."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Figure
    after: Figure


class Calibration(BaseModel):
    """The content of ``calibration.json``.

    Its metrics are of the exams that the temperature was fitted to. The Evaluator measures it on other exams.

    Attributes:
        method: As configured.
        temperature: The T that the model applies; 1 changes nothing.
        decision: Why it is that T; empty in files of older versions, which took every fit.
        reason: The decision in one sentence.
        fitted: The T that fits all exams, also if it is not taken; None without a fit.
        temperature_ci95: Interval of the fitted T by likelihood and prior, clipped to the bounds; None without a fit.
        gain: Change of ``nll`` by the temperature in cross-validation by patient, nats; below 0 helps. None without it.
        at_bound: The fit ended at the smallest or the largest allowed temperature, so T is not an estimate.
        split: Split that was used.
        exams: Exams of the split that have a grade.
        by_class: Number of these exams per density class.
        nll: Mean negative log-likelihood of the right class, nats.
        ece: Expected calibration error, 0..1.
        ece_bins: Equal bins of the largest probability, 0..1.
        remarks: What the reader must know, in sentences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["temperature", "none"]
    temperature: float = Field(gt=0)
    decision: Decision = ""
    reason: str = ""
    fitted: float | None = None
    temperature_ci95: tuple[float, float] | None
    gain: Figure | None = None
    at_bound: bool = False
    split: str = "eval"
    exams: int
    by_class: dict[str, int]
    nll: BeforeAfter
    ece: BeforeAfter
    ece_bins: int = ECE_BINS
    remarks: tuple[str, ...] = ()


def calibrate(probabilities: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Apply a temperature: softmax(log(p) / T), which is p ** (1 / T) scaled to sum to 1.

    Args:
        probabilities: [..., 4]. A row of zeros ("no view") stays a row of zeros.
        temperature: Above 0; below 1 sharpens, above 1 flattens, 1 changes nothing.

    Returns:
        float64 [..., 4].

    Raises:
        ValueError: The temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"A temperature must be above 0. Received: temperature={temperature}")
    probabilities = np.asarray(probabilities, np.float64)
    if temperature == 1.0:
        return probabilities.copy()
    powers = probabilities ** (1.0 / temperature)
    total = powers.sum(axis=-1, keepdims=True)
    calibrated: NDArray[Any] = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
    return calibrated


def penalised_loss(probabilities: NDArray[Any], labels: NDArray[Any], temperature: float) -> float:
    """Return the negative log posterior of a temperature, nats: the losses of the exams plus that of the prior."""
    likelihood = losses(calibrate(probabilities, temperature), labels).sum()
    return float(likelihood + (np.log(temperature) / PRIOR_SD) ** 2 / 2)


def fit_temperature(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the temperature with the lowest penalised loss, within `TEMPERATURE_BOUNDS`.

    Args:
        probabilities: [N, 4], raw.
        labels: int [N].

    Returns:
        The temperature.
    """
    from scipy.optimize import minimize_scalar  # not above: commands that do not fit start faster without it

    found = minimize_scalar(
        lambda x: penalised_loss(probabilities, labels, float(np.exp(x))),
        bounds=tuple(np.log(TEMPERATURE_BOUNDS)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def temperature_interval(probabilities: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """Return the 95 % likelihood interval of the fitted temperature, clipped to the bounds."""
    grid = np.geomspace(*TEMPERATURE_BOUNDS, _GRID)
    loss = np.array([penalised_loss(probabilities, labels, t) for t in grid])
    inside = grid[loss <= loss.min() + _HALF_CHI2_95]
    return float(inside[0]), float(inside[-1])


def _figures(probabilities: NDArray[Any], labels: NDArray[Any]) -> tuple[Figure, Figure]:
    """Return negative log-likelihood and calibration error, with bootstrap intervals over the exams."""
    n = len(labels)
    if n == 0:
        nothing = Figure(value=None, ci95=None, n=0)
        return nothing, nothing
    loss = losses(probabilities, labels)
    weights = np.concatenate(list(bootstrap_weights(np.arange(n), _DRAWS, _SEED)), axis=1)
    gaps = gaps_by_bin(probabilities, labels, np.ones((n, 1)))[0]
    ece_interval = calibration_error_interval(gaps, gaps_by_bin(probabilities, labels, weights))
    return (
        make_figure(loss.mean(), percentile_interval(loss @ weights / n), n),
        make_figure(expected_calibration_error(probabilities, labels), ece_interval, n),
    )


def cross_validated_gain(probabilities: NDArray[Any], labels: NDArray[Any], clusters: NDArray[Any]) -> Figure:
    """Return the change of the mean negative log-likelihood by a temperature that was fitted to other patients.

    Args:
        probabilities: [N, 4], raw.
        labels: int [N].
        clusters: int [N], the patient of each exam.

    Returns:
        Loss with temperature minus loss without it, nats, with an interval by patient; undefined with one patient.
    """
    patients, codes = np.unique(clusters, return_inverse=True)
    if len(patients) < 2:
        return Figure(value=None, ci95=None, n=len(labels))
    fold_of_patient = np.empty(len(patients), np.int64)
    fold_of_patient[np.random.default_rng(_SEED).permutation(len(patients))] = np.arange(len(patients)) % FOLDS
    fold = fold_of_patient[codes]
    change = np.empty(len(labels))
    for number in range(min(FOLDS, len(patients))):
        held_out = fold == number
        temperature = fit_temperature(probabilities[~held_out], labels[~held_out])
        calibrated = calibrate(probabilities[held_out], temperature)
        change[held_out] = losses(calibrated, labels[held_out]) - losses(probabilities[held_out], labels[held_out])
    means = [change @ weights / weights.sum(axis=0) for weights in bootstrap_weights(codes, _DRAWS, _SEED)]
    return make_figure(float(change.mean()), percentile_interval(np.concatenate(means)), len(labels))


def _decide(gain: Figure) -> tuple[Decision, str]:
    """Return whether a temperature is taken, and why."""
    if gain.value is None or gain.ci95 is None:
        return "not_shown_to_help", "Cross-validation cannot show that a temperature helps, so T is 1."
    measured = (
        f"In {FOLDS}-fold cross-validation by patient on {gain.n} exams, a temperature changes the negative"
        f" log-likelihood by {gain.value:+.3f} nats (95 % interval {gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f})"
    )
    if gain.ci95[1] < 0:
        return "taken", f"{measured}: it helps, so it is taken."
    return "not_shown_to_help", f"{measured}: it is not shown to help, so T is 1."


def _remarks(probabilities: NDArray[Any], labels: NDArray[Any], temperature: float, at_bound: bool) -> list[str]:
    """Return what the reader of a fitted temperature must know."""
    remarks = []
    if at_bound:
        remarks.append(
            f"The temperature stands at its bound {temperature:.2f}: the exams of the fit do not determine it."
        )
    if (probabilities.argmax(axis=1) == labels).all():
        remarks.append(
            "Every exam that the temperature was fitted to is graded right, so the error rate of the model is"
            " unknown: on other exams its probabilities may be too high."
        )
    absent = [name for index, name in enumerate(DENSITY_CLASSES) if not (labels == index).any()]
    if absent:
        remarks.append(f"The split has no exam of class {', '.join(absent)}: their calibration was not measured.")
    return remarks


def fit_calibration(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    method: Literal["temperature", "none"] = "temperature",
    clusters: NDArray[Any] | None = None,
) -> Calibration:
    """Fit the temperature, take it if cross-validation shows that it helps, and measure its effect on the same exams.

    Args:
        probabilities: [N, 4], raw.
        labels: int [N].
        method: ``none`` only measures; T stays 1.
        clusters: int [N], the patient of each exam; None takes every exam as a patient.

    Returns:
        The calibration. With fewer than `MINIMUM_EXAMS` exams T stays 1.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    clusters = np.arange(len(labels)) if clusters is None else clusters
    temperature, fitted, interval, at_bound, gain = 1.0, None, None, False, None
    decision: Decision = "off"
    reason, remarks = "Calibration is switched off, so T is 1.", []
    if method == "temperature" and len(labels) < MINIMUM_EXAMS:
        reason = (
            f"The split has {len(labels)} exams and a fit needs {MINIMUM_EXAMS}: the probabilities are not calibrated."
        )
        decision, remarks = "too_few_exams", [reason]
    elif method == "temperature":
        fitted = round(fit_temperature(probabilities, labels), _DIGITS)
        low, high = temperature_interval(probabilities, labels)
        interval = (round(low, _DIGITS), round(high, _DIGITS))
        gain = cross_validated_gain(probabilities, labels, clusters)
        decision, reason = _decide(gain)
        if decision == "taken":
            temperature = fitted
            at_bound = not TEMPERATURE_BOUNDS[0] * 1.001 < temperature < TEMPERATURE_BOUNDS[1] * 0.999
        remarks = _remarks(probabilities, labels, temperature, at_bound)
    before = _figures(probabilities, labels)
    after = _figures(calibrate(probabilities, temperature), labels)
    return Calibration(
        method=method,
        temperature=temperature,
        decision=decision,
        reason=reason,
        fitted=fitted,
        temperature_ci95=interval,
        gain=gain,
        at_bound=at_bound,
        exams=len(labels),
        by_class={name: int((labels == i).sum()) for i, name in enumerate(DENSITY_CLASSES)},
        nll=BeforeAfter(before=before[0], after=after[0]),
        ece=BeforeAfter(before=before[1], after=after[1]),
        remarks=tuple(remarks),
    )


def load_calibration(model_dir: str) -> Calibration | None:
    """Read the calibration of a SavedModel, from any filesystem that TensorFlow knows.

    Args:
        model_dir: Folder of ``saved_model.pb``.

    Returns:
        The calibration; None if the model has none, as models of older versions.

    Raises:
        pydantic.ValidationError: The file does not have the format of this version.
    """
    import tensorflow as tf  # not above: commands that do not read a model start without it

    path = os.path.join(model_dir, CALIBRATION_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return Calibration.model_validate_json(file.read())


def load_temperature(model_dir: str) -> float:
    """Read the temperature that a SavedModel applies; 1 if it has no calibration."""
    calibration = load_calibration(model_dir)
    return calibration.temperature if calibration else 1.0
