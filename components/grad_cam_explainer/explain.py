"""Explains the views of a split with the exam model's own ``gradcam`` signature."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
import tensorflow as tf

from components.common.progress import advance
from components.common.shards import write_bytes, write_text
from components.common.views import View
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.scores import energy_in_breast, mean_with_interval
from schema import features as f


def explain_views(model_dir: str, views: Iterable[View], config: ExplainerConfig, out: str) -> dict[str, object]:
    """Explains views and writes overlays, ``explanations.jsonl`` and ``summary.json``.

    Args:
        model_dir: SavedModel with the signature ``gradcam``.
        views: Preprocessed views; read once, a batch at a time.
        config: How many, and the gate.
        out: Folder to write to.

    Returns:
        The summary: views, energy_in_breast (mean, ci95, n), by_class, passed.
    """
    gradcam = tf.saved_model.load(model_dir).signatures["gradcam"]
    limited = itertools.islice(views, config.maximum_views)
    pictures: Counter[tuple[str, str]] = Counter()
    energies: dict[str, list[float]] = defaultdict(list)
    rows, count = [], 0
    while batch := list(itertools.islice(limited, config.batch_size)):
        result = gradcam(
            image_bytes=tf.constant([view.image for view in batch]),
            view=tf.constant([view.view for view in batch]),
            target_class=tf.constant([""] * len(batch)),
        )
        result = {name: value.numpy() for name, value in result.items()}
        advance(len(batch))
        for i, view in enumerate(batch):
            heatmap = result["heatmap"][i]
            grey = cv2.imdecode(np.frombuffer(view.image, np.uint8), cv2.IMREAD_GRAYSCALE)
            grey = cv2.resize(grey, heatmap.shape[::-1], interpolation=cv2.INTER_AREA)
            energy = energy_in_breast(heatmap, grey)
            if energy is not None:
                energies[view.density].append(energy)
            overlay = None
            if pictures[view.density, view.view] < config.pictures_a_group:
                pictures[view.density, view.view] += 1
                overlay = f"overlays/{view.density}_{view.view}_{pictures[view.density, view.view]}.png"
                write_bytes(os.path.join(out, overlay), result["overlay_png"][i])
            rows.append(
                {
                    "exam_id": view.exam_id,
                    "view": view.view,
                    "density": view.density,
                    "predicted": result["density"][i].decode(),
                    "probabilities": [round(float(p), 6) for p in result["probabilities"][i]],
                    "energy_in_breast": None if energy is None else round(energy, 6),
                    "overlay": overlay,
                }
            )
            count += 1
    scores = [value for values in energies.values() for value in values]
    summary = {
        "views": count,
        "energy_in_breast": mean_with_interval(scores),
        "by_class": {density: mean_with_interval(energies[density]) for density in f.DENSITY_CLASSES},
        "passed": bool(scores) and float(np.mean(scores)) >= config.minimum_energy_in_breast,
    }
    write_text(os.path.join(out, "explanations.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    write_text(os.path.join(out, "summary.json"), json.dumps(summary, indent=1))
    return summary
