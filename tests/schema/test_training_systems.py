"""An image's acquisition system against those of the training exams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.acquisition import IMAGE_KINDS, NO_SYSTEM, ImageSystem, canonical_system, recorded_system
from schema.features import UNKNOWN
from schema.training_systems import SystemStatus, SystemTally, TrainingSystems, worst
from tests.systems import systems_of_phantoms

PHANTOMS = TrainingSystems(systems=systems_of_phantoms())


def named(manufacturer: str, model: str | None, version: str | None = None) -> ImageSystem:
    return ImageSystem(canonical_system(manufacturer, model, version))


def trained_on(*systems: ImageSystem) -> TrainingSystems:
    tally = SystemTally()
    for number, system in enumerate(systems):
        tally.add(f"exam {number}", system)
    return TrainingSystems(systems=tally.systems())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("GE MEDICAL SYSTEMS", "Senograph DS VERSION ADS_53.40"), SystemStatus.SEEN),
        (("General Electric", "Senographe DS", "ADS 54.11"), SystemStatus.SEEN),  # spelt as ingest reads it
        (("GE MEDICAL SYSTEMS", "Senograph DS", "ADS 56.1"), SystemStatus.OTHER_VERSION),
        (("GE MEDICAL SYSTEMS", "Senograph DS", None), SystemStatus.SEEN),  # no version to compare
        (("HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.8.3"), SystemStatus.SEEN),  # no version was known
        (("GE MEDICAL SYSTEMS", "Senograph Essential"), SystemStatus.UNSEEN),  # another model
        (("GE MEDICAL SYSTEMS", None), SystemStatus.UNSEEN),
        (("SIEMENS", "Senograph DS"), SystemStatus.UNSEEN),  # another manufacturer
        (("SIEMENS", "Mammomat Inspiration"), SystemStatus.UNSEEN),
    ],
)
def test_manufacturer_and_model_count_and_a_new_version_is_told_apart(
    header: tuple[str, ...], status: SystemStatus
) -> None:
    assert PHANTOMS.status(named(*header)) is status


def test_images_without_a_named_system_are_compared_by_their_kind() -> None:
    digital, film, capture, picture = (ImageSystem(kind=kind) for kind in IMAGE_KINDS)
    of_film = trained_on(film)
    assert of_film.status(film) is SystemStatus.UNNAMED
    for other in (digital, capture, picture, named("GE", "Senograph DS")):
        assert of_film.status(other) is SystemStatus.UNSEEN
    assert [PHANTOMS.status(kind) for kind in (digital, film, capture, picture)] == [SystemStatus.UNSEEN] * 4
    # A machine that calls itself as a kind of image is not that kind.
    assert of_film.status(named("", "digitised film")) is SystemStatus.UNSEEN


def test_names_in_labels_count_and_the_header_still_does() -> None:
    of_labels = trained_on(ImageSystem(label="Scanner A"), ImageSystem(named("GE", "Senograph DS").system, label="B"))
    assert of_labels.status(ImageSystem(label="Scanner A")) is SystemStatus.SEEN
    assert of_labels.status(ImageSystem(label="Scanner C")) is SystemStatus.UNSEEN
    assert of_labels.status(ImageSystem()) is SystemStatus.UNNAMED
    assert of_labels.status(named("GE", "Senograph DS")) is SystemStatus.SEEN
    assert of_labels.status(named("GE", "Senograph Essential")) is SystemStatus.UNSEEN
    assert [(s.name, s.named, s.exams) for s in of_labels.systems] == [
        ("B", True, 1),
        ("GE Senograph DS", True, 1),
        ("Scanner A", True, 1),
        (UNKNOWN, False, 1),
    ]


def test_a_model_that_does_not_say_has_seen_nothing_for_certain() -> None:
    for text in (b"", b"{}", b"null", b'{"systems": [], "later": 1}'):
        assert TrainingSystems.of_model(text).status(named("GE", "Senograph DS")) is SystemStatus.NOT_KNOWN
    assert worst([]) is SystemStatus.NOT_KNOWN
    assert TrainingSystems.of_model(PHANTOMS.model_dump_json()) == PHANTOMS


def test_the_worst_image_decides_for_the_exam() -> None:
    order = list(SystemStatus)
    for place, status in enumerate(order):
        assert worst(order[: place + 1][::-1]) is status


def test_an_exam_counts_once_and_in_each_of_its_systems() -> None:
    tally = SystemTally()
    for exam, version in (("1", "ADS 53.40"), ("1", "ADS 53.40"), ("2", "ADS 54.11"), ("2", "")):
        tally.add(exam, named("GE", "Senograph DS", version))
    tally.add("2", named("IMS", "Giotto Image"))
    assert [(s.name, s.software_versions, s.exams) for s in tally.systems()] == [
        ("GE Senograph DS", ("ADS 53.40", "ADS 54.11"), 2),
        ("IMS Giotto Image SDL", (), 1),
    ]


texts = st.text(max_size=20)


@given(texts, texts, texts, st.sampled_from(IMAGE_KINDS), st.sampled_from(["", "Scanner A"]))
def test_a_system_is_seen_by_a_model_trained_on_its_record(
    manufacturer: str, model: str, version: str, kind: str, label: str
) -> None:
    image = ImageSystem(canonical_system(manufacturer, model, version), kind, label)
    recorded = recorded_system(image.key, image.system)
    assert recorded.key == image.key
    trained = trained_on(recorded)
    expected = SystemStatus.SEEN if image.is_named or label else SystemStatus.UNNAMED
    assert trained.status(image) is expected
    other = ImageSystem(canonical_system("Nobody", "Else", version), kind)
    assert trained.status(other) is SystemStatus.UNSEEN
    assert (image.system == NO_SYSTEM) == (recorded.system == NO_SYSTEM)
