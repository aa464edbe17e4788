"""Remarks appear in files.jsonl, in the summary, in the tables of describe and the report, and with a graded exam."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import replace_unusable
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.dicom_example_gen.report import file_rows, summary
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import LABEL_CUT, preprocess_view
from components.report_generator.artifacts import IngestSummary
from components.report_generator.loading import combine
from components.report_generator.sections.data import loss_tables
from components.sources.candidates import Candidate, Label
from schema.features import VIEWS
from serving.client.grading import quality_flags

HEADER, DECODED = Remark.DECIMAL_COMMA, Remark.OTHER_VR_ENCODING


def planned() -> Any:
    outcomes = [
        InspectedFile(
            Candidate(f"E1/{view}.dcm"), ViewHeader(view, 10, 10, remarks=(HEADER,) if view == "CC_R" else ())
        )
        for view in VIEWS
    ]
    first = plan(outcomes, {"E1": Label("E1", "C")}, IngestConfig(), b"key")
    return replace_unusable(first, [], {"E1/CC_R.dcm": (DECODED, HEADER), "E1/CC_L.dcm": (DECODED,)})


def test_rows_and_summary_name_what_header_and_decoding_tell() -> None:
    rows = {row["file"]: row["remarks"] for row in file_rows(planned())}
    assert rows["E1/CC_R.dcm"] == ["other_vr_encoding", "decimal_comma"]
    assert (rows["E1/CC_L.dcm"], rows["E1/MLO_L.dcm"]) == (["other_vr_encoding"], [])
    assert summary(planned(), {})["remarks"] == {"decimal_comma": 1, "other_vr_encoding": 2}


def test_tables_of_describe_and_report_count_them_over_spans() -> None:
    figures = IngestSummary.model_validate(summary(planned(), {}))
    (table,) = (t for t in loss_tables(combine([figures, figures])) if t.columns[0] == "Remark")
    assert [tuple(cell.text for cell in row) for row in table.rows] == [
        ("other_vr_encoding", "4"),
        ("decimal_comma", "2"),
    ]


def test_a_grade_carries_them_as_flags() -> None:
    measurements = SimpleNamespace(reasons=())
    result = SimpleNamespace(status="removed", measurements=measurements)
    loaded = SimpleNamespace(header=ViewHeader("CC_R", 10, 10), remarks=(DECODED,))
    graded: Any = SimpleNamespace(
        prepared=SimpleNamespace(views={"CC_R": SimpleNamespace(loaded=loaded, result=result)})
    )
    assert quality_flags(graded) == {"CC_R": ("other vr encoding",)}


def test_a_film_label_on_a_craniocaudal_view_is_a_flag_and_its_missing_muscle_is_none() -> None:
    pixels = np.zeros((240, 180), np.uint8)
    rows, columns = np.ogrid[:240, :180]
    pixels[((rows - 120) / 100) ** 2 + (columns / 120) ** 2 < 1] = 110
    plain = preprocess_view(pixels, "CC_L", PreprocessConfig(output_size=64))
    cut = replace(
        plain, doubt=0.9, measurements=replace(plain.measurements, reasons=(*plain.measurements.reasons, LABEL_CUT))
    )
    off = preprocess_view(pixels, "MLO_L", PreprocessConfig(output_size=64, method="none"))
    for view, result, flags in (("CC_L", plain, ()), ("CC_L", cut, (LABEL_CUT,)), ("MLO_L", off, ())):
        assert result.status == "not_applicable"
        loaded = SimpleNamespace(header=ViewHeader(view, 10, 10), remarks=())
        graded: Any = SimpleNamespace(
            prepared=SimpleNamespace(views={view: SimpleNamespace(loaded=loaded, result=result)})
        )
        assert quality_flags(graded) == {view: flags}


@pytest.mark.parametrize("pair", itertools.permutations(Remark, 2))
def test_joined_has_each_once_in_one_order(pair: tuple[Remark, Remark]) -> None:
    assert joined(pair, pair[::-1]) == tuple(sorted(pair, key=list(Remark).index))
