"""Writes a version of a model for TensorFlow Serving, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

import tensorflow as tf

from components.common.shards import write_bytes


def copy_model(model_dir: str, folder: str, replaced: Mapping[str, bytes]) -> None:
    """Copies a SavedModel.

    Args:
        model_dir: SavedModel.
        folder: Folder to write to; made if absent.
        replaced: Files that get other bytes than the model has, by name in it.
    """
    for source, _, files in tf.io.gfile.walk(model_dir):
        copied = os.path.normpath(os.path.join(folder, os.path.relpath(source, model_dir)))
        tf.io.gfile.makedirs(copied)
        for name in files:
            tf.io.gfile.copy(os.path.join(source, name), os.path.join(copied, name), overwrite=True)
    for name, data in replaced.items():
        write_bytes(os.path.join(folder, name), data)


def push_version(model_dir: str, serving_dir: str, version: int, replaced: Mapping[str, bytes] | None = None) -> str:
    """Copies a SavedModel to ``serving_dir/VERSION``.

    The copy is made under a hidden name and renamed, because TensorFlow Serving loads a numbered folder at sight.

    Args:
        model_dir: SavedModel.
        serving_dir: Folder of versions; made if absent.
        version: Version wanted; raised above the newest one that is there.
        replaced: Files that get other bytes than the model has, by name in it.

    Returns:
        The folder written.
    """
    tf.io.gfile.makedirs(serving_dir)
    entries = (entry.rstrip("/") for entry in tf.io.gfile.listdir(serving_dir))
    newest = max((int(entry) for entry in entries if entry.isdecimal()), default=0)
    target = os.path.join(serving_dir, str(max(version, newest + 1)))
    partial = os.path.join(serving_dir, f".{uuid.uuid4().hex}.partial")
    try:
        copy_model(model_dir, partial, replaced or {})
        tf.io.gfile.rename(partial, target)
    finally:
        if tf.io.gfile.isdir(partial):
            tf.io.gfile.rmtree(partial)
    return target
