"""Processes that are killed and disks that are full: what was accepted is graded, and rightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gateway_faults import GatewayUnderTest, expected_of, full_disk, killed, small_disk

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def folders(exams: list[list[Path]]) -> list[Path]:
    return [files[0].parent for files in exams]


@pytest.fixture(scope="module")
def expected(gateway_model: Path, folders: list[Path]) -> list[tuple[float, ...]]:
    return expected_of(gateway_model, folders)


def test_a_killed_gateway_loses_no_accepted_study(
    model_server: str, folders: list[Path], expected: list[tuple[float, ...]], tmp_path: Path
) -> None:
    gateway = GatewayUnderTest(tmp_path, tmp_path / "spool", model_server)
    found = killed(gateway, folders, expected, kills=1, studies=8)
    assert len(found.accepted) >= 8
    assert (found.graded, found.wrong, found.lost) == (len(found.accepted), 0, 0)
    assert found.cut > 0
    assert found.refused.keys() <= {503}


def test_a_full_disk_refuses_uploads_and_loses_no_accepted_study(
    model_server: str, folders: list[Path], expected: list[tuple[float, ...]], tmp_path: Path
) -> None:
    with small_disk(4) as disk:
        if disk is None:
            pytest.skip("mounting a small disk takes root")
        small, grow = disk
        gateway = GatewayUnderTest(tmp_path, small / "spool", model_server)
        found = full_disk(gateway, grow, folders, expected, refusals=3)
        assert found.refused[507] >= 3
        assert found.refused.keys() <= {503, 507}
        assert (found.graded, found.wrong, found.lost) == (len(found.accepted), 0, 0)
