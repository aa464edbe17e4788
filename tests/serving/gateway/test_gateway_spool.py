"""Accepted images stay accepted after restarts, resends and full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from serving.gateway.admission import RefusedInstanceError
from serving.gateway.config import GatewayConfig, GroupingConfig, RetryConfig
from serving.gateway.records import IncomingStudy
from serving.gateway.spool import SpoolError, SpoolFullError
from serving.gateway.studies import Studies, is_due
from tests.known import known

Config = Callable[..., GatewayConfig]


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


def send(studies: Studies, path: Path, changed: bool = False) -> str:
    """Stage and accept a file; return the key of its study."""
    incoming = studies.spool.receive(1 << 30)
    try:
        incoming.write(path.read_bytes())
        if changed:
            incoming.write(b"\0\0")
        staged = incoming.finish()
        return studies.accept([(staged, studies.inspect(staged, "file"))])[0].key
    finally:
        incoming.discard()


def test_an_exam_is_taken_once_it_is_complete_and_quiet_or_after_the_time_out() -> None:
    config = GroupingConfig(settle_seconds=2, timeout_seconds=60)
    four, three = frozenset({"CC_R", "CC_L", "MLO_R", "MLO_L"}), frozenset({"CC_R", "CC_L", "MLO_R"})
    cases = [(four, False, 1), (four, False, 3), (three, False, 59), (three, False, 61), (three, True, 0)]
    due = [
        is_due(IncomingStudy("k", views, complete, 100.0), 100.0 + quiet, config) for views, complete, quiet in cases
    ]
    assert due == [False, True, False, True, True]


def test_waits_double_up_to_the_cap() -> None:
    retry = RetryConfig(first_seconds=2, cap_seconds=60)
    assert [retry.wait(n) for n in (1, 2, 3, 6, 10_000)] == [2, 4, 8, 60, 60]


def test_resends_change_nothing_and_late_images_make_a_new_revision(
    gateway_config: Config, exams: list[list[Path]]
) -> None:
    clock = Clock()
    studies = Studies(gateway_config(), clock)
    keys = {send(studies, path) for path in exams[0][:3]}
    assert len(keys) == 1
    (key,) = keys
    assert send(studies, exams[0][0]) == key
    study = studies.store.study(key)
    assert study is not None
    assert (study.images, study.revision, study.state) == (3, 3, "receiving")

    clock.time += 30
    studies.group()
    claim = studies.store.claim(clock.time)
    assert claim is not None
    send(studies, exams[0][3])  # while it is graded: that grade must not count
    assert not studies.store.finish(claim, {"density": "B"}, None, [], ["pacs"], clock.time)

    clock.time += 30
    studies.group()
    claim = studies.store.claim(clock.time)
    assert claim is not None
    assert studies.store.finish(claim, {"density": "C"}, None, [], [], clock.time)
    send(studies, exams[0][1])  # known: nothing happens
    assert known(studies.store.study(key)).state == "graded"
    send(studies, exams[0][1], changed=True)  # the same UID with other content: it replaces the first, graded anew
    study = studies.store.study(key)
    assert study is not None
    assert (study.images, study.state, study.document) == (4, "receiving", None)
    assert len(list(studies.spool.images(key).iterdir())) == 4
    studies.close()


def test_a_restart_goes_on_where_the_last_process_stopped(gateway_config: Config, exams: list[list[Path]]) -> None:
    config, clock = gateway_config(), Clock()
    studies = Studies(config, clock)
    with pytest.raises(SpoolError, match="Another gateway"):
        Studies(config)
    key = next(iter({send(studies, path) for path in exams[0]}))
    clock.time += 1
    studies.group()
    assert studies.store.claim(clock.time) is not None
    studies.spool.receive(10).write(b"half")
    studies.close()

    # Moved to its study, but the process ended before the image was noted: it is taken in, its sender sends it again.
    noted = sorted((config.spool / "studies" / key / "images").iterdir())[0]
    again = Studies(config, clock)
    assert again.store.claim(clock.time) is not None  # what was being graded waits again
    assert list((config.spool / "incoming").iterdir()) == []
    again.close()
    (config.spool / "gateway.sqlite").rename(config.spool / "gone")
    for path in config.spool.glob("gateway.sqlite-*"):
        path.unlink()
    third = Studies(config, clock)
    study = third.store.study(key)
    assert study is not None
    assert (study.images, study.state) == (4, "receiving")
    assert noted.exists()
    assert send(third, exams[0][0]) == key
    assert third.store.image_count(key) == 4
    third.close()


def test_names_on_disk_and_in_the_database_tell_no_identifier(gateway_config: Config, exams: list[list[Path]]) -> None:
    config = gateway_config()
    studies = Studies(config)
    for path in exams[0]:
        send(studies, path)
    studies.close()
    dataset = pydicom.dcmread(exams[0][0], stop_before_pixels=True)
    held = b"".join(path.read_bytes() for path in config.spool.glob("gateway.sqlite*"))
    names = "\n".join(str(path.relative_to(config.spool)) for path in config.spool.rglob("*"))
    for value in (dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.PatientID, str(dataset.PatientName)):
        assert str(value).encode() not in held
        assert str(value) not in names
    assert {path.stat().st_mode & 0o77 for path in config.spool.rglob("*") if path.is_dir()} == {0}
    assert (config.spool / "secret").stat().st_mode & 0o77 == 0


def test_a_study_that_fails_often_ends_and_a_resend_tries_it_again(
    gateway_config: Config, exams: list[list[Path]]
) -> None:
    clock = Clock()
    studies = Studies(gateway_config(), clock)
    key = next(iter({send(studies, path) for path in exams[0]}))
    clock.time += 1
    studies.group()
    claim = studies.store.claim(clock.time)
    assert claim is not None
    studies.store.postpone(claim, "The server does not answer.", clock.time + 10, clock.time, own_fault=True)
    assert studies.store.claim(clock.time) is None
    clock.time += 10
    claim = studies.store.claim(clock.time)
    assert claim is not None
    assert (claim.attempts, claim.starts) == (1, 1)
    studies.store.fail(claim, "broken", [], clock.time)
    assert known(studies.summary(key))["failure"]["message"] == "broken"
    send(studies, exams[0][0])
    assert known(studies.store.study(key)).state == "receiving"
    studies.close()


def test_images_are_deleted_after_the_delivery_and_results_later(
    gateway_config: Config, exams: list[list[Path]]
) -> None:
    clock = Clock()
    destination = {"kind": "dicom", "name": "pacs", "host": "localhost", "port": 1, "ae_title": "PACS"}
    retention = {"images_hours": 1, "results_days": 2}
    studies = Studies(gateway_config(destinations=[destination], retention=retention), clock)
    key = next(iter({send(studies, path) for path in exams[0]}))
    clock.time += 1
    studies.group()
    claim = studies.store.claim(clock.time)
    assert claim is not None
    studies.spool.write_results(key, claim.revision, {"CC_R.png": b"png"})
    assert studies.store.finish(claim, {"density": "B"}, None, [], ["pacs"], clock.time)
    assert studies.picture(key, "CC_R.png") is not None
    clock.time += 100 * 3600
    studies.clean()
    assert studies.spool.images(key).exists()  # not delivered yet
    studies.store.delivered(claim, "pacs", clock.time)
    clock.time += 2 * 3600
    studies.clean()
    assert not studies.spool.images(key).parent.exists()
    summary = studies.summary(key)
    assert summary is not None
    assert (summary["exam"], summary["files"], summary["pictures"]) == ({"density": "B"}, 0, False)
    clock.time += 3 * 24 * 3600
    studies.clean()
    assert studies.summary(key) is None
    studies.close()


def test_studies_and_their_images_are_bounded(gateway_config: Config, exams: list[list[Path]]) -> None:
    studies = Studies(gateway_config(limits={"waiting_studies": 2, "instances": 4, "free_bytes": 0}))
    for exam in exams[:2]:
        send(studies, exam[0])
    with pytest.raises(RefusedInstanceError, match="2 studies wait"):
        send(studies, exams[2][0])
    send(studies, exams[1][1])
    assert list((studies.spool.root / "incoming").iterdir()) == []
    studies.close()


def test_a_file_that_no_longer_fits_is_not_accepted(tmp_path: Path) -> None:
    """RLIMIT_FSIZE acts as a full disk: the operating system refuses the write."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from serving.gateway.spool import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "spool = Spool(Path(sys.argv[1])); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "incoming = spool.receive(1 << 20)\n"
        "try:\n    incoming.write(bytes(100_000)); incoming.finish()\n"
        "except SpoolFullError: incoming.discard(); print('full', list((spool.root / 'incoming').iterdir()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "full []"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_refuses_and_loses_nothing(gateway_config: Config, exams: list[list[Path]], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("no mount here")
    try:
        studies = Studies(gateway_config(spool=small / "spool"))
        key = send(studies, exams[0][0])
        room = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        filler = small / "filler"
        filler.write_bytes(bytes(room - 8192))
        with pytest.raises(SpoolFullError):
            send(studies, exams[0][1])
        filler.unlink()
        assert send(studies, exams[0][1]) == key
        assert studies.store.image_count(key) == 2
        studies.close()
    finally:
        subprocess.run(["umount", small], check=True)
