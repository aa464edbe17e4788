"""The executors on archives with copies, on another filesystem, in spans, and in every running mode of Beam."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.common.location import Uri
from components.common.progress import PROGRESS_FILE_VARIABLE, read_progress
from components.common.shards import read_index
from components.common.stages import LostRecordsError
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig, SplitFractions
from components.preprocessing.config import PreprocessConfig
from components.sources.source import FolderSource, ManifestSource, archive_fingerprint, find_candidates
from components.sources.spans import Span
from schema import features as f
from schema.features import VIEWS
from tests.components.dicom.dicom_files import mammogram, write
from tests.components.executor_harness import NodeOutput, run_ingest, run_preprocess, text_of

from ..common.memory_filesystem import MemoryFileSystem

pytestmark = pytest.mark.slow

CONFIG = IngestConfig(longest_side=64, shard_size=5, splits=SplitFractions(train=0.4, eval=0.3, test=0.3), split_seed=5)


def exam(root: Path, name: str, patient: str, seed: int, views: tuple[str, ...] = VIEWS) -> None:
    """Write an exam's images; equal seeds give equal pixels under new UIDs."""
    for view in views:
        position, side = view.split("_")
        pixels = np.random.default_rng([seed, VIEWS.index(view)]).integers(0, 4096, (40, 32), dtype=np.uint16)
        dataset = mammogram(
            pixels,
            StudyInstanceUID=f"1.2.{name}",
            PatientID=patient,
            ViewPosition=position,
            ImageLaterality=side,
        )
        write(dataset, root / f"e{name}" / f"{view}.dcm")


def labels(root: Path, *exams: str) -> Path:
    path = root / "labels.csv"
    rows = ["exam_id,density", *(f"1.2.{name},{'ABCD'[int(name) % 4]}" for name in exams)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def archive(root: Path) -> FolderSource:
    """20 exams; 50 is exam 10 of a renamed patient, 30 has two images of exam 11 under another class."""
    names = [str(number) for number in range(10, 30)]
    for number, name in enumerate(names):
        exam(root / "images", name, f"P{name}", number)
    exam(root / "images", "50", "renamed", 0)
    exam(root / "images", "30", "P11", 1, VIEWS[:2])
    return FolderSource(root / "images", labels(root, *names, "50", "30"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def ingested(source: FolderSource, tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    return run_ingest(source, CONFIG, tmp_path_factory.mktemp("ingested"))


def records(output: NodeOutput) -> list[tuple[str, str]]:
    return [(text_of(v, f.EXAM_ID), text_of(v, f.VIEW)) for views in output.views().values() for v in views]


def test_copies_under_new_identifiers_are_taken_out_of_the_shards(ingested: NodeOutput) -> None:
    rejected = {row["file"]: row["reason"] for row in ingested.rows() if row["outcome"] == "rejected"}
    copies = {f"e50/{view}.dcm" for view in VIEWS}
    in_other_class = {f"e{name}/{view}.dcm" for name in (11, 30) for view in VIEWS[:2]}
    assert rejected == dict.fromkeys(copies, "duplicate") | dict.fromkeys(in_other_class, "invalid_label")
    summary = ingested.summary()
    assert summary["found"] == 86 == summary["accepted"] + summary["rejected"]
    written = records(ingested)
    assert len(written) == len(set(written)) == summary["accepted"]


def test_the_index_names_every_record(ingested: NodeOutput) -> None:
    index = read_index(ingested.examples.uri)
    assert sorted((view.exam_id, view.view) for views in index.values() for view in views) == sorted(records(ingested))
    pixels = [view.pixels for views in index.values() for view in views]
    assert len(set(pixels)) == len(pixels)


def test_every_running_mode_writes_the_same_bytes(
    source: FolderSource, ingested: NodeOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(tmp_path / "progress.tsv"))
    other = run_ingest(source, CONFIG, tmp_path / "other", 1, mode="in_memory")
    assert other.files() == ingested.files()
    progress = read_progress(tmp_path / "progress.tsv")
    assert (progress.done, progress.total, progress.unit) == (86, 86, "files")


def test_a_shard_that_lost_records_stops_preprocessing(ingested: NodeOutput, tmp_path: Path) -> None:
    path = Path(ingested.examples.uri, "index.json")
    whole = path.read_text(encoding="utf-8")
    index: dict[str, Any] = json.loads(whole)
    name = sorted(index)[0]
    try:
        path.write_text(json.dumps(index | {name: [*index[name], ["p", "e", "CC_R", "0"]]}), encoding="utf-8")
        with pytest.raises(Exception, match=r"LostRecordsError|ingest wrote \d+ records"):
            run_preprocess(ingested, PreprocessConfig(output_size=32), tmp_path / "a")
        path.write_text(json.dumps(index | {"Split-test/gone.gz": index[name]}), encoding="utf-8")
        with pytest.raises(LostRecordsError, match="1 shards are missing"):
            run_preprocess(ingested, PreprocessConfig(output_size=32), tmp_path / "b")
    finally:
        path.write_text(whole, encoding="utf-8")


def test_an_archive_on_another_filesystem(
    source: FolderSource, ingested: NodeOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(source.folder, Path)
    stored = {
        f"memtest://bucket/images/{path.relative_to(source.folder).as_posix()}": path.read_bytes()
        for path in source.folder.rglob("*.dcm")
    }
    stored["memtest://bucket/labels.csv"] = Path(str(source.labels)).read_bytes()
    monkeypatch.setattr(MemoryFileSystem, "contents", stored)
    remote = FolderSource(Uri("memtest://bucket/images"), Uri("memtest://bucket/labels.csv"))
    first = archive_fingerprint(remote)
    output = run_ingest(remote, CONFIG, tmp_path)
    assert output.files() == ingested.files()
    stored["memtest://bucket/images/e99/new.dcm"] = b"x"
    assert archive_fingerprint(remote) != first


def test_a_manifest_on_another_filesystem_stays_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["in.png", "gs://other/in.png", "../out.png", "/etc/passwd", "memtest://bucket/x/in.png", "a/../../../b"]
    rows = [f"E{number},CC_R,{name},A" for number, name in enumerate(names)]
    text = "\n".join(["exam_id,view,file,density", *rows])
    monkeypatch.setattr(MemoryFileSystem, "contents", {"memtest://bucket/x/m.csv": text.encode()})
    found = find_candidates(ManifestSource(Uri("memtest://bucket/x/m.csv"))).found
    by_row = {c.line: (c.file, c.rejection.reason if c.rejection else None) for c in found}
    assert by_row[2] == by_row[6] == ("in.png", None)
    assert by_row[3] == ("gs:/other/in.png", None)  # a file of that name in the folder, which there is not
    assert [by_row[line][1] for line in (4, 5, 7)] == [Reason.UNSAFE_PATH] * 3


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[NodeOutput]:
    """Span 1 has exams 10 to 25, span 2 exam 12 with other pixels, exam 13's images as exam 33, and exams 40 to 55."""
    root = tmp_path_factory.mktemp("spans")
    contents = {1: {str(n): n for n in range(10, 26)}, 2: {"12": 99, "33": 13} | {str(n): n for n in range(40, 56)}}
    outputs = []
    for span, exams in contents.items():
        for name, seed in exams.items():
            exam(root / f"s{span}", name, "P13" if name == "33" else f"P{name}", seed)
        table = labels(root / f"s{span}", *exams)
        outputs.append(run_ingest(FolderSource(root / f"s{span}", table), CONFIG, root / f"o{span}", span=Span(span)))
    return outputs


def test_spans_are_merged_and_the_later_one_wins(spans: list[NodeOutput], tmp_path: Path) -> None:
    assert [(output.examples.span, output.examples.version) for output in spans] == [(1, 0), (2, 0)]
    merged = run_preprocess(spans[::-1], PreprocessConfig(output_size=32), tmp_path / "merged")
    alone = run_preprocess(spans[1], PreprocessConfig(output_size=32), tmp_path / "alone")
    found, late = (Counter((r["exam_id"], r["view"]) for r in o.rows("views.jsonl")) for o in (merged, alone))
    assert set(found.values()) == {1}
    assert len(found) == (16 + 18) * 4 - 4 - 4
    assert not late - found
    assert merged.summary()["left_out"] == {"newer_view": 4, "newer_copy": 4, "split_conflict": 0}
    assert merged.summary()["views"] == len(found)
    patients = {s: {text_of(v, f.PATIENT_ID) for v in views} for s, views in merged.views().items()}
    assert sum(map(len, patients.values())) == len(set.union(*patients.values()))
    assert merged.examples.span == 2
    names = {path.name[:11] for path in Path(merged.examples.uri).rglob("*.gz")}
    assert names == {"span-00001-", "span-00002-"}
