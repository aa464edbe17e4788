"""Hostile input: reads mutated files as ingest does, and counts what became of each.

    python -m benchmarks.fuzz --files 20000 --seed 1 [--workers 2] [--keep FOLDER]

Each file is read in a worker process that has a bound on its address space and on the processor time of one file. A
file must give a view or an ``IngestError``. Exits 1 on any crash, hang, untyped error or breach of the memory limit.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.mutations import corpus, hostile_file
from components.dicom.reading import load_view
from components.dicom.rejections import ANY_IMAGE, DEFAULT_MAX_PIXELS, IngestError, ManifestError
from components.dicom_example_gen.plan.planning import inspect
from components.sources.source import ManifestSource, find_candidates

_SECONDS = 5.0  # of processor time a file; a busy machine may take longer by the clock
_WALL_SECONDS = 120.0
_MANIFESTS = 0.02  # share of the files that are manifests
_NAMES: Final = (
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "..\\..\\b",
    "C:\\b",
    "\\\\host\\b",
    "a\0b",
    "~/b",
    "file:///b",
    "http://h/b",
    "",
    ".",
    "..",
    "x" * 5000,
    "\u202egnp.b",
    "con",
    "$(b)",
    "sound.dcm",
    "./sound.dcm",
    "link.dcm",
)


@dataclass
class Tally:
    """What became of the files.

    Attributes:
        outcomes: Count of files by outcome: ``accepted``, or the reason of the rejection.
        kinds: Count of files by kind of mutation.
        failures: Each crash, hang, untyped error and breach: number of the file, kind, what happened.
        slowest: Processor seconds of the slowest file, and its kind.
        peak_mib: Highest resident memory of a worker, MiB, and the kind of file that raised it.
        base_mib: Resident memory of a worker before its first file, MiB.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    peak_mib: tuple[float, str] = (0.0, "")
    base_mib: float = 0.0


def _resident_mib() -> float:
    # Not ru_maxrss, which a new process inherits from the one that starts it (pytest may hold gigabytes).
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _read(path: Path, random: Random) -> str:
    # Any view and any image, so that most files reach the decoders.
    view, acceptance = random.choice((("CC_R", ANY_IMAGE), ("CC_R", ANY_IMAGE), (None, ANY_IMAGE)))
    try:
        load_view(path, view, 1024, DEFAULT_MAX_PIXELS, acceptance)
    except IngestError as error:
        return "OUT OF MEMORY" if "MemoryError" in error.value else error.reason.value
    return "accepted"


def _read_manifest(folder: Path, random: Random) -> str:
    """Check that paths out of the folder are rejected, and that no row is lost."""
    names = random.sample(_NAMES, 5)
    rows = "".join(f'E{i},CC_R,"{name}",B\n' for i, name in enumerate(names))
    manifest = folder / "manifest.csv"
    manifest.write_bytes(f"exam_id,view,file,density\n{rows}".encode())
    try:
        found = find_candidates(ManifestSource(manifest))
    except ManifestError:
        return "manifest refused"
    if len(found.found) != len(names):
        return f"LOST ROWS of {names}"
    for candidate in found.found:
        read = inspect(candidate, found.root, DEFAULT_MAX_PIXELS).header is not None
        if read and folder not in (folder / candidate.file).resolve().parents:
            return f"LEFT THE FOLDER by {candidate.file!r}"
    return "manifest read"


def _work(connection: Connection, seed: int, numbers: range, address_mib: int, files: dict[str, bytes]) -> None:
    """Read the files with these numbers; report each before and after."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (address_mib << 20, address_mib << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send(("base", _resident_mib()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "archive").resolve()
        folder.mkdir()
        (folder / "sound.dcm").write_bytes(files["dicom RLELossless"])
        (Path(name) / "outside.dcm").write_bytes(files["dicom RLELossless"])
        path = folder / "hostile"
        for number in numbers:
            random = Random(f"read {seed} {number}")
            is_manifest = random.random() < _MANIFESTS
            kind, data = ("manifest: names", b"") if is_manifest else hostile_file(files, seed, number)
            path.write_bytes(data)
            connection.send(("start", number, kind))
            # SIGPROF ends the process: no Python code need run for it.
            signal.setitimer(signal.ITIMER_PROF, _SECONDS)
            started = time.process_time()
            try:
                outcome = _read_manifest(folder, random) if is_manifest else _read(path, random)
            except BaseException as error:
                outcome = f"UNTYPED {type(error).__name__}: {error}"[:200]
            seconds = time.process_time() - started
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(("done", number, kind, outcome, seconds, _resident_mib()))
    connection.send(("end",))


def _note(tally: Tally, message: tuple[object, ...]) -> None:
    _, number, kind, outcome, seconds, memory = message
    tally.kinds[str(kind).split(": ")[1]] += 1
    if str(outcome)[:1].isupper():
        tally.failures.append((int(str(number)), str(kind), str(outcome)))
        tally.outcomes["FAILED"] += 1
    else:
        tally.outcomes[str(outcome)] += 1
    tally.slowest = max(tally.slowest, (float(str(seconds)), str(kind)))
    if float(str(memory)) > tally.peak_mib[0] + 1:
        tally.peak_mib = (float(str(memory)), str(kind))


def _watch(tally: Tally, seed: int, numbers: range, address_mib: int, files: dict[str, bytes]) -> range:
    """Run one worker until it ends or dies; return the remaining numbers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, seed, numbers, address_mib, files), daemon=True)
    process.start()
    theirs.close()
    current: tuple[int, str] | None = None
    try:
        while ours.poll(_WALL_SECONDS):
            message = ours.recv()
            if message[0] == "start":
                current = (message[1], message[2])
            elif message[0] == "done":
                _note(tally, message)
                current = None
            elif message[0] == "base":
                tally.base_mib = max(tally.base_mib, message[1])
            else:
                return range(0)
        cause = f"HANG over {_WALL_SECONDS:.0f} s by the clock"
    except EOFError:
        process.join()
        code = process.exitcode
        cause = f"HANG over {_SECONDS:.0f} s" if code == -signal.SIGPROF else f"CRASH with exit code {code}"
    finally:
        process.kill()
        process.join()
        ours.close()
    number, kind = current if current is not None else (numbers[0], "between files")
    tally.failures.append((number, kind, cause))
    tally.outcomes["FAILED"] += 1
    return numbers[numbers.index(number) + 1 :]


def _worker(arguments: tuple[int, range, int, dict[str, bytes]]) -> Tally:
    seed, numbers, address_mib, files = arguments
    tally = Tally()
    while len(numbers):
        numbers = _watch(tally, seed, numbers, address_mib, files)
    return tally


def run(files: int, seed: int, workers: int = 1, address_mib: int = 4096) -> Tally:
    """Read hostile files.

    Args:
        files: How many.
        seed: Seed of all that is drawn.
        workers: Worker processes at a time.
        address_mib: Limit of a worker's address space, MiB.

    Returns:
        What became of them.
    """
    sound = dict(corpus())
    tasks = [(seed, range(first, files, workers), address_mib, sound) for first in range(workers)]
    if workers == 1:
        tallies = [_worker(tasks[0])]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers) as pool:
            tallies = list(pool.map(_worker, tasks))
    total = Tally()
    for tally in tallies:
        total.outcomes += tally.outcomes
        total.kinds += tally.kinds
        total.failures += tally.failures
        total.slowest = max(total.slowest, tally.slowest)
        total.peak_mib = max(total.peak_mib, tally.peak_mib)
        total.base_mib = max(total.base_mib, tally.base_mib)
    return total


def _keep(tally: Tally, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sound = corpus()
    for number, kind, _ in tally.failures:
        if not kind.startswith("manifest"):
            (folder / f"{seed}-{number}").write_bytes(hostile_file(sound, seed, number)[1])


def main() -> int:
    """Run the fuzzing and print a section of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    arguments = parser.parse_args()
    started = time.perf_counter()
    tally = run(arguments.files, arguments.seed, arguments.workers)
    minutes = (time.perf_counter() - started) / 60
    print(f"## Hostile input\n\n{arguments.files} files, seed {arguments.seed}, {minutes:.1f} minutes.\n")
    print("| outcome | files |\n|---|---:|")
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"| {outcome} | {count} |")
    print(f"| **all** | **{sum(tally.outcomes.values())}** |\n")
    print(f"Kinds: {', '.join(f'{kind} {count}' for kind, count in sorted(tally.kinds.items()))}.\n")
    print(f"Slowest file {tally.slowest[0]:.2f} s of processor time ({tally.slowest[1]}). Peak memory", end=" ")
    print(f"{tally.peak_mib[0]:.0f} MiB ({tally.peak_mib[1]}), {tally.base_mib:.0f} MiB before the first file.")
    print(f"\nCrashes, hangs, untyped errors, breaches of memory: {len(tally.failures)}.")
    for number, kind, cause in tally.failures[:50]:
        print(f"- file {number} ({kind}): {cause}")
    if arguments.keep is not None:
        _keep(tally, arguments.seed, arguments.keep)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
