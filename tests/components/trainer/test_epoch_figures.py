"""Metrics of an epoch, compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix, recall_score

from components.trainer.epochs import Epoch, Totals, kept_epoch

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60)


@settings(max_examples=40)
@given(pairs)
def test_figures_are_scikit_learns(rows: list[tuple[int, int]]) -> None:
    labels, predicted = map(list, zip(*rows, strict=True))
    confusion = confusion_matrix(labels, predicted, labels=range(4)).astype(float)
    recalls = recall_score(labels, predicted, labels=sorted(set(labels)), average="macro")
    assert Totals(0.0, confusion).macro_recall == pytest.approx(recalls)
    assert Totals(0.0, confusion).accuracy == pytest.approx(np.mean(np.equal(labels, predicted)))
    if len(set(labels) | set(predicted)) > 1:
        kappa = cohen_kappa_score(labels, predicted, labels=range(4), weights="quadratic")
        assert Totals(0.0, confusion).quadratic_kappa == pytest.approx(kappa)


def test_nothing_and_one_class_are_no_error() -> None:
    empty = Totals(0.0, np.zeros((4, 4)))
    assert (empty.macro_recall, empty.quadratic_kappa, empty.accuracy, empty.mean_loss) == (0.0, 0.0, 0.0, 0.0)
    assert Totals(0.0, np.diag([5.0, 0, 0, 0])).quadratic_kappa == 0.0


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_and_is_the_first_of_equals() -> None:
    figures = [(0.5, 0.1), (0.7, 0.4), (0.7, 0.3), (0.7, 0.3)]
    epochs = [Epoch(n, 0, 0, loss, accuracy, 0.1) for n, (accuracy, loss) in enumerate(figures, start=1)]
    assert kept_epoch(epochs, "best").epoch == 3
    assert kept_epoch(epochs, "last").epoch == 4
