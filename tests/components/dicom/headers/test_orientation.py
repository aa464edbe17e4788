"""Patient Orientation: all orientations of a picture become the standard one, contradictions are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID

from components.dicom.headers.orientation import Turn, require_agreement, turn_of
from components.dicom.reading import LoadedView, load_view, read_header
from components.dicom.rejections import AcceptanceConfig, IngestError, RejectionReason
from components.dicom.remarks import Remark
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from pipeline.preprocess import preprocess_file
from schema.features import VIEWS
from tests.components.dicom.dicom_files import BOTH, mammogram, names, part10, reread
from tests.pictures import read_picture

ANY_SIZE = AcceptanceConfig(ample_side=1, ample_spacing_mm=1000)  # no remark on small matrices
OPPOSITE: Final = dict(zip("APRLHF", "PALRFH", strict=True))
STANDARD: Final = {
    "CC_L": ("A", "R"),
    "CC_R": ("P", "L"),
    "MLO_L": ("A", "FR"),
    "MLO_R": ("P", "FL"),
}
# Changes of the picture, and of the directions of rows and columns.
PLACEMENTS: Final = {
    "standard": Turn(),
    "mirrored": Turn(False, False, True),
    "upside down": Turn(False, True, False),
    "by 180": Turn(False, True, True),
    "transposed": Turn(True, False, False),
    "by 90": Turn(True, True, False),
    "by 270": Turn(True, False, True),
    "transposed, by 180": Turn(True, True, True),
}


def opposite(direction: str) -> str:
    return "".join(OPPOSITE[letter] for letter in direction)


def placed(view: str, turn: Turn, picture: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A picture that ``turn`` would bring into the standard hanging, with its true orientation."""
    rows, columns = STANDARD[view]
    rows = opposite(rows) if turn.flip_columns else rows
    columns = opposite(columns) if turn.flip_rows else columns
    return turn.undo(picture), [columns, rows] if turn.transpose else [rows, columns]


def breast(view: str, shape: tuple[int, int] = (170, 120)) -> np.ndarray:
    """Half an ellipse at the chest wall, with a bright muscle corner in MLO views: uint16, 12 bits."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y - shape[0] * 0.5) / (shape[0] * 0.45)) ** 2 + (x / (shape[1] * 0.7)) ** 2 < 1
    grey = np.where(inside, 900 + 13 * ((y * 7 + x * 5) % 61), 0)
    if view.startswith("MLO"):
        grey = np.where((x / 45 + y / 110 < 1) & (y > 8), 3300, grey)
    grey = grey if view.endswith("L") else grey[:, ::-1]
    return np.ascontiguousarray(grey).astype(np.uint16)


def written(folder: Path, view: str, picture: np.ndarray, syntax: UID = BOTH[1], **changes: Any) -> Path:
    projection, side = view.split("_")
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    named = {"ViewPosition": projection, "ImageLaterality": side} | changes
    path.write_bytes(part10(mammogram(picture, **named), syntax))
    return path


def load(path: Path, view: str | None = None) -> LoadedView:
    return load_view(path, view, 150, acceptance=ANY_SIZE)


@pytest.mark.parametrize("syntax", BOTH, ids=names(BOTH))
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_placement_gives_the_networks_picture_of_the_standard_one(
    view: str, placement: str, syntax: UID, tmp_path: Path
) -> None:
    plain = load(written(tmp_path, view, breast(view), syntax))
    picture, directions = placed(view, PLACEMENTS[placement], breast(view))
    path = written(tmp_path, view, picture, syntax, PatientOrientation=directions)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.pixels, plain.pixels)
    assert loaded.pixel_spacing_mm == plain.pixel_spacing_mm
    assert loaded.remarks == (() if placement == "standard" else (Remark.TURNED,))
    assert read_header(path).remarks == loaded.remarks
    config = PreprocessConfig(output_size=64)
    results = [preprocess_view(item.pixels, view, config).image.tobytes() for item in (loaded, plain)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("view", "directions"),
    [
        ("MLO_L", ["A", "F"]),
        ("MLO_L", ["A", "RF"]),
        ("MLO_L", ["A", "R"]),
        ("MLO_L", ["AR", "F"]),
        ("MLO_L", ["AFR", "FRP"]),
        ("MLO_L", ["a ", "fr"]),
        ("MLO_R", ["P", "F"]),
        ("MLO_R", ["PL", "FL"]),
        ("CC_L", ["A", "RF"]),
        ("CC_R", ["PH", "LH"]),
    ],
)
def test_oblique_directions_of_the_standard_hanging(view: str, directions: list[str]) -> None:
    header = Dataset()
    header.PatientOrientation = directions
    assert turn_of(reread(header), view, False, "a.dcm") == (Turn(), ())


@pytest.mark.parametrize("value", ["CC", "MLO", "", "A", "\\", "LE\\V", "UNKNOWN\\UNKNOWN", "A\\F\\R", "A/F", "L"])
@pytest.mark.parametrize("syntax", BOTH, ids=names(BOTH))
def test_what_is_no_pair_of_directions_is_no_orientation(value: str, syntax: UID, tmp_path: Path) -> None:
    picture = breast("MLO_R")[::-1, ::-1]
    path = written(tmp_path, "MLO_R", np.ascontiguousarray(picture), syntax, PatientOrientation=value.split("\\"))
    assert (load(path).remarks, load(path).header.turn) == ((), None)


@pytest.mark.parametrize(
    ("view", "directions", "reason"),
    [
        ("CC_L", ["A", "P"], RejectionReason.MALFORMED_HEADER),
        ("MLO_L", ["AP", "F"], RejectionReason.MALFORMED_HEADER),
        ("MLO_L", ["A", "FH"], RejectionReason.MALFORMED_HEADER),
        ("MLO_L", ["A", "AA"], RejectionReason.MALFORMED_HEADER),
        ("CC_L", ["F", "H"], RejectionReason.UNKNOWN_VIEW),
        ("CC_L", ["L", "F"], RejectionReason.UNKNOWN_VIEW),
        ("CC_L", ["A", "F"], RejectionReason.UNKNOWN_VIEW),
        ("MLO_L", ["A", "FL"], RejectionReason.UNKNOWN_VIEW),
        ("MLO_R", ["A", "FR"], RejectionReason.UNKNOWN_VIEW),
        ("MLO_R", ["HL", "P"], RejectionReason.UNKNOWN_VIEW),
    ],
)
def test_contradictions_are_refused_unless_a_manifest_names_the_view(
    view: str, directions: list[str], reason: RejectionReason, tmp_path: Path
) -> None:
    picture = breast(view)
    path = written(tmp_path, view, picture, PatientOrientation=directions)
    with pytest.raises(IngestError, match="Patient Orientation") as error:
        read_header(path)
    assert error.value.reason is reason
    named = load(path, view)
    assert (named.remarks, named.header.turn) == ((Remark.IMPOSSIBLE_ORIENTATION,), None)
    np.testing.assert_array_equal(named.pixels, load(written(tmp_path, view, picture)).pixels)


@pytest.mark.parametrize("placement", ["mirrored", "transposed", "by 90", "by 180"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_that_contradicts_its_orientation_is_refused(view: str, placement: str, tmp_path: Path) -> None:
    path = written(tmp_path, view, PLACEMENTS[placement].undo(breast(view)), PatientOrientation=list(STANDARD[view]))
    assert read_header(path).turn == Turn()
    with pytest.raises(IngestError, match="Patient Orientation") as error:
        load(path)
    assert error.value.reason is RejectionReason.IMPLAUSIBLE_PIXELS


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_command_preprocess_writes_the_muscle_as_the_file_lies(placement: str, tmp_path: Path) -> None:
    picture, directions = placed("MLO_R", PLACEMENTS[placement], breast("MLO_R"))
    recipe = PreprocessingRecipe(longest_side=128, preprocess=PreprocessConfig(output_size=64))
    masks = []
    for name, pixels, orientation in (("plain", breast("MLO_R"), STANDARD["MLO_R"]), ("placed", picture, directions)):
        (tmp_path / name).mkdir()
        path = written(tmp_path / name, "MLO_R", pixels, PatientOrientation=list(orientation))
        preprocess_file(path, None, recipe, tmp_path / name)
        masks.append(read_picture(tmp_path / name / "0.pectoral.png"))
    assert masks[1].shape == picture.shape
    np.testing.assert_array_equal(masks[1], PLACEMENTS[placement].undo(masks[0]))


@pytest.mark.parametrize("view", ["MLO_L", "MLO_R"])
def test_an_mlo_view_whose_axilla_is_below_is_no_standard_one(view: str, tmp_path: Path) -> None:
    picture = breast(view)
    axilla = picture[:60] if view.endswith("R") else picture[:60, ::-1]
    axilla[:, -60:] = np.maximum(axilla[:, -60:], 1500)
    standard = list(STANDARD[view])
    assert load(written(tmp_path, view, picture, PatientOrientation=standard)).header.turn == Turn()
    path = written(tmp_path, view, np.ascontiguousarray(picture[::-1]), PatientOrientation=standard)
    with pytest.raises(IngestError, match=r"Patient Orientation .* is upside down"):
        load(path)


def test_a_film_with_bright_edges_and_a_crop_are_no_contradiction() -> None:
    film = breast("CC_L")
    film[:, -3:] = film[:3] = film[-3:] = 4000
    for picture in (film, breast("CC_L")[40:120, :60], np.full((50, 40), 9, np.uint16)):
        require_agreement(picture << 4, "CC_L", "a.dcm")


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("value", [0, 4095])
@pytest.mark.parametrize("view", VIEWS)
def test_a_band_of_padding_is_no_contradiction(view: str, value: int, edge: str, tmp_path: Path) -> None:
    picture = breast(view)
    band = {"left": np.s_[:, :20], "right": np.s_[:, -20:], "top": np.s_[:30, :], "bottom": np.s_[-30:, :]}[edge]
    picture[band] = value
    path = written(tmp_path, view, picture, PatientOrientation=list(STANDARD[view]), PixelPaddingValue=value)
    # Bands that cover ends of a breast cut it off, which the picture check finds; they do not contradict the
    # orientation.
    accepting = AcceptanceConfig(accept=(RejectionReason.COLLIMATED,), ample_side=1, ample_spacing_mm=1000)
    told = {Remark.SPECIAL_PICTURE}
    assert set(load_view(path, None, 150, acceptance=accepting).remarks) <= told


BACKGROUNDS: Final = {"black": 0.0, "grey": 300.0, "a slope": np.mgrid[:170, :120][0] * 2.0}


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("placement", ["standard", "mirrored", "by 180", "transposed", "by 90"])
@pytest.mark.parametrize("view", ["CC_R", "MLO_L"])
def test_no_background_hides_a_contradiction(view: str, placement: str, background: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(5).normal(0, 20, (170, 120))
    picture = np.clip(np.maximum(breast(view), BACKGROUNDS[background]) + noise, 0, 4095).astype(np.uint16)
    stored = PLACEMENTS[placement].undo(picture)
    path = written(tmp_path, view, stored, PatientOrientation=list(STANDARD[view]))
    if placement == "standard":
        assert load(path).header.view == view
        return
    with pytest.raises(IngestError, match="Patient Orientation"):
        load(path)


@given(st.builds(Turn, st.booleans(), st.booleans(), st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_turning_there_and_back(turn: Turn, rows: int, columns: int) -> None:
    picture = np.arange(rows * columns * 3).reshape(rows, columns, 3)
    np.testing.assert_array_equal(turn.undo(turn.apply(picture)), picture)
    np.testing.assert_array_equal(turn.apply(turn.undo(picture)), picture)


@given(st.text("APRLHFCX\\ 1", max_size=7), st.sampled_from(VIEWS))
def test_any_text_is_a_turn_or_none_or_refused(text: str, view: str) -> None:
    header = Dataset()
    header.add_new("PatientOrientation", "LO", text.split("\\"))
    try:
        found, _ = turn_of(header, view, False, "a.dcm")
    except IngestError:
        return
    assert found is None or isinstance(found, Turn)
