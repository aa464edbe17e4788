"""Shards and files are written atomically."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.shards import (
    read_shard,
    remove_unfinished,
    shard_name,
    shards_of,
    split_folder,
    write_bytes,
    write_shard,
    write_text,
)


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = str(tmp_path_factory.mktemp("shards") / "Split-train" / shard_name(0, 1))
    assert write_shard(path, records) == len(records)
    assert list(read_shard(path)) == records


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name / "shard.gz" for name in ("a", "b")]
    for path in paths:
        write_shard(str(path), [b"x" * 1000, b"y"])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_no_records_write_no_file(tmp_path: Path) -> None:
    assert write_shard(str(tmp_path / "Split-eval" / "shard.gz"), []) == 0
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_failure_leaves_neither_partial_nor_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "Split-train" / "shard.gz"
    write_shard(str(path), [b"before"])

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("disk pulled")

    with pytest.raises(RuntimeError, match="disk pulled"):
        write_shard(str(path), failing())
    assert list(read_shard(str(path))) == [b"before"]
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_an_unfinished_shard_is_not_in_the_split_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Split-train"

    def watching() -> Iterator[bytes]:
        assert list(folder.iterdir()) == []
        yield b"record"

    write_shard(str(folder / "shard.gz"), watching())
    assert [p.name for p in folder.iterdir()] == ["shard.gz"]


def test_shards_are_listed_in_order_without_other_files(tmp_path: Path) -> None:
    folder = Path(split_folder(str(tmp_path), "test"))
    assert folder == tmp_path / "Split-test"
    for index in (10, 2, 0):
        write_shard(str(folder / shard_name(index, 11)), [b"r"])
    (folder / "note.txt").write_text("no shard")
    assert [Path(p).name for p in shards_of(str(folder))] == [shard_name(i, 11) for i in (0, 2, 10)]
    assert shards_of(str(tmp_path / "absent")) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_bytes(path, b"before")
    no_bytes: Any = 1.5
    with pytest.raises((TypeError, ValueError)):
        write_bytes(path, no_bytes)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file.json"
    write_text(path, "ä")
    write_bytes(str(path), b"second")
    assert path.read_bytes() == b"second"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_only_unfinished_files_of_killed_workers_are_removed(tmp_path: Path) -> None:
    shard = Path(split_folder(str(tmp_path), "train"), shard_name(0, 1))
    write_shard(str(shard), [b"whole"])

    def killed() -> Iterator[bytes]:
        yield b"half"
        unfinished.extend(path.read_bytes() for path in tmp_path.glob(".*"))
        for path in list(tmp_path.glob(".*")):
            path.with_name(f".copy{path.name}").touch()  # as if nobody had lived to remove it

    unfinished: list[bytes] = []
    write_shard(str(shard.with_name(shard_name(1, 2))), killed())
    assert unfinished
    assert list(tmp_path.glob(".copy*"))
    remove_unfinished(str(tmp_path))
    assert not list(tmp_path.glob(".*"))
    assert list(read_shard(str(shard))) == [b"whole"]
