"""Mixed precision and XLA, where the device gains from them.

Source: https://www.tensorflow.org/guide/mixed_precision
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import keras
import tensorflow as tf

from components.trainer.config import TrainConfig

_TENSOR_CORES: Final = (7, 0)  # compute capability


def gpu_capabilities() -> list[tuple[int, int]]:
    """Lists the compute capability of each GPU that TensorFlow sees."""
    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return [tuple(detail.get("compute_capability", (0, 0))) for detail in details]


def dtype_policy(config: TrainConfig, capabilities: list[tuple[int, int]]) -> str:
    """Names Keras' dtype policy.

    Args:
        config: ``precision``; ``auto`` is half precision where every GPU has tensor cores, else single.
        capabilities: Of :func:`gpu_capabilities`.

    Returns:
        ``float32``, ``mixed_float16`` or ``mixed_bfloat16``.
    """
    if config.precision != "auto":
        return config.precision
    fast = bool(capabilities) and min(capabilities) >= _TENSOR_CORES
    return "mixed_float16" if fast else "float32"


def compiles(config: TrainConfig, capabilities: list[tuple[int, int]], replicas: int) -> bool:
    """Tells whether XLA compiles the training step; ``auto`` is on one GPU. It cannot exchange data over replicas."""
    if config.xla == "auto":
        return bool(capabilities) and replicas == 1
    return config.xla == "on"


@contextmanager
def layers_of(policy: str) -> Iterator[None]:
    """Makes layers that are built inside follow a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(optimizer: keras.optimizers.Optimizer, policy: str) -> keras.optimizers.Optimizer:
    """Scales the loss where gradients are float16, whose small values would be lost otherwise."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer
