"""Export the reference model again from the run that made it: the same weights with the heat maps of this software.

    python -m tools.reference_export RUN

RUN is the folder of that run, see ``tools.reference_model``. ExamEnsemble combines its networks and its texture model
with the heat maps that the configuration ``reference`` names now. The new model is only taken if it gives every exam of
the test split the probabilities of the old one; so the evaluation of the old one holds, and its figures are kept.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts

from components.common.artifacts import TextureArraysArtifact
from components.common.views import read_views
from components.exam_ensemble import executor
from components.exam_ensemble.config import EnsembleConfig
from components.exam_model.contract import CONTRACT_FILE, read_contract, write_contract
from components.exam_model.versions import find_versions
from components.reference_model import card, reference_folder
from pipeline.config import find_config, load_config
from schema.features import VIEWS
from tools.reference_model import CONFIG, ReferenceModelError

_CLOSE: Final = 1e-5  # of a probability


def _output(run: Path, node: str, output: str) -> Path:
    """Return the folder of a node's output, of its last execution."""
    return max((run / "artifacts" / node / output).iterdir(), key=lambda path: int(path.name))


def _artifact(kind: type, folder: Path) -> list[Any]:
    artifact = kind()
    artifact.uri = str(folder)
    return [artifact]


def _properties(run: Path, execution: str) -> dict[str, Any]:
    """Return the parameters of an execution, as the run recorded them."""
    with sqlite3.connect(f"file:{run / 'metadata.sqlite'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT name, string_value, int_value FROM ExecutionProperty WHERE execution_id = ?", (execution,)
        )
        return {name: number if text is None else text for name, text, number in rows}


def _answers(model: Path, split: Path) -> dict[str, Any]:
    """Return the probabilities of each exam of a split."""
    exams: dict[str, list[Any]] = {}
    for view in read_views(str(split)):
        exams.setdefault(view.exam_id, []).append(view)
    predict = tf.saved_model.load(str(model)).signatures["predict_exam"]
    return {
        exam: predict(
            image_bytes=tf.constant([view.image for view in views]),
            view=tf.constant([view.view for view in views]),
            exam_id=tf.constant([exam] * len(views)),
        )["probabilities"].numpy()
        for exam, views in exams.items()
    }


def export_again(run: Path, folder: Path) -> Path:
    """Combine the networks of a run again.

    Args:
        run: Folder of the run.
        folder: Folder to write to.

    Returns:
        The SavedModel.
    """
    made = _output(run, "ExamEnsemble", "model")
    properties = _properties(run, made.name)
    heat_map = load_config(find_config(CONFIG)).pipeline.ensemble.heat_map
    config = EnsembleConfig.model_validate_json(properties["config"]).model_copy(update={"heat_map": heat_map})
    examples = _artifact(standard_artifacts.Examples, _output(run, "MammogramPreprocessor", "preprocessed_examples"))
    examples[0].split_names = '["train", "eval", "test"]'
    inputs = {
        "examples": examples,
        **dict.fromkeys(VIEWS, _artifact(standard_artifacts.Model, _output(run, "Trainer.ALL", "model"))),
        executor.TEXTURE_MODEL: _artifact(TextureArraysArtifact, _output(run, "TextureModel", "texture_model")),
    }
    outputs = {"model": _artifact(standard_artifacts.Model, folder)}
    executor.Executor().Do(inputs, outputs, properties | {"config": config.model_dump_json()})
    return folder / "Format-Serving"


def take(run: Path, model: Path) -> float:
    """Put a model in the place of the reference model, with its figures.

    Args:
        run: Folder of the run.
        model: SavedModel of :func:`export_again`.

    Returns:
        Largest difference of a probability to the old model on the test split.

    Raises:
        ReferenceModelError: The models do not give the same probabilities.
    """
    [old] = find_versions(reference_folder()).values()
    split = _output(run, "MammogramPreprocessor", "preprocessed_examples") / "Split-test"
    before, after = _answers(old, split), _answers(model, split)
    difference = max(float(np.abs(before[exam] - after[exam]).max()) for exam in before)
    if difference > _CLOSE:
        raise ReferenceModelError(f"A probability of the test split changed by {difference:.2g}: train the model anew.")
    contract = read_contract((model / CONTRACT_FILE).read_bytes())
    evaluation = read_contract((old / CONTRACT_FILE).read_bytes()).evaluation
    if evaluation is None:
        raise ReferenceModelError("The old model has no evaluation: train the model anew.")
    kept = evaluation.model_copy(update={"model_sha256": contract.model_sha256})
    (model / CONTRACT_FILE).write_bytes(write_contract(contract.model_copy(update={"evaluation": kept})))
    names = [folder / "fingerprint.pb" for folder in (old, model)]
    was, now = (path.read_bytes().hex()[:16] for path in names)
    shutil.rmtree(old)
    shutil.copytree(model, old)
    card().write_text(card().read_text("utf-8").replace(was, now), encoding="utf-8")
    return difference


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    with tempfile.TemporaryDirectory() as folder:
        difference = take(run, export_again(run, Path(folder)))
    print(f"Largest difference of a probability on the test split: {difference:.2g}")


if __name__ == "__main__":
    main()
