"""Which model was pushed last."""

from __future__ import annotations

import os
from typing import Final

import tensorflow as tf

from components.exam_model.baseline_version import VERSION_FILE

_MODEL_FILE: Final = "saved_model.pb"


def latest_version(serving_dir: str) -> str | None:
    """Names the newest whole version in a serving folder.

    Args:
        serving_dir: Folder with numbered version folders, as TensorFlow Serving reads it; it need not be there.

    Returns:
        The version's number, or None.
    """
    if not tf.io.gfile.isdir(serving_dir):
        return None
    versions = [
        name
        for name in (entry.rstrip("/") for entry in tf.io.gfile.listdir(serving_dir))
        if name.isdecimal() and tf.io.gfile.exists(os.path.join(serving_dir, name, _MODEL_FILE))
    ]
    return max(versions, key=int, default=None)


def copy_baseline(serving_dir: str, model_uri: str, serving_model_path: str) -> str | None:
    """Copies the newest version into a Model artifact.

    Args:
        serving_dir: Serving folder.
        model_uri: Artifact's folder.
        serving_model_path: Where in it TFX looks for the SavedModel.

    Returns:
        The version copied; None, and an artifact without a model, where nothing was pushed yet.
    """
    version = latest_version(serving_dir)
    tf.io.gfile.makedirs(model_uri)
    if version is None:
        return None
    source = os.path.join(serving_dir, version)
    for folder, _, files in tf.io.gfile.walk(source):
        target = os.path.join(serving_model_path, os.path.relpath(folder, source))
        tf.io.gfile.makedirs(target)
        for name in files:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(target, name), overwrite=True)
    with tf.io.gfile.GFile(os.path.join(model_uri, VERSION_FILE), "w") as file:
        file.write(version)
    return version
