"""The strategy, precision and compiler of a configuration."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from components.trainer.config import TrainConfig
from components.trainer.devices import (
    StrategyError,
    compiles,
    dtype_policy,
    is_chief,
    layers_of,
    make_strategy,
    scaled,
    total_over_workers,
)
from components.trainer.optimization import make_optimizer
from components.trainer.steps import _overflow_for_all

OLD, NEW = (6, 1), (8, 0)


@pytest.mark.parametrize("value", ["", "{}", "nonsense", "[1]", '{"task": {"index": 0}}'])
def test_several_workers_need_a_cluster(value: str) -> None:
    with pytest.raises(StrategyError, match=r"multi_worker needs the cluster .* TF_CONFIG"):
        make_strategy(TrainConfig(strategy="multi_worker"), {"TF_CONFIG": value})


def test_one_device_is_its_own_chief_and_its_total_is_its_number() -> None:
    strategy = make_strategy(TrainConfig(), {})
    assert is_chief(strategy)
    assert total_over_workers(strategy, 3.0) == 3.0


@pytest.mark.parametrize(
    ("precision", "gpus", "policy"),
    [
        ("auto", [], "float32"),
        ("auto", [OLD, NEW], "float32"),
        ("auto", [NEW], "mixed_float16"),
        ("float32", [NEW], "float32"),
        ("mixed_bfloat16", [], "mixed_bfloat16"),
    ],
)
def test_half_precision_is_for_tensor_cores(precision: str, gpus: list[tuple[int, int]], policy: str) -> None:
    assert dtype_policy(TrainConfig(precision=precision), gpus) == policy


def test_xla_is_for_one_gpu() -> None:
    assert compiles(TrainConfig(), [NEW], replicas=1)
    assert not compiles(TrainConfig(), [NEW, NEW], replicas=2)
    assert not compiles(TrainConfig(), [], replicas=1)
    assert compiles(TrainConfig(xla="on"), [], replicas=1)
    assert not compiles(TrainConfig(xla="off"), [NEW], replicas=1)
    with pytest.raises(ValidationError, match="xla on needs strategy default"):
        TrainConfig(xla="on", strategy="mirrored")


def test_the_policy_holds_inside_alone() -> None:
    before = keras.config.dtype_policy()
    with layers_of("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy() == before


def test_a_step_that_overflows_is_skipped_and_lowers_the_scale() -> None:
    optimizer = scaled(make_optimizer(TrainConfig()), "mixed_float16")
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    weight = keras.Variable(np.ones(3, np.float32))
    optimizer.build([weight])
    before = float(optimizer.dynamic_scale)
    assert np.isnan(_overflow_for_all([tf.zeros(2), tf.constant([np.inf, 1.0, 1.0])])[0]).all()
    tf.function(lambda: optimizer.apply(_overflow_for_all([tf.constant([np.inf, 1.0, 1.0])])))()
    assert weight.numpy().tolist() == [1.0, 1.0, 1.0]
    assert float(optimizer.dynamic_scale) == before / 2
    tf.function(lambda: optimizer.apply(_overflow_for_all([optimizer.scale_loss(tf.ones(3))])))()
    np.testing.assert_allclose(weight.numpy(), 1.0 - 0.01)
    assert isinstance(scaled(make_optimizer(TrainConfig()), "float32"), keras.optimizers.SGD)
