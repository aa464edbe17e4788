"""Devices and precision of a training: tf.distribute strategies, mixed precision, XLA.

Strategies: one device, the GPUs of one machine, or the machines of TF_CONFIG. Several machines run the same node, each
with its own ``TF_CONFIG`` (as a TFJob of Kubeflow's training operator starts them), and share the folders of the
pipeline. The workers train in step; only the chief writes.

Source: https://www.tensorflow.org/guide/distributed_training, https://www.tensorflow.org/guide/mixed_precision
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import keras
import tensorflow as tf

from components.trainer.config import TrainConfig

TF_CONFIG_VARIABLE = "TF_CONFIG"


class StrategyError(RuntimeError):
    """The configured strategy cannot work on this machine; the message names what it requires."""


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return True if this process writes: it is the chief, or worker 0 if there is no chief."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return bool(resolver.task_type == first and resolver.task_id == 0)


def make_strategy(config: TrainConfig, environment: Mapping[str, str]) -> tf.distribute.Strategy:
    """Return the configured strategy.

    With ``multi_worker``, the workers connect; TensorFlow must not have run anything in this process before.

    Args:
        config: ``strategy`` and ``batch_size``.
        environment: Environment variables; ``multi_worker`` requires TF_CONFIG.

    Returns:
        The strategy. Each replica gets an equal part of each batch.

    Raises:
        StrategyError: TF_CONFIG is missing or not JSON, or the batch size is not a multiple of the replicas.
    """
    if config.strategy == "multi_worker":
        strategy = _multi_worker(environment)
    elif config.strategy == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
    else:
        strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise StrategyError(
            f"trainer.batch_size must be a multiple of the {replicas} replicas of trainer.strategy {config.strategy},"
            f" which share each batch. Received: batch_size={config.batch_size}"
        )
    return strategy


def _multi_worker(environment: Mapping[str, str]) -> tf.distribute.Strategy:
    text = environment.get(TF_CONFIG_VARIABLE, "")
    try:
        cluster = json.loads(text or "{}").get("cluster")
    except (json.JSONDecodeError, AttributeError):
        cluster = None
    if not cluster:
        raise StrategyError(
            f"trainer.strategy multi_worker needs the cluster and this worker's task as JSON in {TF_CONFIG_VARIABLE};"
            f" set it, or choose default or mirrored. Received: {text!r}"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def total_over_workers(strategy: tf.distribute.Strategy, value: float) -> float:
    """Return the sum of a number over all replicas, and so wait for all of them.

    Args:
        strategy: The strategy; every worker must call this function at the same point.
        value: The number of this worker.

    Returns:
        The sum; the number of a worker counts once per replica.
    """

    @tf.function
    def total(number: tf.Tensor) -> tf.Tensor:
        numbers = strategy.run(lambda n: tf.identity(n), (number,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, numbers, axis=None)

    return float(total(tf.constant(value, tf.float32)))


_TENSOR_CORES: Final = (7, 0)  # compute capability


def gpu_capabilities() -> list[tuple[int, int]]:
    """Return the compute capability of each GPU that TensorFlow sees."""
    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return [tuple(detail.get("compute_capability", (0, 0))) for detail in details]


def dtype_policy(config: TrainConfig, capabilities: list[tuple[int, int]]) -> str:
    """Return the Keras dtype policy.

    Args:
        config: ``precision``; ``auto`` means half precision if every GPU has tensor cores, else single precision.
        capabilities: Result of :func:`gpu_capabilities`.

    Returns:
        ``float32``, ``mixed_float16`` or ``mixed_bfloat16``.
    """
    if config.precision != "auto":
        return config.precision
    fast = bool(capabilities) and min(capabilities) >= _TENSOR_CORES
    return "mixed_float16" if fast else "float32"


def compiles(config: TrainConfig, capabilities: list[tuple[int, int]], replicas: int) -> bool:
    """Return True if XLA compiles the training step. ``auto`` is on for one GPU; XLA cannot exchange data over GPUs."""
    if config.xla == "auto":
        return bool(capabilities) and replicas == 1
    return config.xla == "on"


@contextmanager
def layers_of(policy: str) -> Iterator[None]:
    """Apply a dtype policy to the layers that are built inside the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(optimizer: keras.optimizers.Optimizer, policy: str) -> keras.optimizers.Optimizer:
    """Return an optimiser that scales the loss if gradients are float16, so that small gradients are not lost."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer
