"""The declarations are consistent: every arm loads, every figure of the slides has its place in a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.statistics.metrics import BY_NAME, COMPARED
from pipeline.config import CONFIG_FOLDER, find_config
from pipeline.experiments.catalogue import EXPERIMENTS, detail_parts
from pipeline.experiments.declarations import EXAMS, Experiment
from pipeline.experiments.run import Setting
from pipeline.experiments.thesis_figures import DATASET_SIZE, SLIDE_FIGURES

ALL = list(EXPERIMENTS.values())
FULL_SIZE = ("thesis_resnet3", "experiment")


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_arm_loads_and_differs_from_the_others(experiment: Experiment, name: str) -> None:
    setting = Setting(find_config(name), ["pipeline.trainer.seed=7"])
    configs = [setting.config(arm) for arm in experiment.arms]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    assert len({arm.name for arm in experiment.arms}) == len(configs)
    for config in configs:
        assert config.pipeline.trainer.seed == 7
        assert config.pipeline.name == "breast_density"  # one name, so that arms share their nodes
        # Arms are judged on the same exams, and what is ingested is ingested once.
        assert config.pipeline.ingest == setting.config().pipeline.ingest


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_axes_figures_and_the_slides_figures_fit_together(experiment: Experiment) -> None:
    axes = [*experiment.rows, experiment.columns]
    arms, parts = [arm.name for arm in experiment.arms], [part.name for part in experiment.parts]
    assert len(set(axes)) == len(axes)
    assert experiment.leave_one_system_out or all(
        len(names) == 1
        for axis, names in (("arm", arms), ("part", parts), ("figure", experiment.figures))
        if axis not in axes
    )
    assert experiment.baseline in arms
    assert experiment.sentence.endswith(".")
    assert set(experiment.figures) <= {*BY_NAME, EXAMS}
    assert EXAMS in experiment.figures
    assert {"accuracy", "quadratic_kappa"} <= set(COMPARED) & set(experiment.figures)
    if experiment.published and experiment.published is not DATASET_SIZE:
        assert {arm for arm, _, _ in experiment.published.figures} <= set(arms)
        assert {part for _, part, _ in experiment.published.figures} <= set(parts)
        assert {name for _, _, name in experiment.published.figures} <= set(experiment.figures)
        assert "other data" in experiment.published.data


@pytest.mark.parametrize(
    ("name", "shape", "total"),
    [
        ("architecture", (6, 3, 3), 4120.7),
        ("normalisation", (2, 1, 3), 487.4),
        ("segmentation", (2, 1, 3), 484.7),
        ("flip", (2, 3, 3), 1113.8),
        ("summary", (2, 1, 3), 484.1),
    ],
)
def test_figures_of_the_slides_are_copied_whole(name: str, shape: tuple[int, int, int], total: float) -> None:
    """The sums were made of the slides' tables, not of the code."""
    published = EXPERIMENTS[name].published
    assert published is not None
    missing = 3 if name == "flip" else 0  # the slide gives no precision with flip
    assert len(published.figures) == shape[0] * shape[1] * shape[2] - missing
    assert 100 * sum(published.figures.values()) == pytest.approx(total, abs=0.05)
    assert all(0.5 < figure < 1 for figure in published.figures.values())


def test_the_backup_tables_agree_with_the_slide_of_all_architectures() -> None:
    experiment = EXPERIMENTS["architecture"]
    assert experiment.published is not None
    assert experiment.detail_published is not None
    parts = [part.name for part in detail_parts(experiment)]
    assert parts == ["CC_R", "MLO_R", "CC_L", "MLO_L", "Right", "Left", "All"]
    for arm in ("ResNet1, BIRADS", "ResNet2, BIRADS", "ResNet3, BIRADS"):
        for name in SLIDE_FIGURES:
            whole = experiment.detail_published.figures[arm, "All", name]
            assert whole == experiment.published.figures[arm, "BIRADS test set", name]


def test_image_sizes_keep_the_thesis_proportion() -> None:
    arms = EXPERIMENTS["image_size"].arms
    for name, sizes in (("thesis_resnet3", [450, 650]), ("experiment", [64, 92])):
        configs = [Setting(find_config(name)).config(arm) for arm in arms]
        assert [config.pipeline.trainer.image.size for config in configs] == sizes
        assert [config.pipeline.preprocess.output_size for config in configs] == sizes


def test_experiments_that_compare_with_the_usual_pipeline_share_that_arm() -> None:
    setting = Setting(CONFIG_FOLDER / "experiment.yaml")
    usual = setting.config().model_dump_json()
    shared = {
        experiment.name
        for experiment in ALL
        if usual in {setting.config(arm).model_dump_json() for arm in experiment.arms}
    }
    assert shared == {"normalisation", "segmentation", "flip", "image_size", "unseen_system", "dataset_size"}


def test_paths_of_data_lie_over_the_file_and_under_the_arm(tmp_path: Path) -> None:
    setting = Setting(find_config("experiment"), (), {"output": str(tmp_path), "pipeline.trainer.sides": "mirrored"})
    configs = [setting.config(arm) for arm in EXPERIMENTS["flip"].arms]
    assert [config.output for config in configs] == [tmp_path] * 2
    assert [config.pipeline.trainer.sides for config in configs] == ["separate", "mirrored"]
