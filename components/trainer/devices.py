"""Where and how precisely a training computes: tf.distribute strategies, mixed precision, XLA.

Strategies: one device, the GPUs of a machine, or the machines of TF_CONFIG. With several machines, each runs the same
node with its own ``TF_CONFIG``, as a TFJob of Kubeflow's training operator starts them, and all see the pipeline's
folders. The workers stay in step; only the chief writes.

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
    """The strategy that the configuration names cannot work here; the message says what it needs."""


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process writes: the chief, or worker 0 where there is none."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return bool(resolver.task_type == first and resolver.task_id == 0)


def make_strategy(config: TrainConfig, environment: Mapping[str, str]) -> tf.distribute.Strategy:
    """Make the strategy that the configuration names.

    With ``multi_worker``, workers connect; TensorFlow must not have done anything in this process before.

    Args:
        config: ``strategy`` and ``batch_size``.
        environment: Environment variables; ``multi_worker`` needs TF_CONFIG.

    Returns:
        The strategy. Its replicas share each batch evenly.

    Raises:
        StrategyError: TF_CONFIG is missing or not JSON, or the batch cannot be shared evenly.
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
    """Add a number up over all replicas, and so waits for all of them.

    Args:
        strategy: The strategy; every worker must call this at the same point.
        value: This worker's number.

    Returns:
        The sum; each worker's number counts once a replica.
    """

    @tf.function
    def total(number: tf.Tensor) -> tf.Tensor:
        numbers = strategy.run(lambda n: tf.identity(n), (number,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, numbers, axis=None)

    return float(total(tf.constant(value, tf.float32)))


_TENSOR_CORES: Final = (7, 0)  # compute capability


def gpu_capabilities() -> list[tuple[int, int]]:
    """List the compute capability of each GPU that TensorFlow sees."""
    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return [tuple(detail.get("compute_capability", (0, 0))) for detail in details]


def dtype_policy(config: TrainConfig, capabilities: list[tuple[int, int]]) -> str:
    """Name Keras' dtype policy.

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
    """Make layers that are built inside follow a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(optimizer: keras.optimizers.Optimizer, policy: str) -> keras.optimizers.Optimizer:
    """Scale the loss where gradients are float16, whose small values would be lost otherwise."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer
