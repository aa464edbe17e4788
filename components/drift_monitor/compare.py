"""Compares groups of exams by the comparators of the schema, and by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.drift_monitor.chance import chance_of_divergence, chance_of_shares
from components.drift_monitor.groups import Group
from components.drift_monitor.measure import ExamCounts
from components.drift_monitor.summary import Comparison, DriftSummary, Kind, Moved, UnseenSystem

Statistics = Mapping[Group, statistics_pb2.DatasetFeatureStatisticsList]

# Of schema/schema.pbtxt: all features but the image's bytes, of which no statistics are made.
_ENVIRONMENT: Final = "STATISTICS"
_ERROR: Final = 0.01  # probability with which chance alone makes an alert of a comparison, all features together
_L_INFINITY: Final = anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY


def compared_features(schema: schema_pb2.Schema) -> list[str]:
    """Names the features that have a comparator."""
    return [f.name for f in schema.feature if f.HasField("drift_comparator") or f.HasField("skew_comparator")]


def _feature(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, name: str
) -> statistics_pb2.FeatureNameStatistics:
    return next(found for found in statistics.datasets[0].features if list(found.path.step) == [name])


def _shares(statistics: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    """Gives the share of each value; values beyond TFDV's thousand most frequent ones are left out."""
    counts = {bucket.label: bucket.sample_count for bucket in statistics.string_stats.rank_histogram.buckets}
    whole = sum(counts.values())
    return {value: count / whole for value, count in counts.items()}


def _edges(statistics: statistics_pb2.FeatureNameStatistics) -> set[float]:
    """Gives the edges of the histogram that TFDV compares."""
    standard = statistics_pb2.Histogram.STANDARD
    [histogram] = [found for found in statistics.num_stats.histograms if found.type == standard]
    return {edge for bucket in histogram.buckets for edge in (bucket.low_value, bucket.high_value)}


def _of_shares(
    new: statistics_pb2.FeatureNameStatistics,
    old: statistics_pb2.FeatureNameStatistics,
    n: int,
    others: int,
    error: float,
) -> tuple[float, str]:
    """Gives the bound of chance, and the value whose share moved most."""
    now, before = _shares(new), _shares(old)
    values = sorted(now.keys() | before.keys())
    both = [(n * now.get(value, 0.0) + others * before.get(value, 0.0)) / (n + others) for value in values]
    most = max(values, key=lambda value: abs(now.get(value, 0.0) - before.get(value, 0.0)))
    detail = f"{most}: {100 * before.get(most, 0.0):.0f} % -> {100 * now.get(most, 0.0):.0f} %"
    return chance_of_shares(both, n, others, error), detail


def _of_histograms(
    new: statistics_pb2.FeatureNameStatistics,
    old: statistics_pb2.FeatureNameStatistics,
    n: int,
    others: int,
    error: float,
) -> tuple[float, str]:
    """Gives the bound of chance, and the means."""
    bins = len(_edges(new) | _edges(old)) - 1
    return chance_of_divergence(bins, n, others, error), f"mean {old.num_stats.mean:.4g} -> {new.num_stats.mean:.4g}"


def _moved(
    anomalies: anomalies_pb2.Anomalies,
    kind: Kind,
    new: statistics_pb2.DatasetFeatureStatisticsList,
    old: statistics_pb2.DatasetFeatureStatisticsList,
    n: int,
    others: int,
) -> Iterator[Moved]:
    infos = [
        (info.path.step[0], measurement)
        for info in anomalies.drift_skew_info
        for measurement in (info.drift_measurements if kind == "drift" else info.skew_measurements)
    ]
    for name, measured in infos:
        of_shares = measured.type == _L_INFINITY
        bound = _of_shares if of_shares else _of_histograms
        chance, detail = bound(_feature(new, name), _feature(old, name), n, others, _ERROR / len(infos))
        far = measured.value > measured.threshold
        yield Moved(
            feature=name,
            measure="L-infinity" if of_shares else "Jensen-Shannon",
            distance=round(measured.value, 6),
            threshold=measured.threshold,
            chance=round(chance, 6),
            verdict=("alert" if measured.value > chance else "chance") if far else "alike",
            detail=detail,
        )


def _unseen(there: Mapping[str, int], trained_on: Mapping[str, int]) -> tuple[UnseenSystem, ...]:
    new = sorted((name for name in there if name not in trained_on), key=lambda name: (-there[name], name))
    return tuple(UnseenSystem(system=name, exams=there[name]) for name in new)


def _compare(
    kind: Kind,
    subject: tuple[Group, str],
    reference: tuple[Group, str],
    trained_on: Group,
    statistics: Statistics,
    exams: ExamCounts,
    schema: schema_pb2.Schema,
) -> Comparison:
    (group, name), (other, other_name) = subject, reference
    n, others = sum(exams[group].values()), sum(exams[other].values())
    found = Comparison(kind=kind, subject=name, reference=other_name, exams=n, reference_exams=others)
    if not n or not others:
        lacking = name if not n else other_name
        return found.model_copy(update={"remark": f"Nothing to compare: no image of the {lacking}."})
    new, old = statistics[group], statistics[other]
    # For TFDV, drift is of new data from previous ones, and skew of training data from those that are served.
    anomalies = (
        tfdv.validate_statistics(new, schema, _ENVIRONMENT, previous_statistics=old)
        if kind == "drift"
        else tfdv.validate_statistics(old, schema, _ENVIRONMENT, serving_statistics=new)
    )
    order = [feature.name for feature in schema.feature]
    moved = sorted(_moved(anomalies, kind, new, old, n, others), key=lambda moved: order.index(moved.feature))
    return found.model_copy(update={"features": tuple(moved), "unseen": _unseen(exams[group], exams[trained_on])})


def compare(statistics: Statistics, exams: ExamCounts, schema: schema_pb2.Schema, span: int | None) -> DriftSummary:
    """Compares the newest span with the earlier ones, and held-out exams with those that are trained on.

    Args:
        statistics: Of each group that has views.
        exams: By group and acquisition system.
        schema: With comparators.
        span: Number of the newest span; None for an archive without spans, or with one.
    """
    if span is None:
        drift = Comparison(
            kind="drift",
            subject="newest span",
            reference="earlier spans",
            remark="There is one span, or none: nothing to compare new exams with.",
        )
    else:
        newest = (Group.NEWEST, f"newest span {span}")
        drift = _compare(
            "drift", newest, (Group.EARLIER, "earlier spans"), Group.TRAIN_EARLIER, statistics, exams, schema
        )
    held_out, train = (Group.HELD_OUT, "eval and test splits"), (Group.TRAIN, "train split")
    skew = _compare("skew", held_out, train, Group.TRAIN, statistics, exams, schema)
    return DriftSummary(comparisons=(drift, skew))
