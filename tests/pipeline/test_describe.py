from __future__ import annotations

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import HashKeyError
from components.sources.archives import ArchiveKind
from components.sources.source import (
    ArchiveSource,
    FolderSource,
    ManifestSource,
    archive_fingerprint,
    source_from_json,
    source_to_json,
)
from pipeline.cli import app
from pipeline.config import ConfigError, DataConfig, load_config
from pipeline.describe import describe_source, tables_of
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.sources import source_of
from schema.features import VIEWS

SECRET = "ROSSI-MARIA"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Forty exams of four views, one without its third, one with a bad density."""
    rows: list[list[object]] = []
    for number in range(40):
        for view in VIEWS:
            file = f"{SECRET}-{number}.{view}.png"
            noise = np.random.default_rng(number).integers(0, 255, (9, 9 + len(rows) % 7)).astype(np.uint8)
            if (number, view) != (3, VIEWS[2]):
                cv2.imwrite(str(tmp_path / file), noise)
            density = "E" if number == 5 else "ABCD"[number % 4]
            rows.append([f"{SECRET}-{number}", view, file, density, 50 + number % 4, "Scanner X"])
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["exam_id", "view", "file", "density", "age", "acquisition_system"], *rows])
    return path


def test_describe_counts_what_a_run_would(manifest: Path) -> None:
    seen: list[tuple[int, int]] = []
    described = describe_source(ManifestSource(manifest), IngestConfig(), lambda *step: seen.append(step))
    figures = described.figures
    assert seen == [(done, 160) for done in range(1, 161)]
    assert (figures["found"], figures["accepted"]) == (160, 155)
    assert (figures["exams_found"], figures["exams_kept"]) == (40, 39)
    assert figures["exams_left_out"] == {"invalid_label": 1}
    assert figures["incomplete_by_reason"] == {"missing_file": 1}
    assert figures["ages"]["D"] == {"n": 10, "mean": 53.0, "sd": 0.0, "median": 53.0, "counts": {"53": 10}}
    assert figures["systems"] == {
        "Scanner X": {"original": 39, "exams": 39, "views": 155},
        "unknown": {"original": 1, "exams": 0, "views": 0},
    }
    terminal = StringIO()
    console = Console(file=terminal, width=120)
    for part in tables_of(figures, IngestConfig()):
        console.print(part)
    text = terminal.getvalue()
    assert "160 rows and files found =" in text
    assert "As many patients as exams" in text
    assert "40 exams found = 39 kept + 1 left out; 1 of the kept lack a view." in text
    assert "Median age" in text
    assert "A run accepts these files too, except for what only pixels show" in " ".join(text.split())
    assert SECRET not in text
    rejected = [row for row in described.files if row["outcome"] == "rejected"]
    assert len(described.files) == 160
    assert sorted(row["reason"] for row in rejected) == ["invalid_label"] * 4 + ["missing_file"]


def test_the_command_takes_the_configuration_s_distribution(manifest: Path) -> None:
    setting = "pipeline.ingest.distribution={test: {proportions: uniform, total: 4}}"
    result = CliRunner().invoke(app, ["describe", "--manifest", str(manifest), "--set", setting])
    assert result.exit_code == 0, result.output
    assert "left_out_by_distribution" in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["E1,CC_R,a.png,Z", "E1,CC_L,b.png,Z"], "2 invalid_label) and left no image for: train, eval, test. Correct"),
        (["E1,CC_R,../a.png,A"], "Name files inside the manifest's folder."),
        ([], "accepted 0 of 0 files"),
    ],
)
def test_what_a_run_would_refuse_is_said_and_fails(tmp_path: Path, rows: list[str], says: str) -> None:
    table = tmp_path / "m.csv"
    table.write_text("\n".join(["exam_id,view,file,density", *rows]) + "\n")
    listed = tmp_path / "files.jsonl"
    result = CliRunner().invoke(app, ["describe", "small", "--manifest", str(table), "--files", str(listed)])
    text = " ".join(result.output.split())
    assert result.exit_code == 1, text
    assert "A run would stop: Ingest accepted 0 of" in text
    assert says in text
    assert "✓" not in text
    assert "Configuration: small" in text
    assert [json.loads(line)["outcome"] for line in listed.read_text().splitlines()] == ["rejected"] * len(rows)


def test_pictures_without_a_manifest_are_told_what_they_need(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9), np.uint8))
    (tmp_path / "labels.csv").write_text("exam_id,density\nE1,A\n")
    options = ["--data", str(tmp_path), "--labels", str(tmp_path / "labels.csv")]
    result = CliRunner().invoke(app, ["describe", *options])
    assert result.exit_code == 1
    assert "give --manifest" in " ".join(result.output.split())


def test_the_key_is_read_before_the_files(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "short")
    seen: list[int] = []
    with pytest.raises(HashKeyError):
        describe_source(ManifestSource(manifest), IngestConfig(), lambda done, total: seen.append(done))
    assert not seen
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "a secret that is long enough")
    result = CliRunner().invoke(app, ["describe", "--manifest", str(manifest)])
    assert "with your own key: train 70%, eval 15%, test 15%, seed 0" in " ".join(result.output.split())


def test_each_source_is_named_in_one_way(tmp_path: Path) -> None:
    folder, file = tmp_path / "a", tmp_path / "b"
    assert source_of(DataConfig(manifest=file)) == ManifestSource(file)
    assert source_of(DataConfig(folder=folder, labels=file)) == FolderSource(folder, file)
    archive = load_config(None, (), {"data.folder": str(folder), "data.archive": "embed"}).data
    assert archive is not None
    assert source_of(archive) == ArchiveSource(ArchiveKind.EMBED, folder)
    for keys in (
        {"data.folder": "a"},
        {"data.archive": "embed"},
        {"data.labels": "b", "data.folder": "a", "data.archive": "embed"},
        {"data.manifest": "b", "data.folder": "a", "data.archive": "embed"},
    ):
        with pytest.raises(ConfigError, match=r"give either data\.folder and data\.labels, or data\.manifest, or"):
            load_config(None, (), keys)
    with pytest.raises(ConfigError, match=r"data\.archive: Input should be 'cbis_ddsm', 'embed'"):
        load_config(None, (), {"data.folder": "a", "data.archive": "mias"})


def test_densities_that_count_from_zero_are_read_as_it_is_said(tmp_path: Path) -> None:
    for name in "wxyz":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((9, 9), ord(name), np.uint8))
    rows = [f"E{number},CC_R,{name}.png,{number}" for number, name in enumerate("wxyz")]
    table = tmp_path / "m.csv"
    table.write_text("\n".join(["exam_id,view,file,density", *rows]) + "\n")
    result = CliRunner().invoke(app, ["describe", "--manifest", str(table)])
    assert result.exit_code == 1
    assert "column density contains 0 in 1 rows" in " ".join(str(result.exception or result.output).split())
    for option in (["--density-values", "0=A,1=B,2=C,3=D"], ["--set", "data.density_values={0: A, 1: B, 2: C, 3: D}"]):
        listed = tmp_path / "files.jsonl"
        result = CliRunner().invoke(app, ["describe", "--manifest", str(table), "--files", str(listed), *option])
        assert result.exit_code == 0, result.output
        assert [json.loads(line)["density"] for line in listed.read_text().splitlines()] == list("ABCD")


def test_a_cohort_of_links_is_ingested_as_the_folders_are(tmp_path: Path) -> None:
    generate_phantoms(PhantomConfig(exams=2, seed=5, reduction=16, workers=1), tmp_path / "set")
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for exam in (tmp_path / "set/images").iterdir():
        (cohort / exam.name).symlink_to(exam)
    (cohort / "PH999999").symlink_to(tmp_path / "gone")
    (cohort / "again").symlink_to(cohort)
    source = FolderSource(cohort, tmp_path / "set/labels.csv")
    figures = describe_source(source, IngestConfig(), lambda done, total: None).figures
    assert (figures["found"], figures["accepted"], figures["by_reason"]) == (9, 8, {"missing_file": 1})
    assert figures["warnings"] == [
        "2 linked folders are followed.",
        "1 links lead to a folder that they are in, and are not followed.",
        "1 links lead nowhere: what they stand for is missing.",
    ]
    first = archive_fingerprint(source)
    [one] = list((tmp_path / "set/images").rglob("CC_R.dcm"))[:1]
    one.write_bytes(one.read_bytes())
    assert archive_fingerprint(source) != first  # a file behind a link counts


def test_density_values_are_checked() -> None:
    data = load_config(None, (), {"data.manifest": "m.csv", "data.density_values": "0=,1=A"}).data
    assert data is not None
    assert data.densities == (("0", ""), ("1", "A"))
    source = source_of(data)
    assert source_from_json(source_to_json(source)) == source
    for value in ("0=E", "x", "[1]"):
        with pytest.raises(ConfigError, match=r"data\.density_values: .* such as 0=A,1=B,2=C,3=D"):
            load_config(None, [f"data.density_values={value}"], {"data.manifest": "m.csv"})
    with pytest.raises(ConfigError, match="embed has its own coding"):
        load_config(None, (), {"data.folder": "a", "data.archive": "embed", "data.density_values": "0=A"})


@pytest.mark.slow
def test_describe_needs_no_tensorflow() -> None:
    probe = "import sys, pipeline.describe; print({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_several_readers_have_a_table_of_agreement(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    truth = random.integers(0, 4, 60)
    readers = [np.clip(truth + random.choice([-1, 0, 1], 60, p=[0.1, 0.8, 0.1]), 0, 3) for _ in range(2)]
    rows = []
    for exam, grades in enumerate(zip(*readers, strict=True)):
        pixels = np.random.default_rng(exam).integers(0, 255, (9, 9)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{exam}.png"), pixels)
        rows.append([f"{SECRET}-{exam}", VIEWS[0], f"{exam}.png", *("ABCD"[k] for k in grades)])
    path = tmp_path / "manifest.csv"

    def described(head: list[str], rows: list[list[str]]) -> dict[str, object]:
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([["exam_id", "view", "file", *head], *rows])
        return describe_source(ManifestSource(path), IngestConfig(), lambda done, total: None).figures

    figures = described(["density_reader1", "density_reader2"], rows)
    terminal = StringIO()
    console = Console(file=terminal, width=160)
    for part in tables_of(figures, IngestConfig()):
        console.print(part)
    text = " ".join(terminal.getvalue().split())
    kappa = cohen_kappa_score(*readers, weights="quadratic")
    assert f"{kappa:.3f} (" in text
    assert f"{cohen_kappa_score(*readers):.3f} (" in text
    differ = int((readers[0] != readers[1]).sum())
    assert f"the readers of {differ} exams differ in density; {differ} of these have no majority" in text
    assert "│ all │ 60 │" in text
    assert SECRET not in text + json.dumps(figures)
    one, plain = (described([name], [row[:4] for row in rows]) for name in ("density_reader1", "density"))
    assert one == plain
    assert "readings" not in plain
