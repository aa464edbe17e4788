"""ExamSelector: the selection as a function, and the records that its executor copies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components.common.shards import read_shard, shard_name, split_folder, write_shard
from components.common.soft_labels import with_shares
from components.common.views import View, parse_view, read_views
from components.exam_selector.executor import Executor
from components.exam_selector.selection import Exam, SelectionConfig, SelectionError, excluded_exams
from components.exams.distribution import DistributionConfig, exams_to_drop
from schema import features as f

SYSTEMS = ("GE", "IMS", "Hologic")


def exams(per_class: tuple[int, ...] = (12, 28, 50, 10)) -> dict[str, Exam]:
    made = {}
    for density, count in zip(f.DENSITY_CLASSES, per_class, strict=True):
        for number in range(count):
            for split, every in (("train", 1), ("eval", 4)):
                if number % every == 0:
                    system = SYSTEMS[number % len(SYSTEMS)]
                    made[f"{split} {density} {number}"] = Exam(split, density, frozenset({system}))
    return made


def kept(config: SelectionConfig, split: str = "train") -> Counter[str]:
    out = excluded_exams(exams(), config)
    return Counter(exam.density for name, exam in exams().items() if exam.split == split and name not in out)


def test_a_distribution_is_that_of_ingest_and_leaves_the_eval_split() -> None:
    config = SelectionConfig.model_validate({"train": "BIRADS"})
    splits = {name: (exam.split, exam.density) for name, exam in exams().items()}
    assert excluded_exams(exams(), config) == exams_to_drop(splits, DistributionConfig(train=config.train), config.seed)
    assert kept(config) == {"A": 7, "B": 28, "C": 28, "D": 7}
    assert kept(config, "eval") == kept(SelectionConfig(), "eval")


def test_a_fraction_is_of_each_class_and_a_smaller_one_is_part_of_a_larger_one() -> None:
    outs = [excluded_exams(exams(), SelectionConfig(fraction=share)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(out) for out in outs] == sorted((len(out) for out in outs), reverse=True)
    assert outs[0] > outs[1] > outs[2] > outs[3] == frozenset()
    assert kept(SelectionConfig(fraction=0.1)) == {"A": 1, "B": 3, "C": 5, "D": 1}
    assert kept(SelectionConfig(fraction=0.001)) == {"A": 1, "B": 1, "C": 1, "D": 1}


def test_distribution_and_fraction_go_together() -> None:
    assert kept(SelectionConfig.model_validate({"train": "BIRADS", "fraction": 0.5})) == {
        "A": 4,
        "B": 14,
        "C": 14,
        "D": 4,
    }


def test_an_exam_of_two_systems_is_left_out_with_either() -> None:
    both = {**exams(), "both": Exam("train", "B", frozenset({"GE", "IMS"}))}
    for system in ("GE", "IMS"):
        assert "both" in excluded_exams(both, SelectionConfig(without_systems=(system,)))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"without_systems": ["GEE"]}, "no training or eval exam is from GEE; known systems: GE, Hologic, IMS."),
        ({"without_systems": [*SYSTEMS]}, "pipeline.selection leaves no exam in the split train"),
        ({"labels": "soft"}, "pipeline.selection.labels is soft, but no training or eval exam has several readers"),
        ({"labels": "consensus"}, "pipeline.selection.labels is consensus, but no training or eval exam has several"),
    ],
)
def test_what_is_not_there_is_one_sentence(values: dict[str, object], says: str) -> None:
    with pytest.raises(SelectionError, match=says.replace(".", r"\.")):
        excluded_exams(exams(), SelectionConfig.model_validate(values))


def record(exam: str, system: str, density: str, split: str, readings: str = "") -> bytes:
    values = {
        f.IMAGE: f"{exam} {split}",
        f.VIEW: "CC_R",
        f.EXAM_ID: exam,
        f.PATIENT_ID: exam,
        f.DENSITY: density,
        f.ACQUISITION_SYSTEM: system,
    }
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()])) for name, value in values.items()
    }
    if readings:
        for name, found in ((f.READERS, "1234"[: len(readings)]), (f.READINGS, readings)):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[one.encode() for one in found]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_a_system_that_is_left_out_is_never_learnt_from(tmp_path: Path) -> None:
    source = standard_artifacts.Examples()
    source.uri = str(tmp_path / "preprocessed")
    source.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    for split in ("train", "eval", "test"):
        for shard in range(3):
            records = [
                record(f"{split} {shard} {number}", SYSTEMS[number % 3], "ABCD"[number % 4], split)
                for number in range(12)
            ]
            write_shard(str(Path(split_folder(source.uri, split)) / shard_name(shard, 3)), records)
    selected = standard_artifacts.Examples()
    selected.uri = str(tmp_path / "selected")
    config = SelectionConfig(without_systems=("IMS",), fraction=0.5)

    Executor(None).Do({"examples": [source]}, {"selected_examples": [selected]}, {"config": config.model_dump_json()})

    assert artifact_utils.decode_split_names(selected.split_names) == ["train", "eval"]
    for split, count in (("train", 12), ("eval", 24)):
        views = list(read_views(split_folder(selected.uri, split)))
        assert len(views) == count
        assert {view.acquisition_system for view in views} == {"GE", "Hologic"}
        assert all(view.image.decode() == f"{view.exam_id} {split}" for view in views)
    assert not Path(split_folder(selected.uri, "test")).exists()


READINGS = {"agreed": "BB", "differ": "BC", "one": "", "three": "BBD"}


def select(tmp_path: Path, labels: str) -> Path:
    """Run the node on train, eval and test exams whose readers agree, differ, or are one."""
    source = standard_artifacts.Examples()
    source.uri = str(tmp_path / "preprocessed")
    source.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    for split in ("train", "eval", "test"):
        records = [record(f"{split} {exam}", "GE", "B", split, readings) for exam, readings in READINGS.items()]
        write_shard(str(Path(split_folder(source.uri, split)) / shard_name(0, 1)), records)
    selected = standard_artifacts.Examples()
    selected.uri = str(tmp_path / "selected")
    config = SelectionConfig.model_validate({"labels": labels})
    Executor(None).Do({"examples": [source]}, {"selected_examples": [selected]}, {"config": config.model_dump_json()})
    return Path(selected.uri)


def test_soft_labels_are_the_shares_of_the_readers_and_touch_nothing_else(tmp_path: Path) -> None:
    selected = select(tmp_path, "soft")
    for split in ("train", "eval"):
        views = views_of(selected, split)
        assert views["agreed"].target == (0.0, 1.0, 0.0, 0.0)
        assert views["differ"].target == (0.0, 0.5, 0.5, 0.0)
        assert views["three"].target == pytest.approx((0, 2 / 3, 0, 1 / 3))
        assert (views["one"].shares, views["one"].target) == ((), (0.0, 1.0, 0.0, 0.0))
        before = views_of(tmp_path / "preprocessed", split)
        assert {exam: replace(view, shares=()) for exam, view in views.items()} == before
        assert read_one(selected, split, "one") == read_one(tmp_path / "preprocessed", split, "one")


def test_an_adjudicated_density_is_learnt_whatever_most_readers_chose() -> None:
    adjudicated = record("adjudicated", "GE", "D", "train", "BBC")
    assert parse_view(with_shares(adjudicated)).target == (0.0, 0.0, 0.0, 1.0)
    tied = record("tied", "GE", "C", "train", "BBCC")
    assert parse_view(with_shares(tied)).target == (0.0, 0.5, 0.5, 0.0)


def views_of(uri: Path, split: str) -> dict[str, View]:
    return {view.exam_id.split()[1]: view for view in read_views(split_folder(str(uri), split))}


def read_one(uri: Path, split: str, exam: str) -> bytes:
    [found] = [
        one for one in read_shard(str(uri / f"Split-{split}" / shard_name(0, 1))) if f"{split} {exam}".encode() in one
    ]
    return found


def test_consensus_leaves_out_exams_whose_readers_differ_and_moves_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        selected = select(tmp_path, "consensus")
    for split in ("train", "eval"):
        assert set(views_of(selected, split)) == {"agreed", "one"}
        assert f"The readers of 2 of 4 exams of the split {split} differ: they are left out." in caplog.text


def test_the_node_is_there_only_if_it_is_needed() -> None:
    needed = [
        SelectionConfig.model_validate({"labels": labels}).is_needed for labels in ("majority", "soft", "consensus")
    ]
    assert needed == [False, True, True]
