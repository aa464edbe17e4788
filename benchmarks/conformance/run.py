"""The conformance laboratory: grey scale against readers that others wrote, grouping against archives of known truth.

    python -m benchmarks.conformance.run [--files 3000] [--archives 300] [--runs 6] [--seed 1] [--workers 2]

Prints a section of Markdown. Exits 1 where a difference is unexplained or an invariant is broken; such cases are shrunk
and told on standard error, ready to be pasted into a test.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from benchmarks.conformance import archives, cases, compare, drawing, invariants, shrinking
from benchmarks.conformance.known import KNOWN
from benchmarks.conformance.readers import READERS
from benchmarks.conformance.writers import program

_SHRUNK: Final = 3  # failures of one kind that are shrunk
_PROGRAMS: Final = ("dcmj2pnm", "dcmdjpls", "gdcmconv", "dcmconv", "dcmcrle", "dcmcjpeg", "dcmcjpls", "dump2dcm")

T = TypeVar("T")


@dataclass
class Grouping:
    """What became of the archives.

    Attributes:
        archives: Archives tried.
        files: Files in them.
        ran: Archives that went through the whole ingest pipeline, too.
        broken: Rule -> archives.
        failures: Judgements with broken invariants.
        usable: Exams of unambiguous labels.
        lost: Kind -> such exams of which nothing was accepted.
        refused_tables: Message -> archives.
    """

    archives: int = 0
    ran: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    failures: list[invariants.Judgement] = field(default_factory=list)
    usable: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    refused_tables: Counter[str] = field(default_factory=Counter)

    def add(self, judgement: invariants.Judgement, whole: bool) -> None:
        """Count one archive."""
        self.archives += 1
        self.ran += whole
        self.broken.update({broken.rule for broken in judgement.broken})
        if judgement.broken:
            self.failures.append(judgement)
        self.usable += judgement.usable
        self.lost.update(judgement.lost)
        if judgement.refused_table:
            self.refused_tables[judgement.refused_table[:80]] += 1


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # libjpeg and GDCM write to standard error whatever they meet.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def grey_case(seed: int, number: int) -> cases.Case:
    """Draw the case of a number."""
    return drawing.draw(Random(f"grey {seed} {number}"), number)


def archive_case(seed: int, number: int) -> archives.Archive:
    """Draw the archive of a number."""
    return archives.draw(Random(f"archive {seed} {number}"), number)


def _judge_grey(seed: int, number: int) -> compare.Verdict:
    with tempfile.TemporaryDirectory() as folder:
        return compare.judge(grey_case(seed, number), Path(folder))


def _judge_archive(seed: int, runs: int, number: int) -> invariants.Judgement:
    return invariants.judge(archive_case(seed, number), whole=number < runs)


def _mapped(judge: Callable[[int], T], count: int, workers: int) -> Iterable[T]:
    if workers < 2:
        return map(judge, range(count))
    pool = ProcessPoolExecutor(workers, initializer=_quiet)
    return pool.map(judge, range(count), chunksize=8)


def try_grey(files: int, seed: int, workers: int = 1) -> compare.Tally:
    """Judge so many grey-scale cases."""
    tally = compare.Tally()
    for verdict in _mapped(partial(_judge_grey, seed), files, workers):
        tally.add(verdict)
    return tally


def try_grouping(count: int, runs: int, seed: int, workers: int = 1) -> Grouping:
    """Judge so many archives, the first ``runs`` of them by the whole ingest pipeline, too."""
    grouping = Grouping()
    for number, judgement in enumerate(_mapped(partial(_judge_archive, seed, runs), count, workers)):
        grouping.add(judgement, number < runs)
    return grouping


def _fails(failure: str, case: cases.Case) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        return failure in compare.judge(case, Path(folder)).failures


def _breaks(rule: str, archive: archives.Archive) -> bool:
    whole = rule.startswith("describe and run")
    return any(broken.rule == rule for broken in invariants.judge(archive, whole).broken)


def shrunk_grey(tally: compare.Tally, most: int = _SHRUNK) -> list[str]:
    """Shrink the unexplained cases, some of each kind; return one line of Python code for each."""
    lines, seen = [], Counter[str]()
    for verdict in tally.failures:
        for failure in verdict.failures:
            seen[failure] += 1
            if seen[failure] > most:
                continue
            case = shrinking.shrink(verdict.case, partial(_fails, failure))
            lines.append(f"{failure}: {brief(case, cases.Case())}")
    return lines


def shrunk_archives(grouping: Grouping, most: int = _SHRUNK) -> list[str]:
    """Shrink the archives that break an invariant, some of each; return one line of Python code for each."""
    lines, seen = [], Counter[str]()
    for judgement in grouping.failures:
        for broken in {broken.rule: broken for broken in judgement.broken}.values():
            seen[broken.rule] += 1
            if seen[broken.rule] > most:
                continue
            plain = shrinking.shrink_archive(judgement.archive, partial(_breaks, broken.rule))
            lines.append(f"{broken.rule} ({broken.seen}): {brief(plain, archives.Archive())}")
    return lines


def brief(case: Any, plain: Any) -> str:
    """Write a description without what is as in the plain one."""
    changed = {name: value for name, value in vars(case).items() if value != getattr(plain, name)}
    return f"{type(case).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print()


def _print_grey(tally: compare.Tally, seed: int, minutes: float) -> None:
    unexplained = Counter(failure for verdict in tally.failures for failure in verdict.failures)
    print("## Grey scale\n")
    print(
        f"{tally.written} files written (seed {seed}, {minutes:.1f} minutes), {sum(tally.compared.values())}"
        f" comparisons; {sum(tally.explained.values())} differ for a known reason."
        f" **Unexplained: {sum(unexplained.values())}.**\n"
    )
    absent = [name for name in _PROGRAMS if program(name) is None]
    if absent:
        print(f"Programs that are absent: {', '.join(absent)}; what needs them was not tried.\n")
    _table(
        ("compared with", "files", "unexplained", "gave no answer"),
        ((n, tally.compared[n], unexplained[f"differs from {n}"], tally.silent[n]) for n in READERS),
    )
    print("Known disagreements:\n")
    _table(
        ("what", "readers that differ", "comparisons", "who is right, and whom we follow"),
        ((k.name, ", ".join(sorted(k.readers)), tally.explained[k.name], k.right) for k in KNOWN),
    )
    if tally.refused:
        print("Refused by us, with a ground in the file:\n")
        _table(("reason", "files"), sorted(tally.refused.items()))
    if tally.unwritten:
        print("Not written, for a program refuses to:\n")
        _table(("who, what, why", "cases"), tally.unwritten.most_common(8))


def _print_grouping(grouping: Grouping, seed: int, minutes: float) -> None:
    print("## Grouping\n")
    print(
        f"{grouping.archives} archives (seed {seed}, {minutes:.1f} minutes), {grouping.ran} of them through the whole"
        f" ingest pipeline. **Broken invariants: {sum(grouping.broken.values())}.**\n"
    )
    if grouping.broken:
        _table(("invariant", "archives that break it"), grouping.broken.most_common())
    lost = sum(grouping.lost.values())
    print(
        f"Exams whose labels name them and no other: {grouping.usable}. Of {lost} of these no image was accepted (their"
        " headers contradict each other, or leave open whose they are):\n"
    )
    _table(("refused as", "exams"), grouping.lost.most_common())
    if grouping.refused_tables:
        print("Label tables that were refused as a whole:\n")
        _table(("message", "archives"), grouping.refused_tables.most_common())


def main() -> int:
    """Run both laboratories and print a section of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000, help="files of the grey-scale laboratory")
    parser.add_argument("--archives", type=int, default=300, help="archives of the grouping laboratory")
    parser.add_argument("--runs", type=int, default=6, help="of these, how many go through the whole ingest pipeline")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()

    started = time.monotonic()
    tally = try_grey(arguments.files, arguments.seed, arguments.workers)
    middle = time.monotonic()
    _print_grey(tally, arguments.seed, (middle - started) / 60)
    grouping = try_grouping(arguments.archives, arguments.runs, arguments.seed, arguments.workers)
    _print_grouping(grouping, arguments.seed, (time.monotonic() - middle) / 60)
    failures = shrunk_grey(tally) + shrunk_archives(grouping)
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
