"""What the user sees, and that everything else goes to the log."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.common.progress import PROGRESS_FILE_VARIABLE, Progress, advance, expect
from pipeline.console import ConsoleObserver, NodeResult, duration, progress_text, watching
from pipeline.logs import chatter_to
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185.4, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(), ""),
        (Progress(0, 10, "images"), ""),
        (Progress(5, 10, "images"), "5/10 images, 0.5 images/s, 10.0 s left"),
        (Progress(10, 10, "images", "loss 0.5"), "10/10 images, 1.0 images/s, loss 0.5"),
        (Progress(3, 0, "files"), "3/? files, 0.3 files/s"),
    ],
)
def test_progress_tells_rate_and_time_left(progress: Progress, text: str) -> None:
    assert progress_text(progress, 10.0) == text


def test_progress_at_once_divides_by_no_zero() -> None:
    assert "left" in progress_text(Progress(1, 2, "files"), 0.0)


def test_a_log_gets_one_plain_line_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = io.StringIO(), tmp_path / "progress.tsv"
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(file))
    with watching(terminal) as observer:
        observer.start("Trainer.CC_R", 7, 17, file)
        expect(2, "epochs")
        advance(note="loss 1.0")
        advance(note="loss [0.5]")
        observer.finish(NodeResult("Trainer.CC_R", False, 65.2, {}))
        file.unlink()
        observer.start("Pusher", 16, 17, file)
        observer.finish(NodeResult("Pusher", True, 0.1, {}))
    assert terminal.getvalue().splitlines() == [
        f"{'[ 7/17] Trainer.CC_R':<34} 1 min 05 s  2 epochs  (loss [0.5])",
        f"{'[16/17] Pusher':<34} cached",
    ]


def test_what_ingest_warns_of_stands_below_its_line(tmp_path: Path) -> None:
    terminal = io.StringIO()
    counts = {"found": 80, "by_reason": {"truncated": 8}, "warnings": ["labels.csv: age is [unclear]."]}
    (tmp_path / "summary.json").write_text(json.dumps(counts), encoding="utf-8")
    with watching(terminal) as observer:
        for cached in (False, True):
            observer.start("DicomExampleGen", 1, 17, tmp_path / "progress.tsv")
            observer.finish(NodeResult("DicomExampleGen", cached, 1.0, {"ingest_report": str(tmp_path)}))
    warnings = [
        "warning  labels.csv: age is [unclear].",
        "warning  8 of 80 images (10.0%) are left out as truncated: Transfer these files again: they are cut short.",
    ]
    lines = terminal.getvalue().splitlines()
    assert lines[1:3] == lines[4:6] == warnings


def test_a_long_node_shows_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.console._PLAIN_LINE_S", 0.05)
    terminal, file = io.StringIO(), tmp_path / "progress.tsv"
    file.write_text("expect\t8\timages\ndone\t2\t\n", encoding="utf-8")
    observer = ConsoleObserver(terminal)
    observer.start("MammogramPreprocessor", 2, 17, file)
    for _ in range(200):
        if terminal.getvalue():
            break
        observer._stop.wait(0.01)
    observer.stop()
    first = terminal.getvalue().splitlines()[0]
    assert first.startswith("[ 2/17] MammogramPreprocessor")
    assert "2/8 images" in first


def test_nodes_that_work_at_once_have_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.console._PLAIN_LINE_S", 0.05)
    terminal = io.StringIO()
    with watching(terminal) as observer:
        for number, node in enumerate(("Trainer.CC", "Trainer.MLO"), start=8):
            (tmp_path / node).write_text(f"expect\t8\tepochs\ndone\t{number}\tloss\n", encoding="utf-8")
            observer.start(node, number, 17, tmp_path / node)
        wait_until(lambda: "8/8 epochs" in terminal.getvalue() and "9/8 epochs" in terminal.getvalue())
        observer.finish(NodeResult("Trainer.MLO", False, 3.0, {}))
        shown = len(terminal.getvalue())
        wait_until(lambda: "8/8 epochs" in terminal.getvalue()[shown:])
        assert "9/8 epochs" not in terminal.getvalue()[shown:]
        observer.finish(NodeResult("Trainer.CC", False, 4.0, {}))
    assert f"{'[ 8/17] Trainer.CC':<34}     4.0 s  8 epochs  (loss)" in terminal.getvalue().splitlines()


def test_the_watcher_ends_when_a_run_fails(tmp_path: Path) -> None:
    observers = []

    def fail() -> None:
        with watching(io.StringIO()) as observer:
            observers.append(observer)
            observer.start("Transform", 6, 17, tmp_path / "progress.tsv")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert observers[0]._watcher is None


# In a process of its own: pytest itself stands between a test and its file descriptors.
_CHATTER = """
import os, subprocess, sys
from pathlib import Path
from pipeline.logs import chatter_to
from tests.waiting import wait_until

print("before")
try:
    with chatter_to(Path(sys.argv[1]) / "logs" / "run.log") as terminal:
        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"descriptor out\\n")
        os.write(2, b"descriptor err\\n")
        subprocess.run(["sh", "-c", "echo child out; echo child err >&2"], check=True)
        print("for the user", file=terminal)
        if sys.argv[2] == "fail":
            raise RuntimeError("broken")
except RuntimeError:
    pass
print("after")
os.write(2, b"after err\\n")
open_now = len(os.listdir("/proc/self/fd"))
with chatter_to(Path(sys.argv[1]) / "logs" / "run.log"):
    pass
assert len(os.listdir("/proc/self/fd")) == open_now
"""


@pytest.mark.parametrize("ending", ["well", "fail"])
def test_chatter_goes_to_the_log_and_the_terminal_comes_back(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-c", _CHATTER, str(tmp_path), ending]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["before", "for the user", "after"]
    assert done.stderr.splitlines() == ["after err"]
    log = (tmp_path / "logs" / "run.log").read_text(encoding="utf-8").splitlines()
    kinds = [f"{who} {what}" for who in ("python", "descriptor", "child") for what in ("out", "err")]
    assert sorted(log) == sorted(kinds)


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with chatter_to(tmp_path / "run.log"):
            os.write(2, f"{text}\n".encode())
    assert (tmp_path / "run.log").read_text(encoding="utf-8").splitlines() == ["first", "second"]


_QUIET = """
import os, sys
from pipeline.logs import quiet_tensorflow

quiet_tensorflow()
assert "tensorflow" in sys.modules
os.write(2, b"after err\\n")
"""


@pytest.mark.slow
def test_tensorflow_is_imported_without_a_word() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", _QUIET], capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "after err\n")


# Beam's workers print an error before they answer with it: an error in printing would leave the runner waiting.
_FULL_DISK = """
import sys
from pathlib import Path
from pipeline.logs import chatter_to
from tests.waiting import wait_until

with chatter_to(Path("/dev/full")) as terminal:
    print("lost")
    print("lost", file=sys.stderr, flush=True)
    print("for the user", file=terminal)
"""


def test_a_full_disk_costs_lines_of_the_log_alone() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "for the user\n", "")
