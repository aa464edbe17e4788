"""Compare groups of exams with the comparators of the schema and with the null distribution.

The threshold of a comparator says which difference matters. Samples of few exams differ by more than that without any
drift: with four classes, 30 exams and 120 others of one population sometimes differ by 0.2 in the share of a class. So
a distance has to exceed both the threshold and a bound of the null distribution. Views of an exam are not independent
observations, so the bounds take numbers of exams, not of views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import tensorflow_data_validation as tfdv
from scipy import stats
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.drift_monitor.measure import ExamCounts, Group
from components.drift_monitor.summary import Comparison, DriftSummary, Kind, Moved, UnseenSystem


def null_bound_of_shares(shares: Sequence[float], n: int, others: int, error: float) -> float:
    """Return the bound of the L-infinity distance between the shares of values in two samples of one population.

    Args:
        shares: Share of each value in both samples together.
        n: Observations of one sample, at least 1.
        others: Observations of the other sample, at least 1.
        error: Upper limit of the probability that the distance exceeds the bound (normal approximation, Bonferroni's
            correction for the number of values).

    Returns:
        The bound, 0 to 1.
    """
    z = float(stats.norm.ppf(1 - error / (2 * max(1, len(shares)))))
    variance = max((share * (1 - share) for share in shares), default=0.0)
    return min(1.0, z * math.sqrt(variance * (1 / n + 1 / others)))


def null_bound_of_divergence(bins: int, n: int, others: int, error: float) -> float:
    """Return the bound of the Jensen-Shannon divergence (base 2) between two samples' histograms of one population.

    The divergence is at most half the triangular discrimination of both histograms, which has a chi-squared
    distribution.

    Source: Topsoe, Some inequalities for information divergence and related measures of discrimination, 2000.

    Args:
        bins: Bins of the histograms' common form.
        n: Observations of one sample, at least 1.
        others: Observations of the other sample, at least 1.
        error: Upper limit of the probability that the divergence exceeds the bound, if bins are not nearly empty.

    Returns:
        The bound, 0 to 1.
    """
    if bins < 2:
        return 0.0
    quantile = float(stats.chi2.ppf(1 - error, bins - 1))
    return min(1.0, quantile * (1 / n + 1 / others) / 4)


Statistics = Mapping[Group, statistics_pb2.DatasetFeatureStatisticsList]

# Of schema/schema.pbtxt: all features but the bytes of the image, which have no statistics.
_ENVIRONMENT: Final = "STATISTICS"
HELD_OUT: Final = "eval and test splits"  # name of these exams in sentences
_ERROR: Final = 0.01  # probability of a false alert in a comparison, all features together
_L_INFINITY: Final = anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY


def compared_features(schema: schema_pb2.Schema) -> list[str]:
    """Return the names of the features that have a comparator."""
    return [f.name for f in schema.feature if f.HasField("drift_comparator") or f.HasField("skew_comparator")]


def _feature(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, name: str
) -> statistics_pb2.FeatureNameStatistics:
    return next(found for found in statistics.datasets[0].features if list(found.path.step) == [name])


def _shares(statistics: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    """Return the share of each value; TFDV keeps the thousand most frequent values."""
    counts = {bucket.label: bucket.sample_count for bucket in statistics.string_stats.rank_histogram.buckets}
    whole = sum(counts.values())
    return {value: count / whole for value, count in counts.items()}


def _edges(statistics: statistics_pb2.FeatureNameStatistics) -> set[float]:
    """Return the edges of the histogram that TFDV compares."""
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
    """Return the bound of the null distribution, and the value whose share changed most."""
    now, before = _shares(new), _shares(old)
    values = sorted(now.keys() | before.keys())
    both = [(n * now.get(value, 0.0) + others * before.get(value, 0.0)) / (n + others) for value in values]
    most = max(values, key=lambda value: abs(now.get(value, 0.0) - before.get(value, 0.0)))
    detail = f"{most}: {100 * before.get(most, 0.0):.0f} % -> {100 * now.get(most, 0.0):.0f} %"
    return null_bound_of_shares(both, n, others, error), detail


def _of_histograms(
    new: statistics_pb2.FeatureNameStatistics,
    old: statistics_pb2.FeatureNameStatistics,
    n: int,
    others: int,
    error: float,
) -> tuple[float, str]:
    """Return the bound of the null distribution, and the means."""
    bins = len(_edges(new) | _edges(old)) - 1
    detail = f"mean {old.num_stats.mean:.4g} -> {new.num_stats.mean:.4g}"
    return null_bound_of_divergence(bins, n, others, error), detail


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
    # In TFDV, drift compares new data with previous data, and skew compares training data with serving data.
    anomalies = (
        tfdv.validate_statistics(new, schema, _ENVIRONMENT, previous_statistics=old)
        if kind == "drift"
        else tfdv.validate_statistics(old, schema, _ENVIRONMENT, serving_statistics=new)
    )
    order = [feature.name for feature in schema.feature]
    moved = sorted(_moved(anomalies, kind, new, old, n, others), key=lambda moved: order.index(moved.feature))
    return found.model_copy(update={"features": tuple(moved), "unseen": _unseen(exams[group], exams[trained_on])})


def compare_groups(
    statistics: Statistics, exams: ExamCounts, schema: schema_pb2.Schema, span: int | None
) -> DriftSummary:
    """Compare the newest span with the earlier spans, and held-out exams with training exams.

    Args:
        statistics: Statistics of each group that has views.
        exams: Number of exams per group and acquisition system.
        schema: Schema with comparators.
        span: Number of the newest span; None for an archive without spans, or with only one.
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
    held_out, train = (Group.HELD_OUT, HELD_OUT), (Group.TRAIN, "train split")
    skew = _compare("skew", held_out, train, Group.TRAIN, statistics, exams, schema)
    return DriftSummary(comparisons=(drift, skew))
