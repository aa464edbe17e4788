"""The review loop on a finished run: doubtful views go out, files come back, and are checked as the next run will."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pictures import read_picture

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun

pytestmark = pytest.mark.e2e

Here = Callable[..., "subprocess.CompletedProcess[str]"]


def test_exported_views_come_back_as_reviews(finished: FinishedRun, here: Here, tmp_path: Path) -> None:
    output, out = finished.config.output, tmp_path / "reviews"
    report = finished.artifact("MammogramPreprocessor", "quality_report")
    rows = [json.loads(line) for line in (report / "views.jsonl").read_text(encoding="utf-8").splitlines()]
    worst = [row["review_name"] for row in sorted((r for r in rows if r["rank"]), key=lambda r: r["rank"])[:4]]

    done = here("review", "export", output, "--out", out, "--top", 4)

    assert done.returncode == 0, done.stderr
    assert (out / "review.html").is_file()
    written = sorted(path.relative_to(out / "todo").as_posix() for path in (out / "todo").rglob("*.*"))
    kinds = ("images/{}.json", "images/{}.png", "masks/{}.png", "overlays/{}.png")
    assert written == sorted(kind.format(name) for name in worst for kind in kinds)
    for name in worst:
        template = json.loads((out / "todo" / "images" / f"{name}.json").read_text(encoding="utf-8"))
        picture = read_picture(out / "todo" / "images" / f"{name}.png")
        assert picture.shape == (template["imageHeight"], template["imageWidth"])
    again = here("review", "export", output, "--out", out)
    assert again.returncode == 1
    assert "from an earlier export" in again.stderr

    drawn = {row["review_name"]: row["status"] == "removed" for row in rows if row["review_name"] in worst}
    for name in worst[:2]:
        (out / f"{name}.json").write_text('{"muscle": "absent"}', encoding="utf-8")
    if drawn[worst[2]]:
        shutil.copy(out / "todo" / "masks" / f"{worst[2]}.png", out)
    (out / f"{worst[3]}.json").write_text("junk", encoding="utf-8")

    checked = here("review", "check", out, "--run", output)

    assert checked.returncode == 1
    lines = checked.stdout.splitlines()
    assert sum(line.startswith("ok ") and ": absent" in line for line in lines) == 2
    assert [line for line in lines if line.startswith("ok ") and "Dice 1.000" in line] != [] or not drawn[worst[2]]
    [refused] = [line for line in lines if line.startswith("refused")]
    assert f"{worst[3]}.json: unreadable" in refused
    assert "Traceback" not in checked.stdout + checked.stderr


def test_doubted_labels_go_out_with_the_files_of_their_exams(finished: FinishedRun, here: Here, tmp_path: Path) -> None:
    report = finished.artifact("DicomExampleGen", "ingest_report")
    files = [json.loads(line) for line in (report / "files.jsonl").read_text(encoding="utf-8").splitlines()]
    exams = {row["exam_id"]: row["density"] for row in files if row["outcome"] == "accepted"}
    wrong = sorted(exams)[3]
    rows = ["exam_id,patient_id,view,label,p_A,p_B,p_C,p_D"]
    for exam, density in exams.items():
        sure = [0.9 if name == density else 0.1 / 3 for name in "ABCD"]
        grades = sure[-1:] + sure[:-1] if exam == wrong else sure
        rows.append(f"{exam},{exam},CC_L,{density},{','.join(map(str, grades))}")
    table = tmp_path / "predictions.csv"
    table.write_text("\n".join(rows), encoding="utf-8")

    done = here("review", "labels", finished.config.output, "--predictions", table, "--out", tmp_path / "again")

    assert done.returncode == 0, done.stderr
    assert f"{1 / len(exams):.1%} of {len(exams)} exams" in done.stdout
    with (tmp_path / "again" / "labels.csv").open(newline="", encoding="utf-8") as stream:
        [row] = csv.DictReader(stream)
    assert (row["exam_id"], row["label"]) == (wrong, exams[wrong])
    assert row["files"].split(" | ") == sorted(one["file"] for one in files if one.get("exam_id") == wrong)
    page = (tmp_path / "again" / "labels.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == len(row["files"].split(" | "))


def test_a_folder_without_a_run_is_one_sentence(here: Here, tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    done = here("review", "check", tmp_path / "reviews", "--run", tmp_path)
    assert done.returncode == 1
    assert "give the output folder of a run" in done.stderr
    assert not list(tmp_path.glob("*.sqlite"))
