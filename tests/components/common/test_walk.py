"""Links of a cohort are followed, up to a limit and never in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.common.location import files_below
from components.common.walk import LinkCounts


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def listed(folder: Path) -> tuple[list[str], LinkCounts]:
    counts = LinkCounts()
    return sorted(file.name for file in files_below(folder, counts)), counts


def test_a_cohort_of_links_to_a_store_is_listed_under_the_links_names(tmp_path: Path) -> None:
    make(tmp_path, "store/1/a.dcm", "store/1/series/b.dcm", "store/2/c.dcm", "cohort/0/d.dcm")
    cohort = tmp_path / "cohort"
    (cohort / "E1").symlink_to(tmp_path / "store/1")
    (cohort / "deep").mkdir()
    (cohort / "deep/E2").symlink_to("../../store/2")
    names, counts = listed(cohort)
    assert names == ["0/d.dcm", "E1/a.dcm", "E1/series/b.dcm", "deep/E2/c.dcm"]
    assert counts == LinkCounts(followed=2)
    assert counts.warnings() == ("2 linked folders are followed.",)
    assert {name: (cohort / name).read_bytes() for name in names}["E1/a.dcm"] == b"store/1/a.dcm"


def test_circular_links_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make(root, "a/x.dcm", "b/y.dcm")
    (root / "a/up").symlink_to("..")
    (root / "a/self").symlink_to(".")
    (root / "a/outside").symlink_to(tmp_path)
    (root / "a/to_b").symlink_to("../b")
    (root / "b/to_a").symlink_to("../a")
    names, counts = listed(root)
    assert set(names) >= {"a/x.dcm", "b/y.dcm"}
    assert len(names) <= 4  # each file by its own path, and once by a link
    assert counts.circular >= 3


def test_folders_that_link_to_each_other_are_not_multiplied(tmp_path: Path) -> None:
    folders = [tmp_path / f"f{n}" for n in range(9)]
    for folder in folders:
        make(folder, "x.dcm")
    for folder in folders:
        for other in folders:
            if other != folder:
                (folder / f"to_{other.name}").symlink_to(other)
    names, counts = listed(tmp_path)
    assert len(names) <= 9 * (1 + 8)
    assert {"f0/x.dcm", "f0/to_f8/x.dcm", "f8/to_f0/x.dcm"} <= set(names)
    assert counts.again > 0


def test_a_folder_by_two_links_is_listed_under_both(tmp_path: Path) -> None:
    make(tmp_path, "store/x.dcm", "store/deep/y.dcm", "root/z.dcm")
    for name in ("one", "two"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "store")
    names, counts = listed(tmp_path / "root")
    assert names == ["one/deep/y.dcm", "one/x.dcm", "two/deep/y.dcm", "two/x.dcm", "z.dcm"]
    assert counts == LinkCounts(followed=2)


def test_paths_that_double_at_every_level_are_bounded(tmp_path: Path) -> None:
    for level in range(14):
        make(tmp_path, f"{level}/x.dcm")
        for side in ("left", "right"):
            (tmp_path / str(level) / side).symlink_to(tmp_path / str(level + 1))
    make(tmp_path, "14/x.dcm")
    names, counts = listed(tmp_path / "0")
    assert len(names) == 1 + 2 + 4 + 12 * 8
    assert counts.again == 11 * 8
    assert "times a folder that 8 paths of links had led to was not listed again." in counts.warnings()[-1]


def test_circles_through_links_of_other_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "root/r.dcm", "store/1/a.dcm", "store/2/b.dcm")
    (tmp_path / "root/E1").symlink_to(tmp_path / "store/1")
    (tmp_path / "store/1/other").symlink_to(tmp_path / "store/2")
    (tmp_path / "store/2/back").symlink_to(tmp_path / "store/1")
    (tmp_path / "store/2/up").symlink_to(tmp_path / "store")
    names, counts = listed(tmp_path / "root")
    assert names == ["E1/a.dcm", "E1/other/b.dcm", "r.dcm"]
    assert counts == LinkCounts(followed=2, circular=2)


def test_broken_links_are_listed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "E1").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / ".hidden").symlink_to(tmp_path / "gone")
    names, counts = listed(tmp_path)
    assert names == ["E1", "loop"]
    assert counts == LinkCounts(broken=2)


def test_a_linked_root_and_hidden_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "store/x.dcm", "store/.git/y.dcm", "other/.secret/z.dcm")
    (tmp_path / "root").symlink_to("store")
    (tmp_path / "store/.link").symlink_to(tmp_path / "other")
    assert listed(tmp_path / "root") == (["x.dcm"], LinkCounts())
    monkeypatch.chdir(tmp_path)
    assert listed(Path("root"))[0] == listed(Path("store"))[0] == ["x.dcm"]
