"""Writes a version of a model for TensorFlow Serving, whole or not at all."""

from __future__ import annotations

import os
import uuid

import tensorflow as tf


def push_version(model_dir: str, serving_dir: str, version: int) -> str:
    """Copies a SavedModel to ``serving_dir/VERSION``.

    The copy is made under a hidden name and renamed, because TensorFlow Serving loads a numbered folder at sight.

    Args:
        model_dir: SavedModel.
        serving_dir: Folder of versions; made if absent.
        version: Version wanted; raised above the newest one that is there.

    Returns:
        The folder written.
    """
    tf.io.gfile.makedirs(serving_dir)
    entries = (entry.rstrip("/") for entry in tf.io.gfile.listdir(serving_dir))
    newest = max((int(entry) for entry in entries if entry.isdecimal()), default=0)
    target = os.path.join(serving_dir, str(max(version, newest + 1)))
    partial = os.path.join(serving_dir, f".{uuid.uuid4().hex}.partial")
    try:
        for folder, _, files in tf.io.gfile.walk(model_dir):
            copied = os.path.normpath(os.path.join(partial, os.path.relpath(folder, model_dir)))
            tf.io.gfile.makedirs(copied)
            for name in files:
                tf.io.gfile.copy(os.path.join(folder, name), os.path.join(copied, name))
        tf.io.gfile.rename(partial, target)
    finally:
        if tf.io.gfile.isdir(partial):
            tf.io.gfile.rmtree(partial)
    return target
