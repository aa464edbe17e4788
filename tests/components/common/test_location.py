"""Paths and URIs are listed and read in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.common.location import Location, Uri, absolute, file_states, files_below, location
from tests.components.common.memory_filesystem import MemoryFileSystem

FILES = {"a/b.dcm": b"1234", "a/.hidden/x": b"", "a/.y": b"", "c": b"\x1f\x8b gzip magic, read as it is", "d.gz": b"zz"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Uri:
    stored = {f"memtest://bucket/deep/{name}": data for name, data in FILES.items()}
    stored |= {"memtest://bucket/deep/a/": b"", "memtest://bucket/other": b""}
    monkeypatch.setattr(MemoryFileSystem, "contents", stored)
    return Uri("memtest://bucket/deep")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture(params=["bucket", "folder"])
def place(request: pytest.FixtureRequest) -> Iterator[Location]:
    return request.getfixturevalue(request.param)


def test_uris_and_paths_are_distinguished() -> None:
    assert location("gs://bucket/x") == Uri("gs://bucket/x")
    assert location("data/x") == Path("data/x")
    assert str(location("gs://bucket/x") / "y.csv") == "gs://bucket/x/y.csv"
    assert str((location("s3://bucket/x/") / "y").parent) == "s3://bucket/x"
    assert location("s3://bucket/x/y.csv").name == "y.csv"
    assert absolute(Uri("gs://b")) == Uri("gs://b")
    assert absolute(Path("b")) == Path.cwd() / "b"


def test_both_list_and_read_the_same(place: Location) -> None:
    found = {file.name: file.size for file in files_below(place)}
    assert found == {"a/b.dcm": 4, "c": len(FILES["c"]), "d.gz": 2}
    for name in found:
        assert (place / name).read_bytes() == FILES[name]
    with (place / "a/b.dcm").open("rb") as stream:
        assert stream.read(2) == b"12"
        stream.seek(0, 2)
        assert stream.tell() == 4
    states = file_states(place, ["d.gz", "gone", "c"])
    assert [(name, state.size if state else None) for name, state in states.items()] == [
        ("c", len(FILES["c"])),
        ("d.gz", 2),
        ("gone", None),
    ]


def test_a_missing_file_is_an_os_error(place: Location) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        (place / "gone").read_bytes()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list(files_below(place / "nowhere"))


def test_an_unknown_filesystem_is_named() -> None:
    for action in (lambda: Uri("zip://a/b").read_bytes(), lambda: list(files_below(Uri("zip://a/b")))):
        with pytest.raises(OSError, match=r"zip://a/b: Unable to get filesystem"):
            action()
