"""Patterns find spans and versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.dicom.rejections import ManifestError
from components.sources.source import FolderSource, ManifestSource
from components.sources.spans import Span, SpanSource, find_spans


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x", encoding="utf-8")


def test_a_source_without_a_pattern_does_not_change(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "{not} a pattern", tmp_path / "l.csv")
    assert find_spans(source) == (SpanSource(source),)


def test_folders_and_labels_of_each_span(tmp_path: Path) -> None:
    touch(tmp_path, "s1/images/e/a.dcm", "s2/images/b.dcm", "s10/images/c.dcm", "s10/l.csv", "sx/images/d.dcm", "s7")
    found = find_spans(FolderSource(tmp_path / "s{SPAN}/images", tmp_path / "s{SPAN}/l.csv"))
    assert [part.span for part in found] == [Span(1), Span(2), Span(10)]
    assert found[2].source == FolderSource(tmp_path / "s10/images", tmp_path / "s10/l.csv")
    shared = find_spans(FolderSource(tmp_path / "s{SPAN}/images", tmp_path / "all.csv"))
    assert {part.source.labels for part in shared if isinstance(part.source, FolderSource)} == {tmp_path / "all.csv"}


def test_the_latest_version_of_a_span_counts(tmp_path: Path) -> None:
    touch(tmp_path, "003/v1.csv", "003/v12.csv", "003/v9.csv", "004/v2.csv", "5/v1.csv")
    found = find_spans(ManifestSource(tmp_path / "{SPAN:3}" / "v{VERSION}.csv"))
    assert [part.span for part in found] == [Span(3, 12), Span(4, 2)]
    assert found[0].source == ManifestSource(tmp_path / "003" / "v12.csv")


def test_dates_are_spans_by_day(tmp_path: Path) -> None:
    touch(tmp_path, "1970-01-02/m_1970.csv", "2024-02-29/m_2024.csv", "2024-02-28/m_2023.csv")
    found = find_spans(ManifestSource(tmp_path / "{YYYY}-{MM}-{DD}" / "m_{YYYY}.csv"))
    assert [part.span for part in found] == [Span(1), Span(19782)]
    touch(tmp_path, "2023-02-29/m_2023.csv")
    with pytest.raises(ManifestError, match=r"this date does not exist\. Received: 2023-02-29"):
        find_spans(ManifestSource(tmp_path / "{YYYY}-{MM}-{DD}" / "m_{YYYY}.csv"))


@pytest.mark.parametrize(
    ("folder", "labels", "message"),
    [
        ("v{VERSION}", "l.csv", r"Received: VERSION"),
        ("{YYYY}-{MM}", "l.csv", r"Received: MM, YYYY"),
        ("{SPAN}{YYYY}{MM}{DD}", "l.csv", r"are allowed"),
        ("images", "l{SPAN}.csv", r"Received: none"),
        ("s{SPAN}", "l{VERSION}.csv", r"may use only the specifications of"),
        ("gone{SPAN}", "l.csv", r"nothing matches"),
        ("gone/s{SPAN}", "l.csv", r"no such folder"),
        ("t{SPAN}", "l.csv", r"two locations have span 1"),
    ],
)
def test_invalid_patterns(tmp_path: Path, folder: str, labels: str, message: str) -> None:
    touch(tmp_path, "t1/a", "t01/a")
    with pytest.raises(ManifestError, match=message):
        find_spans(FolderSource(tmp_path / folder, tmp_path / labels))
