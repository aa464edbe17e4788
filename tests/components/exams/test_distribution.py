from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.dicom_example_gen.report import summary
from components.exams.distribution import PROPORTIONS, DistributionConfig, exams_to_drop, largest_counts
from components.sources.candidates import Candidate, Label
from schema.features import DENSITY_CLASSES

pytestmark = pytest.mark.slow

# The slide "Datasets": exams by class.
AOUP = {"train": (142, 337, 611, 142), "eval": (20, 45, 74, 17), "test": (20, 46, 75, 17)}


def archive(splits: Mapping[str, tuple[int, ...]]) -> list[InspectedFile]:
    """Return one image per exam, in named splits."""
    outcomes = []
    for split, counts in splits.items():
        for density, count in zip(DENSITY_CLASSES, counts, strict=True):
            for number in range(count):
                exam = f"{split}{density}{number}"
                label = Label(exam, density, exam, split=split)
                header = ViewHeader(view="CC_R", rows=9, columns=9)
                outcomes.append(InspectedFile(Candidate(exam, label=label, exam_id=exam), header))
    return outcomes


def counts_of(result: IngestPlan) -> dict[str, tuple[int, ...]]:
    counts = Counter((view.split, view.density) for view in result.accepted)
    return {split: tuple(counts[split, density] for density in DENSITY_CLASSES) for split in AOUP}


def planned(splits: Mapping[str, tuple[int, ...]], distribution: object) -> IngestPlan:
    return plan(archive(splits), {}, IngestConfig.model_validate({"distribution": distribution}), b"key")


def test_the_slides_exams_give_the_slides_counts() -> None:
    assert sum(map(sum, AOUP.values())) == 1546
    assert counts_of(planned(AOUP, "thesis_aoup")) == AOUP
    assert planned(AOUP, "thesis_aoup").rejected == ()
    # The slides' BIRADS training set is the largest that the AOUP training set allows.
    assert counts_of(planned(AOUP, "BIRADS"))["train"] == (84, 337, 337, 84)


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("thesis_aoup", (142, 337, 611, 142), (20, 46, 75, 17)),
        ("thesis_birads", (84, 337, 337, 84), (12, 47, 47, 12)),
        ("thesis_uniform", (141, 141, 141, 141), (18, 18, 18, 18)),
    ],
)
def test_a_larger_archive_gives_the_slides_counts(name: str, train: tuple[int, ...], test: tuple[int, ...]) -> None:
    larger = {split: tuple(count + 30 for count in counts) for split, counts in AOUP.items()}
    result = planned(larger, name)
    assert counts_of(result) == {"train": train, "eval": AOUP["eval"], "test": test}
    assert {rejection.reason for rejection in result.rejected} == {Reason.LEFT_OUT_BY_DISTRIBUTION}
    assert len(result.accepted) + len(result.rejected) == 1546 + 12 * 30
    figures = summary(result, {})
    assert figures["exams_left_out"] == {"left_out_by_distribution": len(result.rejected)}
    assert figures["splits"]["test"]["by_class"] == dict(zip(DENSITY_CLASSES, test, strict=True))


def test_a_smaller_archive_keeps_the_proportions_of_the_counts() -> None:
    half = dict.fromkeys(AOUP, (60, 400, 700, 200))
    assert counts_of(planned(half, "thesis_uniform"))["train"] == (60, 60, 60, 60)
    assert counts_of(planned(half, "thesis_birads"))["train"] == (60, 243, 243, 60)


@pytest.mark.parametrize(
    ("available", "weights", "limit", "kept"),
    [
        ((142, 337, 611, 142), PROPORTIONS["BIRADS"], None, (84, 337, 337, 84)),
        ((99, 99, 99, 18), PROPORTIONS["uniform"], None, (18, 18, 18, 18)),
        ((99, 99, 99, 99), PROPORTIONS["uniform"], 73, (18, 18, 18, 18)),
        ((99, 99, 99, 0), PROPORTIONS["uniform"], None, (0, 0, 0, 0)),
        ((5, 5, 5, 5), (1, 0, 0, 2), None, (3, 0, 0, 5)),
    ],
)
def test_largest_counts(
    available: tuple[int, ...], weights: tuple[int, ...], limit: int | None, kept: tuple[int, ...]
) -> None:
    assert largest_counts(available, weights, limit) == kept


CLASS_COUNTS = st.tuples(*(st.integers(0, 60) for _ in DENSITY_CLASSES))


@given(CLASS_COUNTS, st.sampled_from(sorted(PROPORTIONS)), st.none() | st.integers(1, 300))
def test_counts_are_available_and_near_their_shares(available: tuple[int, ...], name: str, limit: int | None) -> None:
    kept = largest_counts(available, PROPORTIONS[name], limit)
    assert all(k <= a for k, a in zip(kept, available, strict=True))
    assert limit is None or sum(kept) <= limit
    assert all(abs(k - sum(kept) * p / 100) <= 0.5 for k, p in zip(kept, PROPORTIONS[name], strict=True))


@given(CLASS_COUNTS, st.sampled_from(DENSITY_CLASSES), st.integers(0, 9))
def test_another_exam_changes_the_selection_of_few_and_order_of_none(
    counts: tuple[int, ...], density: str, seed: int
) -> None:
    exams = {f"{c}{i}": ("train", c) for c, count in zip(DENSITY_CLASSES, counts, strict=True) for i in range(count)}
    config = DistributionConfig.model_validate("uniform")
    before = exams_to_drop(exams, config, seed)
    assert exams_to_drop(dict(reversed(exams.items())), config, seed) == before
    after = exams_to_drop(exams | {"new": ("train", density)}, config, seed)
    assert len((before ^ after) - {"new"}) <= 4  # one exam a class at most


def test_splits_that_are_not_named_keep_all() -> None:
    result = planned(AOUP, {"test": {"proportions": "uniform", "total": 40}})
    assert counts_of(result) == AOUP | {"test": (10, 10, 10, 10)}
    counts = {"eval": {"counts": {"A": 3, "D": 4}}}
    assert counts_of(planned(AOUP, counts)) == AOUP | {"eval": (3, 0, 0, 4)}


@pytest.mark.parametrize(
    "value",
    [
        "thesis",
        {"holdout": "AOUP"},
        {"train": "BIRAD"},
        {"train": {"total": 5}},
        {"train": {"counts": {"E": 1}}},
        {"train": {"counts": {}}},
        {"train": {"counts": {"A": -1}}},
        {"train": {"proportions": "AOUP", "counts": {"A": 1}}},
    ],
)
def test_configuration_is_closed(value: object) -> None:
    with pytest.raises(ValidationError):
        IngestConfig.model_validate({"distribution": value})


def test_configuration_travels_as_json() -> None:
    for value in ("uniform", "thesis_birads", {"train": "AOUP", "test": {"proportions": "uniform", "total": 72}}):
        config = IngestConfig.model_validate({"distribution": value})
        assert IngestConfig.model_validate(json.loads(config.model_dump_json())) == config
