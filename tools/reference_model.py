"""Train the reference model anew, and write its card: ``components/reference_model``.

    python -m tools.reference_model LABELS REPEAT --output runs/reference_model

LABELS is a table of DDSM exams with the columns exam_id, view, file and density, such as the browse films. REPEAT is
``repeat.json`` of ``breast-density experiment repeat`` on the same exams; the card shows its figures. The pipeline's
own gates judge the model, and a refused model is not taken. Half an hour on two cores; stopped, it continues.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from components.common.files import write_whole
from components.exam_model.contract import CONTRACT_FILE, Contract, read_contract
from components.exam_model.versions import find_versions
from components.reference_model import card, reference_folder
from components.statistics.metrics import short_name
from pipeline.config import find_config, load_config
from pipeline.local.run import figures_table, run_config
from schema.software import DISTRIBUTION, NOTICE

CONFIG: Final = "reference"
# The eval split chooses the epoch and gives the threshold of familiarity; the test split is for the gates.
SPLITS: Final = ("train=0.7", "eval=0.2", "test=0.1")
FIGURES: Final = ("quadratic_kappa", "accuracy", "macro_recall", "dense_auc", "dense_accuracy", "recall_A", "recall_B")
FIGURES_OF_CLASSES: Final = ("recall_C", "recall_D")
ARMS: Final = ("reference", "small", "texture", "grey")  # what the card shows of an experiment

_CARD: Final = Path(__file__).with_name("reference_card.md.j2")


class ReferenceModelError(RuntimeError):
    """The model cannot be made; one sentence says why."""


def write_manifest(labels: Path, manifest: Path) -> Counter[str]:
    """Copy the images, and write a manifest whose acquisition system is the film scanner: the first letter of an exam.

    Args:
        labels: Table with exam_id, view, file and density.
        manifest: File to write; the images are copied beside it.

    Returns:
        Exams of each class.
    """
    with labels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [("exam_id", "view", "file", "density", "acquisition_system")]
    for row in rows:
        target = manifest.parent / row["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            write_whole(target, (labels.parent / row["file"]).read_bytes())
        system = f"DDSM film scanner {row['exam_id'][0]}"
        lines.append((row["exam_id"], row["view"], row["file"], row["density"], system))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return Counter({row["exam_id"]: row["density"] for row in rows}.values())


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    interval = " ({:.3f} to {:.3f})".format(*figure["ci95"]) if figure["ci95"] else ""
    return f"{figure['value']:.3f}{interval}"


def figures_of(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of the arms of an experiment as a Markdown table, one line per metric."""
    arms = {arm: found[arm] for arm in ARMS if arm in found}
    names = [*FIGURES, *FIGURES_OF_CLASSES]
    lines = [f"| | {' | '.join(arms)} |", f"|---{'|---' * len(arms)}|"]
    lines += [f"| {short_name(name)} | {' | '.join(_figure(arm[name]) for arm in arms.values())} |" for name in names]
    return "\n".join(lines)


def _recipe(contract: Contract) -> str:
    networks = "four networks (41 convolutions, a quarter of the filters, 128 pixels)"
    texture = contract.exam.texture_weight
    mixed = f", averaged with a texture model (weight {texture:g})" if texture else ""
    return f"{networks}{mixed}; temperature {contract.calibration.temperature:.2f}"


def write_card(model: Path, repeat: Mapping[str, Any], classes: Mapping[str, int], own: Sequence[str]) -> None:
    """Write the card of a model.

    Args:
        model: Version folder.
        repeat: Content of ``repeat.json``.
        classes: Exams of each class.
        own: Figures of the model on its own test split, as lines.
    """
    contract = read_contract((model / CONTRACT_FILE).read_bytes())
    training = contract.training_data
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(_CARD.read_text("utf-8"))
    text = template.render(
        notice=NOTICE,
        made=date.today().isoformat(),
        software=DISTRIBUTION,
        version=version(DISTRIBUTION),
        tensorflow=version("tensorflow"),
        number=model.name,
        fingerprint=(model / "fingerprint.pb").read_bytes().hex()[:16],
        exams=sum(classes.values()),
        classes=", ".join(f"{name} {classes[name]}" for name in sorted(classes)),
        split=", ".join(f"{counts.exams} {split}" for split, counts in training.splits.items()),
        systems=", ".join(system.name for system in contract.training_data.training_systems.systems),
        config=CONFIG,
        recipe=_recipe(contract),
        counted=sum(repeat["exams"].values()),
        folds=len(repeat["folds"]),
        seeds=", ".join(map(str, repeat["counted_seeds"])),
        table=figures_of(repeat["figures"]),
        baseline=repeat["baseline"],
        differences=figures_of(repeat["differences"]),
        own="\n".join(f"- {line}" for line in own),
    )
    write_whole(card(), text.encode())


def make(labels: Path, repeat: Mapping[str, Any], output: Path, overrides: Sequence[str]) -> Path:
    """Train, judge and take the model.

    Args:
        labels: Table of DDSM exams.
        repeat: Content of ``repeat.json``.
        output: Folder of the run.
        overrides: ``KEY=VALUE`` for the configuration ``reference``.

    Returns:
        The version folder in ``components/reference_model``.

    Raises:
        ReferenceModelError: The gates refused the model.
    """
    manifest = output / "data" / "manifest.csv"
    classes = write_manifest(labels, manifest)
    splits = [f"pipeline.ingest.splits.{split}" for split in SPLITS]
    config = load_config(
        find_config(CONFIG), [*splits, f"data.manifest={manifest}", *overrides], {"output": str(output)}
    )
    outcome = run_config(config, sys.stderr)
    if not outcome.pushed:
        raise ReferenceModelError("The gates refused the model: " + "; ".join(outcome.refusals))
    versions = find_versions(outcome.serving)
    target = reference_folder() / "1"
    shutil.rmtree(reference_folder(), ignore_errors=True)
    shutil.copytree(versions[max(versions)], target)
    write_card(target, repeat, classes, figures_table(outcome.figures))
    return target


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("repeat", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/reference_model"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    given = parser.parse_args()
    repeat = json.loads(given.repeat.read_text(encoding="utf-8"))
    print(make(given.labels, repeat, given.output, given.overrides))


if __name__ == "__main__":
    main()
