"""Write small but complete artifact folders of every node, in the formats that the nodes agreed on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from components.report_generator.loading import NodeInfo
from components.report_generator.report import PushInfo, ReportInputs, RunInfo, build_report
from schema.features import DENSITY_CLASSES, VIEWS

HOSTILE = "<script>alert('x')</script> & \"Co\" $\\frac{"
SYSTEMS = ("GE Senograph DS ADS 53.40", "Hologic Selenia Dimensions", "IMS Giotto Image SDL", HOSTILE)
SECRET_FILE = "ROSSI_MARIA_1950.dcm"
MATRIX = [[10, 2, 0, 0], [3, 30, 4, 0], [0, 5, 33, 2], [0, 0, 3, 8]]


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def write_overlay(path: Path, seed: int, size: int = 480) -> None:
    """Write a PNG of a half ellipse that looks like a breast, with a coloured spot, larger than the report shows it."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((size, size, 3), np.uint8)
    centre = (0, size // 2)
    cv2.ellipse(pixels, centre, (int(size * 0.6), int(size * 0.42)), 0, -90, 90, (120, 120, 120), -1)
    noise = generator.integers(0, 40, (*pixels.shape[:2], 1), dtype=np.uint8)
    pixels = np.where(pixels > 0, pixels + noise, 0).astype(np.uint8)
    spot = (int(generator.integers(size // 6, size // 3)), size // 2)
    cv2.circle(pixels, spot, size // 8, (40, 60, 230), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def write_ingest(folder: Path) -> Path:
    summary = {
        "found": 407,
        "accepted": 400,
        "rejected": 7,
        "by_reason": {"truncated": 3, "not_dicom": 2, "unknown_view": 1, "duplicate": 1},
        "ignored": {".csv": 1, ".txt": 2},
        "files_without_exam": 2,
        "labels_without_files": 3,
        "bad_labels": 0,
        "exams_found": 104,
        "exams_kept": 100,
        "exams_left_out": {"no_label": 3, "truncated": 1},
        "exams_found_by_class": {"A": 12, "B": 37, "C": 41, "D": 11, "unknown": 3},
        "incomplete_exams": 1,
        "incomplete_by_reason": {"truncated": 1},
        "exams": {"A": 12, "B": 37, "C": 40, "D": 11},
        "splits": {
            "train": {"exams": 60, "views": 240, "patients": 58, "by_class": {"A": 8, "B": 21, "C": 24, "D": 7}},
            "eval": {"exams": 20, "views": 80, "patients": 19, "by_class": {"A": 2, "B": 8, "C": 8, "D": 2}},
            "test": {"exams": 20, "views": 80, "patients": 20, "by_class": {"A": 2, "B": 8, "C": 8, "D": 2}},
        },
        "systems": {
            name: {"original": n + 1, "exams": n, "views": 4 * n}
            for name, n in zip(SYSTEMS, (60, 22, 13, 5), strict=True)
        },
        "ages": {
            c: {"mean": mean, "sd": sd, "median": median}
            for c, mean, sd, median in (
                ("A", 67, 11, 68),
                ("B", 63, 11, 62),
                ("C", 58, 9, 56),
                ("D", 53, 6, 52),
            )
        },
    }
    _write_json(folder / "summary.json", summary)
    _write_lines(folder / "files.jsonl", [{"file": SECRET_FILE, "reason": "truncated"}])
    return folder


def write_quality(folder: Path) -> Path:
    records = []
    for index in range(24):
        view = VIEWS[index % 4]
        mlo = view.startswith("MLO")
        overlay = f"overlays/{index:03d}.png"
        write_overlay(folder / overlay, index)
        records.append(
            {
                "exam_id": f"{index // 4:064x}",
                "view": view,
                "acquisition_system": SYSTEMS[index // 4 % 4],
                "density": DENSITY_CLASSES[index // 4 % 4],
                "status": ("failed" if index == 3 else "removed") if mlo else "not_applicable",
                "pectoral_area_fraction": 0.11 if mlo else 0.0,
                "breast_area_fraction": 0.4,
                "doubt": 0.93 if index == 3 else 0.02 * index if mlo else 0.0,
                "overlay": overlay if index != 23 else None,
            }
        )
    counts = {"removed": 11, "failed": 1, "not_applicable": 12}
    by_system = {name: {"removed": 3, "not_applicable": 3} for name in SYSTEMS}
    _write_json(folder / "summary.json", {"views": 24, "by_status": counts, "by_system": by_system})
    _write_lines(folder / "views.jsonl", records)
    return folder


def write_drift(folder: Path) -> Path:
    moved = {"measure": "L-infinity", "threshold": 0.1, "chance": 0.21}
    drift = {
        **{"kind": "drift", "subject": "newest span 7", "reference": "earlier spans"},
        **{"exams": 40, "reference_exams": 64},
        "features": [
            {**moved, "feature": "density", "distance": 0.35, "verdict": "alert", "detail": "D: 10 % -> 45 %"},
            {**moved, "feature": "manufacturer", "distance": 0.15, "verdict": "chance", "detail": "GE: 60 % -> 75 %"},
        ],
        "unseen": [{"system": HOSTILE, "exams": 1}],
    }
    remark = "Nothing to compare: no image of the eval and test splits."
    skew = {"kind": "skew", "subject": "eval and test splits", "reference": "train split", "remark": remark}
    familiarity = {
        **{"subject": "newest span 7", "version": "3"},
        "unlike": {"value": 0.3, "ci95": [0.18, 0.45], "n": 40},
        "expected": {"value": 0.05, "ci95": [0.01, 0.12], "n": 60},
    }
    _write_json(folder / "summary.json", {"comparisons": [drift, skew], "familiarity": familiarity})
    return folder


def write_history(folder: Path, view: str) -> Path:
    epochs = [
        {
            "epoch": e,
            "loss": 1.4 * 0.8**e,
            "accuracy": 1 - 0.7 * 0.85**e,
            "val_loss": 0.5 + 0.02 * (e - 7) ** 2,
            "val_accuracy": 0.875 - 0.01 * abs(e - 7),
            "learning_rate": 0.001,
        }
        for e in range(1, 13)
    ]
    history = {
        "view": view,
        "best_epoch": 7,
        "parameters": 123456,
        "convolutions": 41,
        "images": {"train": 60, "eval": 20},
        "epochs": epochs,
    }
    _write_json(folder / "history.json", history)
    return folder


def metric(value: float | None, n: int, half: float = 0.06) -> dict[str, Any]:
    interval = None if value is None else [max(0.0, value - half), min(1.0, value + half)]
    return {"value": value, "ci95": interval, "n": n}


def slice_metrics(chosen: Mapping[str, str], matrix: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the metrics of a slice from its confusion matrix; kappa is a fixed value."""
    counts = np.array(matrix)
    n = int(counts.sum())
    half = 1 / np.sqrt(n)
    metrics = {
        "accuracy": metric(float(np.trace(counts) / n), n, half),
        "macro_recall": metric(0.8125, n, half),
        "macro_precision": metric(0.7875, n, half),
        "quadratic_kappa": metric(None if "density" in chosen else 0.853, n, half),
        "dense_accuracy": metric(0.91, n, half),
    }
    for index, density in enumerate(DENSITY_CLASSES):
        total, guessed = int(counts[index].sum()), int(counts[:, index].sum())
        hit = int(counts[index, index])
        metrics[f"recall_{density}"] = metric(hit / total if total else None, n, 0.1)
        metrics[f"precision_{density}"] = metric(hit / guessed if guessed else None, n, 0.1)
    return {"slice": dict(chosen), "n": n, "confusion_matrix": counts.tolist(), "metrics": metrics}


def grey_baseline(low: float = 0.011) -> dict[str, Any]:
    """Return a comparison with grey statistics whose gain in kappa has this lower limit."""
    names = ("quadratic_kappa", "accuracy", "macro_recall", "dense_accuracy", *(f"recall_{c}" for c in DENSITY_CLASSES))
    gain = {name: {"value": 0.062, "ci95": [low, 0.121], "n": 100} for name in names}
    simple = slice_metrics({}, [[8, 4, 0, 0], [5, 26, 6, 0], [0, 9, 27, 4], [0, 0, 5, 6]])
    return {"problem": "", "message": "", "train_exams": 60, "exam": simple, "gain": gain}


def selective_points() -> list[dict[str, Any]]:
    points = []
    for step in range(19):
        n = 100 - 5 * step
        accuracy = 0.81 + 0.01 * step
        metrics = {"accuracy": metric(accuracy, n, 0.8 / np.sqrt(n)), "quadratic_kappa": metric(0.853, n, 0.06)}
        points.append({"coverage": n / 100, "confidence": 0.3 + 0.03 * step, "n": n, "metrics": metrics})
    return points


def evaluation_content(blessed: bool = True) -> dict[str, Any]:
    part = (np.array(MATRIX) // 2).tolist()
    small = [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 3, 0], [0, 0, 0, 0]]
    one_class = [[[n if r == i else 0 for n in row] for r, row in enumerate(MATRIX)] for i in range(4)]
    return {
        "exam": [
            slice_metrics({}, MATRIX),
            slice_metrics({"acquisition_system": SYSTEMS[0]}, part),
            slice_metrics({"acquisition_system": SYSTEMS[3]}, small),
            *(slice_metrics({"density": c}, m) for c, m in zip(DENSITY_CLASSES, one_class, strict=True)),
        ],
        "view": [
            slice_metrics({}, MATRIX),
            *(slice_metrics({"view": v}, MATRIX) for v in VIEWS),
            slice_metrics({"acquisition_system": SYSTEMS[0]}, part),
        ],
        "gates": [
            {"name": "exam kappa", "slice": "all", "threshold": ">= 0.600", "value": 0.853, "passed": True},
            {"name": "recall D", "slice": "all", "threshold": ">= 0.500", "value": 0.727, "passed": blessed, "n": 11},
            {
                **{"name": "exam_accuracy by system", "slice": SYSTEMS[3], "threshold": "at least 0.6", "value": 0.4},
                **{"ci95": [0.2, 0.7], "n": 7, "verdict": "not judged", "passed": True, "reason": "7 exams"},
            },
        ],
        "blessed": blessed,
        "baseline": {"version": "1700000000"},
        "grey_baseline": grey_baseline(),
        "selective": selective_points(),
    }


def familiarity_content() -> dict[str, Any]:
    def found(chosen: dict[str, str], n: int, share: float, low: float, high: float) -> dict[str, Any]:
        levels = zip(("0.05", "0.25", "0.5", "0.75", "0.95"), (0.98, 1.1, 1.3, 1.5, 1.8), strict=True)
        unlike = {"value": share, "ci95": [low, high], "n": n}
        return {"slice": chosen, "n": n, "unlike": unlike, "quantiles": dict(levels)}

    system = {"acquisition_system": "GE Senograph DS ADS 53.40"}
    slices = [found({}, 60, 0.05, 0.017, 0.137), found(system, 7, 0.142857, 0.026, 0.513)]
    return {"available": True, "reason": "", "slices": slices}


def write_evaluation(folder: Path, blessed: bool = True) -> Path:
    _write_json(folder / "exam_metrics.json", evaluation_content(blessed))
    _write_json(folder / "familiarity.json", familiarity_content())
    return folder


def write_explanations(folder: Path) -> Path:
    records = []
    for index in range(32):
        density = DENSITY_CLASSES[index % 4]
        view = VIEWS[index // 4 % 4]
        if (density, view) == ("D", "CC_L"):
            continue
        predicted = "B" if index == 0 else density
        overlay = f"overlays/{index:03d}.png"
        image = f"images/{index:03d}.png"
        write_overlay(folder / overlay, 100 + index)
        write_overlay(folder / image, 200 + index)
        chosen = DENSITY_CLASSES.index(predicted)
        records.append(
            {
                "exam_id": f"{index:064x}",
                "view": view,
                "density": density,
                "acquisition_system": SYSTEMS[index % 2],
                "predicted": predicted,
                "probabilities": [0.85 if c == chosen else 0.05 for c in range(4)],
                "energy_in_breast": 0.7 + 0.005 * index,
                "energy_in_pectoral": 0.031 if view.startswith("MLO") else None,
                "spearman": 0.42,
                "overlay": overlay,
                "image": image,
            }
        )

    def scores(mean: float, n: int) -> dict[str, Any]:
        found = {"mean": mean, "ci95": [mean - 0.04, mean + 0.04], "n": n, "exams": n}
        return {"energy_in_breast": found, "energy_in_pectoral": {**found, "mean": 0.031, "n": n // 2}}

    groups = [
        ({}, scores(0.84, len(records))),
        *(({"density": c}, scores(0.83, 8)) for c in DENSITY_CLASSES),
        *(({"acquisition_system": s}, scores(0.82, 15)) for s in SYSTEMS[:2]),
        ({"acquisition_system": SYSTEMS[0], "density": "A"}, scores(0.81, 4)),
    ]
    write_overlay(folder / "feature_maps" / "CC_R_conv1.png", 7, size=960)
    summary = {
        "views": len(records),
        "groups": [{"slice": chosen, "scores": figures} for chosen, figures in groups],
        "gates": [
            {"name": "energy_in_breast", "slice": "all", "threshold": ">= 0.500", "value": 0.84, "passed": True},
            {"name": "spearman", "slice": f"acquisition_system={SYSTEMS[0]}", "threshold": ">= 0.100", "value": 0.42}
            | {"passed": True},
        ],
        "sanity": [
            {"stage": "logits", "mean": 0.12, "ci95": [-0.1, 0.3], "n": 16, "exams": 8},
            {"stage": "conv5", "mean": 0.02, "ci95": [-0.1, 0.1], "n": 16, "exams": 8},
        ],
        "feature_maps": [
            {"view": "CC_R", "block": "conv1", "picture": "feature_maps/CC_R_conv1.png", "filters": [3, 5], "of": 16}
        ],
        "passed": True,
    }
    _write_json(folder / "summary.json", summary)
    _write_lines(folder / "explanations.jsonl", records)
    return folder


def write_infra(folder: Path) -> Path:
    checks = [
        {"name": "load in a fresh process", "passed": True, "seconds": 8.21, "detail": "4 signatures"},
        {"name": "predict_exam answers", "passed": True, "seconds": 1.5, "detail": "probabilities sum to 1"},
    ]
    _write_json(folder / "infra.json", {"passed": True, "checks": checks})
    return folder


def write_calibration(folder: Path) -> Path:
    calibration = {
        "method": "temperature",
        "temperature": 0.61,
        "temperature_ci95": [0.52, 0.7],
        "split": "eval",
        "exams": 60,
        "by_class": {"A": 10, "B": 20, "C": 30, "D": 0},
        "nll": {
            name: {"value": v, "ci95": [v - 0.1, v + 0.1], "n": 60} for name, v in (("before", 0.9), ("after", 0.7))
        },
        "ece": {name: {"value": v, "ci95": [0.02, 0.3], "n": 60} for name, v in (("before", 0.21), ("after", 0.04))},
        "ece_bins": 15,
        "remarks": ["The split has no exam of class D: their calibration was not seen."],
    }
    _write_json(folder / "assets.extra" / "calibration.json", calibration)
    return folder


def write_inputs(root: Path) -> ReportInputs:
    """Write every artifact under ``root``."""
    return ReportInputs(
        ingest=(write_ingest(root / "ingest"),),
        quality=write_quality(root / "quality"),
        drift=write_drift(root / "drift"),
        training={v: write_history(root / f"train-{v}", v) for v in VIEWS},
        evaluation=write_evaluation(root / "evaluation"),
        explanations=write_explanations(root / "explanations"),
        infra=write_infra(root / "infra"),
        exam_model=write_calibration(root / "exam_model"),
        push=PushInfo(True, "1712345678"),
        run=RunInfo(
            "phantom demo",
            "2024-04-05",
            "training:\n  width: 8\n  note: <b>\n",
            {"tfx": "1.16.0"},
            nodes=(NodeInfo("Ingest", "c0de", "da7a"), NodeInfo("StatisticsGen", parents=("Ingest",))),
            artifacts={"evaluation": "Evaluator/evaluation/15"},
        ),
    )


@pytest.fixture(scope="session")
def full_inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return write_inputs(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def full_page(full_inputs: ReportInputs) -> str:
    """Return the page of all artifacts, built once."""
    return build_report(full_inputs)


@pytest.fixture
def write_evaluation_file(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Return a function that writes an ``exam_metrics.json`` and returns its folder."""

    def write(content: Mapping[str, Any]) -> Path:
        _write_json(tmp_path / "evaluation" / "exam_metrics.json", content)
        return tmp_path / "evaluation"

    return write


@pytest.fixture
def evaluation_example() -> Callable[..., dict[str, Any]]:
    """Return a function that makes the content of an ``exam_metrics.json`` of the whole split only."""

    def make(blessed: bool = True) -> dict[str, Any]:
        content = evaluation_content(blessed)
        return {**content, "exam": content["exam"][:1], "view": []}

    return make


@pytest.fixture(scope="session")
def hostile_system() -> str:
    """Return the name of an acquisition system that contains markup and math."""
    return HOSTILE


@pytest.fixture(scope="session")
def secret_file() -> str:
    """Return a file name that only ``files.jsonl`` contains."""
    return SECRET_FILE
