"""One fold of cross-validation: only its exams are used, and its predictions are those of the served model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.common.png import encode_png
from components.common.shards import read_shard, write_shard
from components.common.views import parse_view
from components.evaluator.grey_baseline import baseline_scores
from components.evaluator.predictions import read_predictions
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_model.signatures import ExamSettings
from components.texture.classifier import TextureClassifier
from components.texture.config import TextureConfig
from components.texture.fitting import fit_texture_model
from components.texture.measuring import measure_split
from components.texture.view_vector import view_vectors
from components.trainer.config import NetworkConfig, TrainConfig
from components.trainer.input_pipeline import ViewData, read_records
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from components.transform.images import decode_images
from pipeline.experiments.fold_models import ModelJob, run_models
from pipeline.experiments.fold_training import FoldData, FoldJob, _predictions, job_key, run_fold
from pipeline.experiments.folds import Fold
from pipeline.experiments.repeat import _archive
from pipeline.experiments.repeat_figures import exam_scores
from schema import features as f
from schema.features import DENSITY_CLASSES, VIEWS
from tests.components.conftest import SIZE, SmallDataSet

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(
    image=ImageConfig(size=SIZE, normalisation="norm_1"),
    network=NetworkConfig(width=0.0625, blocks=1),
    sides="one",
    head="cumulative",
    optimizer="adam",
    batch_size=4,
    epochs=1,
)
FOLD = Fold(2, ("exam0", "exam1"), ("exam2",), ("exam3", "exam4"))


def grey_record(exam: str, view: str) -> bytes:
    """Return the record of a view that is as bright as its exam is dense, but for noise."""
    random = np.random.default_rng([int(exam[4:]), VIEWS.index(view)])
    number = int(exam[4:]) % 4
    picture = np.clip(60 + 30 * number + random.normal(0, 40, (SIZE, SIZE)), 1, 255).astype(np.uint8)
    features = {
        f.IMAGE: encode_png(picture),
        f.VIEW: view.encode(),
        f.EXAM_ID: exam.encode(),
        f.PATIENT_ID: f"patient of {exam}".encode(),
        f.DENSITY: DENSITY_CLASSES[number].encode(),
    }
    values = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in features.items()}
    record: bytes = tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()
    return record


@pytest.mark.parametrize(("sides", "head"), [("one", "cumulative"), ("separate", "softmax")])
def test_predictions_of_a_fold_are_those_of_the_served_model(
    small_data_set: SmallDataSet,
    tmp_path: Path,
    sides: Any,
    head: Any,
) -> None:
    config = CONFIG.model_copy(update={"sides": sides, "head": head})
    files: dict[str, str] = {}
    found = []
    for number, (name, views) in enumerate(config.views_by_network.items()):
        network = build_network(config.image, config.network, seed=number, head=head)
        random = np.random.default_rng(number)
        network.set_weights([random.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in network.get_weights()])
        network.save(tmp_path / f"{name}.keras")
        files |= dict.fromkeys(views, str(tmp_path / f"{name}.keras"))
        transform = tft.TFTransformOutput(small_data_set.transform_folder)
        data = ViewData(small_data_set.files, views, transform, config.mirrors_right, FOLD.test)
        found += list(_predictions(network, data, read_records(data).labels, config))
    model = load_exam_model(files, config.image, ExamSettings(mirrored=config.mirrors_right))
    images = [parse_view(record) for file in small_data_set.files for record in read_shard(file)]
    expected = {(image.exam_id, image.view): image for image in images if image.exam_id in FOLD.test}
    assert {(row.exam_id, row.view) for row in found} == set(expected)
    assert len(found) == len(expected) == 8
    for row in found:
        image = expected[row.exam_id, row.view]
        answer = model.predict_view(tf.constant([image.image]), tf.constant([image.view]))
        np.testing.assert_allclose(row.probabilities, answer["probabilities"][0], atol=1e-5)
        assert (row.label, row.patient_id) == (image.density, image.patient_id)


def test_a_fold_learns_from_its_exams_alone_and_writes_a_table_that_evaluate_reads(
    small_data_set: SmallDataSet,
    tmp_path: Path,
) -> None:
    data = FoldData(small_data_set.files, small_data_set.transform_folder, "hash", "hash")
    job = FoldJob(data, CONFIG, FOLD, tmp_path / "repeat" / "fold.csv")
    tf.config.run_functions_eagerly(True)  # tracing takes longer than the few steps
    try:
        run_fold(job)
        again = replace(job, table=tmp_path / "again.csv")
        run_fold(again)
    finally:
        tf.config.run_functions_eagerly(False)
    table = read_predictions(job.table)
    assert {row.exam_id for row in table.rows} == set(FOLD.test)
    assert [row.view for row in table.rows if row.exam_id == "exam3"] == sorted(VIEWS)
    assert job.table.read_bytes() == again.table.read_bytes()
    assert '"train": 8' in job.summary.read_text()
    assert '"eval": 4' in job.summary.read_text()


def test_an_exam_filter_keeps_exactly_its_exams(small_data_set: SmallDataSet) -> None:
    transform = tft.TFTransformOutput(small_data_set.transform_folder)
    every = ViewData(small_data_set.files, VIEWS, transform)
    labels = {exam: DENSITY_CLASSES.index("ABCD"[int(exam[-1]) % 4]) for exam in ("exam1", "exam4")}
    kept = read_records(replace(every, exams=("exam4", "exam1")))
    assert sorted(kept.labels) == sorted(label for label in labels.values() for _ in VIEWS)
    assert read_records(replace(every, exams=())).labels == ()
    whole = read_records(replace(every, exams=tuple(f"exam{n}" for n in range(5))))
    assert whole == read_records(every)


def test_the_texture_model_of_a_fold_is_that_of_its_node(
    small_data_set: SmallDataSet,
    tmp_path: Path,
) -> None:
    config = TextureConfig(side=SIZE, trees=10, minimum_leaf=1)
    job = ModelJob(FOLD, config, tmp_path / "repeat" / "texture.csv")
    run_models(FoldData(small_data_set.files, small_data_set.transform_folder, "hash", "hash"), [job])
    records = [record for file in small_data_set.files for record in read_shard(file)]
    write_shard(str(tmp_path / "Split-train" / "views.gz"), (r for r in records if parse_view(r).exam_id in FOLD.train))
    node = TextureClassifier(fit_texture_model(measure_split(str(tmp_path / "Split-train"), SIZE), config))
    table = read_predictions(job.table)
    images = {(view.exam_id, view.view): view for view in map(parse_view, records) if view.exam_id in FOLD.test}
    assert {(row.exam_id, row.view) for row in table.rows} == set(images)
    for row in table.rows:
        picture = decode_images(tf.constant([images[row.exam_id, row.view].image]), SIZE)
        vector = view_vectors(picture, tf.constant([VIEWS.index(row.view)]))
        np.testing.assert_allclose(row.probabilities, node.probabilities(vector)[0], atol=1e-5)


def test_the_grey_statistics_of_a_fold_are_those_of_the_evaluator(tmp_path: Path) -> None:
    exams = [f"exam{number:02d}" for number in range(28)]
    fold = Fold(1, tuple(exams[:20]), tuple(exams[20:24]), tuple(exams[24:]))
    records = [grey_record(exam, view) for exam in exams for view in VIEWS[: 4 - (exam == exams[25])]]
    write_shard(str(tmp_path / "all" / "views.gz"), records)
    job = ModelJob(fold, None, tmp_path / "repeat" / "grey.csv")
    run_models(FoldData((str(tmp_path / "all" / "views.gz"),), "", "hash", "hash"), [job])
    for split, part in (("train", fold.train), ("test", fold.test)):
        ours = (record for record in records if parse_view(record).exam_id in part)
        write_shard(str(tmp_path / f"Split-{split}" / "views.gz"), ours)
    found = exam_scores(read_predictions(job.table).rows, 1)
    assert found.keys == fold.test
    expected, trained = baseline_scores(str(tmp_path / "Split-train"), str(tmp_path / "Split-test"), found)
    assert trained == 20
    by_exam = dict(zip(expected.keys, expected.probabilities, strict=True))
    for exam, row in zip(found.keys, found.probabilities, strict=True):
        np.testing.assert_allclose(row, by_exam[exam], atol=1e-7)
    with pytest.raises(ValueError, match=r"Fold 1: .*needs 20\. Choose more exams, or leave grey out"):
        run_models(
            FoldData((str(tmp_path / "all" / "views.gz"),), "", "hash", "hash"),
            [replace(job, fold=replace(fold, train=fold.eval))],
        )


def test_the_archive_of_all_folds_has_the_exams_of_every_split(
    small_data_set: SmallDataSet,
    tmp_path: Path,
) -> None:
    for split, file in zip(("train", "test"), small_data_set.files, strict=True):
        write_shard(str(tmp_path / f"Split-{split}" / "views.gz"), read_shard(file))
    data, exams = _archive(str(tmp_path), small_data_set.transform_folder)
    assert {name: (exam.patient, exam.density) for name, exam in exams.items()} == {
        f"exam{n}": (f"patient patient{n}", "ABCD"[n % 4]) for n in range(5)
    }
    assert len(data.files) == 2
    assert data.fingerprint == _archive(str(tmp_path), "/elsewhere")[0].fingerprint
    write_shard(str(tmp_path / "Split-test" / "views.gz"), list(read_shard(small_data_set.files[1]))[:-1])
    assert data.fingerprint != _archive(str(tmp_path), "/elsewhere")[0].fingerprint


def test_the_key_of_a_fold_changes_with_all_that_decides_it() -> None:
    data = FoldData(("a",), "/transform", "hash", "hash")
    keys = [
        job_key(data, CONFIG, FOLD),
        job_key(replace(data, fingerprint="other"), CONFIG, FOLD),
        job_key(data, CONFIG.model_copy(update={"seed": 2}), FOLD),
        job_key(data, CONFIG, replace(FOLD, eval=("exam5",))),
    ]
    assert len(set(keys)) == 4
    assert job_key(replace(data, files=("b",), transform_output="/elsewhere"), CONFIG, FOLD) == keys[0]
