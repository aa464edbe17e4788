"""How wrong the muscle's outline is on films that its network has not seen, and whether its doubt says so; Markdown.

    python -m benchmarks.muscle [--masks DIR] [--networks DIR] [--pictures DIR]

``--masks`` is the folder of ``benchmarks.segmentation``. ``--networks`` holds networks that have not seen some films:
``fold_0.pb`` and ``fold_1.pb`` not every second exam, and, if present, ``site_A.pb`` ... not the films of one site, the
first letter of an exam (``python -m pipeline.segmenter --folds sites`` makes them). Every film is scored by networks
that have not seen it, as it is and changed as ``benchmarks/altered_films.py`` says. ``--pictures`` takes the ten worst
outlines: truth green, outline red. In brackets: 95 % bootstrap intervals over exams.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.altered_films import KINDS, grey_step, wall_is_left
from benchmarks.segmentation import Case, Score, drawn_cases, preprocess, score, unseen_weights
from components.preprocessing.network import Weights
from components.preprocessing.preprocessed_view import PreprocessedView

_RESAMPLES: Final = 2000
_TOLERATED: Final = 0.10  # of the muscle's area, for false positive and false negative area
_SILENT: Final = 0.5  # a missed muscle of less doubt is silent
_LEAST: Final = 0.003  # share of the picture; less is no muscle to be found
_WALL: Final = 0.08  # share of the breast's width, in which errors along the chest wall are measured
_WORST: Final = 10
_THIRDS: Final = ("least", "middle", "greatest")
_SHARES: Final = (0.1, 0.2, 0.3, 0.5)  # of the images that a reviewer looks at


@dataclass(frozen=True)
class Measured:
    """One film, or a changed one, and what a network that has not seen it found.

    Attributes:
        case: The film.
        kind: How it was changed, a key of ``KINDS``; empty if it was not.
        score: Errors.
        doubt: Uncertainty, 0..1.
        agreement: Of map and curve, 0..1.
        status: Of the result.
        foot: How far the outline runs too far down the chest wall, share of the muscle's height there; below 0 not far
            enough.
        step: Grey step from breast to muscle, of 255.
        size: Muscle's share of breast and muscle.
    """

    case: Case
    kind: str
    score: Score
    doubt: float
    agreement: float
    status: str
    foot: float
    step: float
    size: float

    @property
    def exam(self) -> str:
        """The exam, the same for a film and its changed copies."""
        return self.case.name

    @property
    def error(self) -> float:
        """The larger error, share of the muscle's area."""
        return max(self.score.false_positive, self.score.false_negative)


def _foot(case: Case, result: PreprocessedView) -> float:
    """Compare the lowest rows of both muscles near the chest wall."""
    columns = np.flatnonzero(result.breast_mask.any(axis=0))
    if not columns.size:
        return -1.0
    reach = max(1, round(_WALL * columns.size))
    strip = np.s_[:, columns[:reach]] if wall_is_left(case) else np.s_[:, columns[-reach:]]
    truth, found = (np.flatnonzero(mask[strip].any(axis=1)) for mask in (case.muscle, result.pectoral_mask))
    if not truth.size:
        return 0.0
    height = truth[-1] - truth[0] + 1
    return float(((found[-1] if found.size else truth[0]) - truth[-1]) / height)


def measure(case: Case, kind: str, weights: Weights) -> Measured:
    """Preprocess a film with a network that has not seen it, and compare with its truth."""
    result = preprocess(case, "auto", {case.name: weights})
    breast = max(1, int((result.breast_mask | case.muscle).sum()))
    return Measured(
        case,
        kind,
        score(result.pectoral_mask, case.muscle),
        result.doubt,
        result.measurements.agreement,
        result.status,
        _foot(case, result),
        grey_step(case),
        float(case.muscle.sum() / breast),
    )


def measure_all(cases: Sequence[Case], weights: dict[str, Weights]) -> Iterator[Measured]:
    """Measure every film as it is, and changed in each way; a film left without a muscle is left out."""
    for case in cases:
        yield measure(case, "", weights[case.name])
        for kind, way in KINDS.items():
            altered = way.alter(case)
            if altered.muscle.mean() >= _LEAST:
                yield measure(altered, kind, weights[case.name])


def site_weights(cases: Sequence[Case], folder: Path) -> dict[str, Weights]:
    """Return for each case the network that was trained without its site; empty if one is not in the folder."""
    files = {case.name: folder / f"site_{case.name[0]}.pb" for case in cases}
    if not all(file.is_file() for file in files.values()):
        return {}
    hashes = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in set(files.values())}
    return {name: Weights(file, hashes[file]) for name, file in files.items()}


Statistic = Callable[[Sequence[Measured]], float]


def _interval(rows: Sequence[Measured], statistic: Statistic) -> str:
    """Format a statistic with its percentile interval from a bootstrap over exams."""
    groups: dict[str, list[Measured]] = {}
    for row in rows:
        groups.setdefault(row.exam, []).append(row)
    exams = list(groups.values())
    rng = np.random.default_rng(0)
    drawn = [
        statistic([row for pick in rng.integers(len(exams), size=len(exams)) for row in exams[pick]])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return f"{statistic(rows):.3f} [{low:.3f}, {high:.3f}]"


def _mean(value: Callable[[Measured], float], rows: Sequence[Measured]) -> float:
    return float(np.mean([value(row) for row in rows]))


def _rank(doubt: Callable[[Measured], float], error: Callable[[Measured], float], rows: Sequence[Measured]) -> float:
    found = spearmanr([doubt(row) for row in rows], [error(row) for row in rows])
    return float(found[0])


def _disagreement(row: Measured) -> float:
    return 1 - row.agreement


_SUMMARY: Final[dict[str, Statistic]] = {
    "Dice": partial(_mean, lambda row: row.score.dice),
    "both errors under 10 %": partial(_mean, lambda row: row.error < _TOLERATED),
    "false positive area": partial(_mean, lambda row: row.score.false_positive),
    "false negative area": partial(_mean, lambda row: row.score.false_negative),
    "too far down the chest wall, share of the height": partial(_mean, lambda row: max(0.0, row.foot)),
    "not far enough down the chest wall": partial(_mean, lambda row: max(0.0, -row.foot)),
    "Spearman of doubt and Dice": partial(_rank, lambda row: row.doubt, lambda row: row.score.dice),
    "Spearman of doubt and the larger error": partial(_rank, lambda row: row.doubt, lambda row: row.error),
    "Spearman of 1 - agreement alone and Dice": partial(_rank, _disagreement, lambda row: row.score.dice),
    "Spearman of 1 - agreement alone and the larger error": partial(_rank, _disagreement, lambda row: row.error),
}


def _table(head: str, columns: dict[str, Sequence[Measured]]) -> str:
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for words, statistic in _SUMMARY.items():
        lines.append(f"| {words} | {' | '.join(_interval(rows, statistic) for rows in columns.values())} |")
    missed = {name: [row for row in rows if row.status != "removed"] for name, rows in columns.items()}
    silent = (f"{sum(r.doubt < _SILENT for r in missed[n])} of {len(missed[n])}" for n in columns)
    lines.append(f"| missed muscles of a doubt below {_SILENT}, of all missed | {' | '.join(silent)} |")
    return "\n".join([*lines, ""])


def _groups(rows: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    """Yield the films by site, by thirds of size and contrast, and by how they were changed."""
    plain = [row for row in rows if not row.kind]
    for site in sorted({row.exam[0] for row in plain}):
        yield f"site {site}", [row for row in plain if row.exam[0] == site]
    values: tuple[tuple[str, Callable[[Measured], float]], ...] = (
        ("size of the muscle", lambda row: row.size),
        ("grey step at the edge", lambda row: row.step),
    )
    for words, value in values:
        for third, part in zip(
            ("least", "middle", "greatest"), np.array_split(sorted(plain, key=value), 3), strict=True
        ):
            members = list(part)
            yield f"{words}, {third} third ({value(members[0]):.2f} to {value(members[-1]):.2f})", members
    for kind, way in KINDS.items():
        yield way.words, [row for row in rows if row.kind == kind]


def _group_table(rows: Sequence[Measured]) -> str:
    shown = ("Dice", "both errors under 10 %", "false positive area", "false negative area")
    lines = [f"| films | n | {' | '.join(shown)} | silent misses |", "|---|---:|" + "---|" * (1 + len(shown))]
    for words, members in _groups(rows):
        silent = sum(row.status != "removed" and row.doubt < _SILENT for row in members)
        figures = " | ".join(_interval(members, _SUMMARY[name]) for name in shown)
        lines.append(f"| {words} | {len(members)} | {figures} | {silent} |")
    return "\n".join([*lines, ""])


def effort(errors: NDArray[np.bool_], doubts: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return after how many images, the most doubtful first, each error is found; ties count as looked at last.

    Args:
        errors: bool [n], images that need a correction.
        doubts: float64 [n].

    Returns:
        intp [errors], ascending.
    """
    order = np.lexsort((errors, -doubts))
    return np.flatnonzero(errors[order]) + 1


def _effort_table(columns: dict[str, Sequence[Measured]]) -> str:
    lines = [
        "| images looked at, the most doubtful first | " + " | ".join(columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    errors = {name: np.array([row.error >= _TOLERATED for row in rows]) for name, rows in columns.items()}
    orders: tuple[Callable[[Measured], float], ...] = (lambda row: row.doubt, _disagreement)
    found = {
        name: [effort(errors[name], np.array([order(row) for row in rows])) for order in orders]
        for name, rows in columns.items()
    }
    for share in _SHARES:
        cells = []
        for name, rows in columns.items():
            count = round(share * len(rows))
            by_doubt, by_agreement = (int((places <= count).sum()) for places in found[name])
            cells.append(f"{by_doubt} of {errors[name].sum()} ({by_agreement}) after {count} images")
        lines.append(f"| {100 * share:.0f} %: errors over 10 % found | {' | '.join(cells)} |")
    last = {name: [int(places.max(initial=0)) for places in found[name]] for name in columns}
    cells = [f"{last[name][0]} ({last[name][1]}) of {len(rows)} images" for name, rows in columns.items()]
    lines.append(f"| until all are found | {' | '.join(cells)} |")
    lines += ["", "In round brackets: the same with images in the order of 1 - agreement alone."]
    return "\n".join([*lines, ""])


def draw_worst(rows: Sequence[Measured], weights: dict[str, Weights], folder: Path) -> list[str]:
    """Draw the worst outlines; return a line on each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place, row in enumerate(sorted(rows, key=lambda row: -row.error)[:_WORST], start=1):
        result = preprocess(row.case, "auto", weights)
        picture = cv2.cvtColor(row.case.pixels, cv2.COLOR_GRAY2BGR)
        for mask, colour in ((row.case.muscle, (0, 255, 0)), (result.pectoral_mask, (0, 0, 255))):
            contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
            cv2.drawContours(picture, contours, -1, colour, 2)
        cv2.imwrite(str(folder / f"{place:02d}_{row.exam}_{row.kind or 'plain'}.png"), picture)
        errors = f"+{row.score.false_positive:.2f} -{row.score.false_negative:.2f}"
        lines.append(f"{row.exam} {row.kind} {errors} (doubt {row.doubt:.2f})".replace("  ", " "))
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=Path, default=Path("../shared/data/ddsm_pectoral"))
    parser.add_argument("--networks", type=Path, default=Path(__file__).with_name("segmenter"))
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print("## The muscle on films that its network has not seen\n")
    if not (arguments.masks / "index.csv").is_file():
        print(f"Left out: {arguments.masks / 'index.csv'} does not exist.\n")
        return
    if not all((arguments.networks / f"fold_{fold}.pb").is_file() for fold in (0, 1)):
        parser.error(f"--networks {arguments.networks}: give a folder with fold_0.pb and fold_1.pb")
    cases = list(drawn_cases(arguments.masks))
    found = {
        "by exam": unseen_weights(cases, arguments.networks),
        "by site": site_weights(cases, arguments.networks),
    }
    sites = sorted({case.name[0] for case in cases})
    print(f"{len(cases)} films, sites {', '.join(sites)}.\n")
    columns: dict[str, Sequence[Measured]] = {}
    for name, weights in found.items():
        if not weights:
            print(f"Kept aside {name}: left out, `--networks` has no network for every site (`site_A.pb` ...).\n")
            continue
        rows = list(measure_all(cases, weights))
        plain = [row for row in rows if not row.kind]
        columns |= {f"kept aside {name}, n = {len(plain)}": plain}
        columns |= {f"{name}, also changed films, n = {len(rows)}": rows}
        if arguments.pictures:
            worst = draw_worst(plain, weights, arguments.pictures / name.replace(" ", "_"))
            print(f"Worst, kept aside {name}: {', '.join(worst)}.\n")
        print(f"Kept aside {name}:\n\n{_group_table(rows)}")
    print(_table("network trained without the film", columns))
    print(_effort_table(columns))


if __name__ == "__main__":
    main()
