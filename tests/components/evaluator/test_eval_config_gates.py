"""Which gates TFMA gets, and for which slices."""

from __future__ import annotations

from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import BASELINE, CANDIDATE, build_eval_config
from schema import features as f


def thresholds(eval_config: object) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for spec in eval_config.metrics_specs:
        assert not spec.thresholds, "these would gate every slice"
        for metric in spec.metrics:
            assert not metric.HasField("threshold")
            assert not metric.per_slice_thresholds
        for name, entry in spec.per_slice_thresholds.items():
            found.setdefault(name, []).extend(entry.thresholds)
    return found


def test_gates_apply_to_the_overall_slice_alone() -> None:
    config = EvaluatorConfig(minimum_exam_accuracy=0.6, minimum_exam_macro_recall=0.55, maximum_kappa_loss=0.1)
    for has_baseline in (False, True):
        gates = thresholds(build_eval_config(config, has_baseline=has_baseline))
        for entries in gates.values():
            for entry in entries:
                assert len(entry.slicing_specs) == 1
                assert not entry.slicing_specs[0].feature_keys
                assert not entry.slicing_specs[0].feature_values


def test_floors_are_the_configured_ones_and_null_means_none() -> None:
    config = EvaluatorConfig(
        minimum_exam_accuracy=0.6, minimum_exam_macro_recall=None, minimum_exam_quadratic_kappa=0.3
    )
    gates = thresholds(build_eval_config(config, has_baseline=False))
    bounds = {n: [e.threshold.value_threshold.lower_bound.value for e in entries] for n, entries in gates.items()}
    assert bounds == {"exam_accuracy": [0.6], "exam_quadratic_kappa": [0.3]}


def test_a_baseline_adds_the_gate_on_the_change_of_kappa() -> None:
    config = EvaluatorConfig(maximum_kappa_loss=0.05)
    eval_config = build_eval_config(config, has_baseline=True)
    assert [(m.name, m.is_baseline) for m in eval_config.model_specs] == [(CANDIDATE, False), (BASELINE, True)]
    changes = [e.threshold for e in thresholds(eval_config)["exam_quadratic_kappa"]]
    assert [c.change_threshold.absolute.value for c in changes if c.HasField("change_threshold")] == [-0.05 - 1e-9]

    silent = build_eval_config(EvaluatorConfig(maximum_kappa_loss=None), has_baseline=True)
    kappa = [e.threshold for e in thresholds(silent)["exam_quadratic_kappa"]]
    assert not any(t.HasField("change_threshold") for t in kappa)


def test_slices_are_overall_system_density_view_and_system_by_density() -> None:
    eval_config = build_eval_config(EvaluatorConfig(), has_baseline=False)
    assert [tuple(s.feature_keys) for s in eval_config.slicing_specs] == [
        (),
        (f.ACQUISITION_SYSTEM,),
        (f.DENSITY,),
        (f.VIEW,),
        (f.ACQUISITION_SYSTEM, f.DENSITY),
    ]
    assert [spec.query_key for spec in eval_config.metrics_specs] == [f.EXAM_ID, ""]
