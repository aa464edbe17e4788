"""Are the new exams like the exams that the pushed model was trained on?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from components.common.shards import read_shard
from components.common.views import View, first_exams, parse_view
from components.drift_monitor.measure import Group, GroupedShard
from components.drift_monitor.summary import PushedFamiliarity
from components.exam_model.measured_familiarity import familiarity_facts, measure_exams
from components.exam_model.versions import latest_version
from components.statistics.intervals import make_figure, wilson_interval

_NONE: Final = "none had been pushed when these exams came"  # a later run takes the answer from the cache


def _views(shards: Sequence[GroupedShard], group: Group) -> Iterator[View]:
    for shard in shards:
        if group in shard.groups:
            yield from map(parse_view, read_shard(shard.path))


def measure_against_pushed(
    serving_dir: str, shards: Sequence[GroupedShard], group: Group, subject: str, most_exams: int
) -> PushedFamiliarity:
    """Count the exams that the latest pushed model calls unlike its training exams.

    Args:
        serving_dir: Folder in which the Pusher writes versions.
        shards: Preprocessed views.
        group: The exams to judge.
        subject: Their name in sentences.
        most_exams: Exams to judge, the first of the shards; 0 for none.
    """
    version = latest_version(serving_dir) if most_exams else None
    if version is None:
        reason = _NONE if most_exams else "pipeline.drift.familiarity_exams is 0"
        return PushedFamiliarity(subject=subject, remark=f"Not compared with a model: {reason}.")
    model_dir = os.path.join(serving_dir, version)
    known = familiarity_facts(model_dir)
    if not known.available or known.false_refusals is None:
        remark = f"Model {version} cannot tell whether an exam is unlike its training exams: {known.reason}."
        return PushedFamiliarity(subject=subject, version=version, remark=remark)
    exams = measure_exams(model_dir, known, first_exams(_views(shards, group), most_exams))
    unlike, n = sum(exam.unlike for exam in exams), len(exams)
    found = PushedFamiliarity(subject=subject, version=version, expected=known.false_refusals)
    if not exams:
        return found.model_copy(update={"remark": f"Nothing to compare: no image of the {subject}."})
    share = make_figure(unlike / n, wilson_interval(unlike, n), n)
    return found.model_copy(update={"unlike": share})
