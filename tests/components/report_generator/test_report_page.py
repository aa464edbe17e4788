"""The page as a browser sees it: parsed with html.parser, so that markup is checked as markup."""

from __future__ import annotations

import base64
import dataclasses
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import pytest

from components.report_generator.report import (
    PictureLimits,
    PushInfo,
    ReportInputError,
    ReportInputs,
    build_report,
    write_report,
)
from tests.pictures import decode_picture

SECTIONS = (
    *("data", "segmentation", "drift", "training", "evaluation", "calibration"),
    *("familiarity", "explanation", "serving", "experiments", "lineage", "limits"),
)
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements and text by section; parsing fails if tags do not nest properly."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {"head": ""}
        self.style = ""
        self._section = "head"
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = attributes["id"] or ""
            self.text[self._section] = ""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        elif not self._open or self._open[-1] != "text":  # ticks of an axis
            self.text[self._section] += data.replace("\xa0", " ")

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "img"]

    def alternatives(self) -> str:
        return "\n".join((image["alt"] or "").replace("\xa0", " ") for image in self.images())


@pytest.fixture(scope="module")
def page(full_page: str) -> Page:
    return Page(full_page)


def test_page_loads_nothing(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "poster", "data"}:
                assert (value or "").startswith(("data:", "#")), (tag, name, (value or "")[:80])
            assert name != "style"
    assert "url(" not in page.style
    assert "@import" not in page.style
    policies = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_inlined_pictures_hold_no_outside_reference(page: Page) -> None:
    for image in page.images():
        header, _, content = (image["src"] or "").partition(",")
        assert header in {"data:image/svg+xml;base64", "data:image/jpeg;base64"}
        if "svg" in header:
            svg = base64.b64decode(content).decode()
            assert not re.search(r"(?:href|src)=\"(?!#|data:)|<script|url\((?!#)", svg)


def test_every_section_is_there_and_reachable(page: Page) -> None:
    ids = [a["id"] for t, a in page.elements if t == "section"]
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert tuple(ids) == SECTIONS
    assert [f"#{name}" for name in SECTIONS] == links[1:]
    assert links[0] == "#main"


def test_head_shows_verdict_metrics_and_the_notice(page: Page) -> None:
    head = page.text["head"]
    assert "BLESSED" in head
    assert "All gates passed. Pushed as version 1712345678." in head
    assert "Research software. Not a medical device." in head
    assert "phantom demo, 2024-04-05" in head
    for shown in (
        "81.0 %",
        "95 % interval 71.0 to 91.0 %",
        "n = 100 exams",
        "0.853",
        "0.753 to 0.953",
        "81.2 %",
    ):
        assert shown in head
    assert "too few" not in head


def test_data_section_shows_the_counts_of_the_summary(page: Page) -> None:
    text = page.text["data"]
    assert "✓ 407 files found = 400 accepted + 7 rejected." in text
    assert "✓ 104 exams found = 100 kept + 4 left out; 1 of the kept lack a view." in text
    assert re.search(r"Exams found\s+12\s+37\s+41\s+11\s+3\s+104", text)
    assert re.search(r"Exams kept\s+12\s+37\s+40\s+11\s+0\s+100", text)
    assert re.search(r"Average age\s+67\s+63\s+58\s+53", text)
    assert re.search(r"Standard deviation\s+11\s+11\s+9\s+6", text)
    assert re.search(r"Median age\s+68\s+62\s+56\s+52", text)
    assert re.search(r"test\s+20\s+20\s+2\s+8\s+8\s+2\s+80", text)
    assert re.search(r"GE Senograph DS ADS 53\.40\s+61\s+60\s+60 %\s+240", text)
    assert re.search(r"Exams left out, by reason\s+ReasonExams\s+no_label\s+3\s+truncated\s+1", text)
    assert re.search(r"truncated\s+3\s+not_dicom\s+2\s+duplicate\s+1\s+unknown_view\s+1", text)
    assert re.search(r"\.txt\s+2\s+\.csv\s+1", text)


def test_sections_show_the_figures_of_their_nodes(page: Page) -> None:
    assert re.search(r"All\s+11\s*46 %\s+1\s*4 %\s+12\s*50 %\s+24", page.text["segmentation"])
    assert re.search(r"MLO L\s+60\s+20\s+123,456\s+41\s+7 of 12\s+87\.5 %\s+0\.500", page.text["training"])
    assert re.search(r"recall D\s+all\s+>= 0\.500\s+0\.727\s+11\s*too few\s+✓ passed", page.text["evaluation"])
    assert re.search(r"at least 0\.6\s+0\.400\s*0\.200 to 0\.700\s+7.*\s+not judged\s*7 exams", page.text["evaluation"])
    assert "Compared with the blessed version 1700000000." in page.text["evaluation"]
    explanation = page.text["explanation"]
    assert re.search(
        r"All views\s+30\s+84\.0 %\s*80\.0 to 88\.0 %\s+–\s+3\.1 %\s*80\.0 to 88\.0 %, n = 15", explanation
    )
    assert re.search(r"Class B\s+8\s*too few\s+83\.0 %", explanation)
    assert re.search(r"GE Senograph DS ADS 53\.40\s*class A\s+4", explanation)
    assert re.search(r"grey level\s+GE Senograph DS ADS 53\.40\s+>= 0\.100\s+0\.420\s+✓ passed", explanation)
    assert re.search(r"… and conv5\s*16\s*too few\s+0\.020\s*-0\.100 to 0\.100", explanation)
    assert re.search(r"load in a fresh process\s+✓ passed\s+8\.2\s+4 signatures", page.text["serving"])
    calibration = page.text["calibration"]
    assert "with T = 0.610 (95 % interval 0.520 to 0.700), fitted to 60 exams of the eval split" in calibration
    assert "no exam of class D" in calibration
    assert "confidence and accuracy over 15 bins" in calibration
    assert re.search(r"Mean of the views\s*60\s+0\.210\s*0\.020 to 0\.300\s+0\.900\s*0\.800 to 1\.000", calibration)
    assert re.search(r"As served\s*60\s+0\.040\s*0\.020 to 0\.300\s+0\.700\s*0\.600 to 0\.800", calibration)


def test_familiarity_shows_how_many_test_exams_are_unlike_the_training_exams(page: Page) -> None:
    text = page.text["familiarity"]
    assert re.search(r"All\s+60\s+5\.0\s%\s*1\.7 to 13\.7\s%\s+0\.98\s+1\.10\s+1\.30\s+1\.50\s+1\.80", text)
    assert re.search(r"GE Senograph DS ADS 53\.40\s+7\s*too few\s+14\.3\s%\s*2\.6 to 51\.3", text)


def test_drift_shows_what_changed_and_warns_at_the_top(page: Page) -> None:
    text = page.text["drift"]
    assert "✗ Alerts: 3, listed at the top of this page." in text
    unlike = "30% (18% to 45%) of 40 exams of the newest span 7 are unlike the training exams of model 3"
    assert f"✗ {unlike}, the latest one when they were compared; 5% (1% to 12%) are expected." in text
    assert "Drift: newest span 7 against earlier spans; n = 40 and 64 exams" in text
    assert re.search(r"density\s+0\.350\s*L-infinity\s+0\.1\s+0\.210\s+D: 10 % -> 45 %\s+✗ changed", text)
    assert re.search(r"manufacturer\s+0\.150\s*L-infinity.+?GE: 60 % -> 75 %\s+too few exams to tell", text, re.S)
    assert "Skew: eval and test splits against train split. Nothing to compare: no image of the" in text
    unseen = "Unseen acquisition system in the newest span 7 (1 exam): <script>alert('x')</script> & "  # as text
    moved = "Drift of density: D: 10 % -> 45 % (earlier spans -> newest span 7); L-infinity 0.350, threshold 0.1,"
    for section in ("head", "limits"):
        assert unseen in page.text[section]
        assert moved in page.text[section]


def test_lineage_shows_fingerprints_of_data_code_and_configuration(page: Page) -> None:
    text = page.text["lineage"]
    assert re.search(r"Data \(Ingest\)\s+da7a", text)
    assert re.search(r"Ingest\s+c0de\s+–", text)
    assert re.search(r"StatisticsGen\s+TFX's own\s+Ingest", text)
    # printf 'training:\n  width: 8\n  note: <b>\n' | sha256sum
    assert re.search(r"Configuration\s+6e50269781c368a3", text)
    assert re.search(r"evaluation\s+Evaluator/evaluation/15", text)
    assert "width: 8\n  note: <b>" in text
    assert re.search(r"tfx\s+1\.16\.0", text)


def test_warnings_stand_in_the_head_and_among_the_limits(full_inputs: ReportInputs, page: Page) -> None:
    for text in (page.text["head"], page.text["limits"]):
        assert "Classes with fewer than 20 test exams (their recall is uncertain): A (12), D (11)." in text
        assert "Gates not judged because the sample is too small: 1 of 3." in text
        assert "Acquisition systems without a test exam: Hologic Selenia Dimensions, IMS Giotto Image SDL." in text
        assert "Kept exams with a missing view: 1 of 100." in text
        assert "Views with a failed segmentation: 1 of 24." in text
        assert "no exam of class D" in text
    assert "phantoms" not in page.text["limits"]
    assert full_inputs.run is not None
    run = dataclasses.replace(full_inputs.run, origin="computed phantoms")
    phantoms = Page(build_report(ReportInputs(run=run)))
    assert "The exams are computed phantoms. No metric on this page applies to patients." in phantoms.text["head"]


def test_recall_of_a_class_rests_on_the_exams_of_that_class(page: Page) -> None:
    # 100 exams in all, but 12 of class A and 11 of class D.
    text = page.text["evaluation"]
    assert re.search(r"Class A\s*12\s*too few\s+83\.3 %\s*73\.3 to 93\.3 %", text)
    assert re.search(r"Class B\s*37\s+81\.1 %", text)


def test_confusion_matrix_shows_counts_and_row_shares(page: Page) -> None:
    text = page.text["evaluation"]
    assert "Test exams, n = 100" in text
    assert re.search(r"A\s*n = 12\s+10\s*83 %\s*2\s*17 %\s*0\s*0 %\s*0\s*0 %", text)
    shades = [a["class"] for t, a in page.elements if t == "td" and re.match(r"s\d", a.get("class") or "")]
    assert shades[:8] == ["s8 right", "s2", "s0", "s0", "s1", "s8 right", "s1", "s0"]


def test_small_slice_says_so(page: Page, hostile_system: str) -> None:
    text = re.sub(r"\s+", " ", page.text["evaluation"])
    assert f"{hostile_system}7too few 85.7 %" in text
    assert "GE Senograph DS ADS 53.4048 83.3 %" in text


def test_small_test_split_is_flagged_in_the_head(
    evaluation_example: Callable[..., dict[str, Any]], write_evaluation_file: Callable[..., Path]
) -> None:
    content = evaluation_example()
    for metric in content["exam"][0]["metrics"].values():
        metric["n"] = 12
    head = Page(build_report(ReportInputs(evaluation=write_evaluation_file(content)))).text["head"]
    assert head.count("n = 12 exams too few") == 4


def test_every_picture_has_an_alternative_text(page: Page) -> None:
    assert all((image["alt"] or "").strip() for image in page.images())
    alternatives = page.alternatives()
    assert "Best epoch 7: eval loss 0.500, eval accuracy 87.5 %." in alternatives


def test_hostile_strings_stay_text(page: Page, full_page: str, hostile_system: str) -> None:
    assert "<script" not in full_page
    for section in ("data", "segmentation", "evaluation"):
        assert hostile_system in page.text[section]


def test_file_names_of_ingest_never_show(full_page: str, secret_file: str) -> None:
    assert secret_file not in full_page
    assert secret_file.split("_")[0] not in full_page


def test_right_and_wrong_cases_are_shown_by_class_and_system(page: Page) -> None:
    text = re.sub(r"\s+", " ", page.text["explanation"])
    first = "GE Senograph DS ADS 53.40: 7 of 8 views correct"
    assert f"Class A Almost entirely fatty 8 views explained, 7 of them with a correct prediction. {first}" in text
    assert (
        "✗ CC R predicted B label A A 5 % · B 85 % · C 5 % · D 5 %Heat in breast 70.0 %, rank correlation 0.42." in text
    )
    assert "Hologic Selenia Dimensions: 8 of 8 views correct" in text
    assert "No wrong prediction." in text
    assert re.search(r"GE Senograph DS ADS 53\.40\s*No view of this class in the test split\.", text)
    assert "No image of CC L." in text
    figures = [a.get("class") for t, a in page.elements if t == "figure"]
    assert figures.count("wrong") == 2, "as its class's wrong one, and as one with little heat"


def test_pictures_stand_beside_their_heat_maps(page: Page) -> None:
    alternatives = page.alternatives()
    assert alternatives.count("view as the network sees it") == alternatives.count("Heat map of a") > 16


def test_page_is_small_and_pictures_are_capped(full_page: str, page: Page) -> None:
    assert len(full_page.encode()) < 8_000_000
    jpegs = [i for i in page.images() if "jpeg" in (i["src"] or "")[:30]]
    limits = PictureLimits()
    heat_maps = 16 + limits.least_heat + 8 * limits.explained_systems
    most = limits.uncertain + limits.typical * limits.systems + 2 * heat_maps
    assert 20 < len(jpegs) <= most + 1
    sides: Counter[int] = Counter()
    for image in jpegs:
        pixels = decode_picture(base64.b64decode((image["src"] or "").split(",")[1]), cv2.IMREAD_COLOR)
        assert (image["height"], image["width"]) == tuple(map(str, pixels.shape[:2]))
        sides[max(pixels.shape)] += 1
    assert sides == {limits.max_side: len(jpegs) - 1, limits.sheet_width: 1}


@pytest.mark.slow
def test_equal_inputs_give_equal_bytes_in_another_process(full_inputs: ReportInputs) -> None:
    inputs = dataclasses.replace(full_inputs, training={}, evaluation=None)
    script = (
        "import sys\n"
        "from pathlib import PosixPath\n"
        "from components.report_generator.loading import NodeInfo\n"
        "from components.report_generator.report import *\n"
        f"page = build_report({inputs!r})\n"
        "sys.stdout.buffer.write(page.encode())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(filter(None, sys.path)), "TZ": "Asia/Tokyo"},
    )
    assert run.stdout == build_report(inputs).encode()


def test_page_without_any_input_names_what_is_missing() -> None:
    page = Page(build_report(ReportInputs()))
    assert "NOT EVALUATED" in page.text["head"]
    for section in set(SECTIONS) - {"experiments"}:
        assert "Missing: no" in page.text[section], section
    assert page.text["training"].count("Missing: no training history") == 4
    assert page.images() == []


@pytest.mark.parametrize(
    ("name", "complete"),
    [
        ("ingest", {"data", "limits"}),
        ("quality", {"segmentation", "limits"}),  # a failed segmentation is a limit
        ("drift", {"drift", "limits"}),  # an alert is a limit
        ("explanations", {"explanation"}),
        ("infra", set()),
        ("push", set()),
        ("run", {"lineage"}),
    ],
)
def test_page_with_one_input_only(full_inputs: ReportInputs, name: str, complete: set[str]) -> None:
    only = ReportInputs(**{name: getattr(full_inputs, name)})
    text = Page(build_report(only)).text
    assert {section for section in SECTIONS if "Missing: no" not in text[section]} == complete | {"experiments"}


def test_refusal_names_the_failed_gate(
    evaluation_example: Callable[..., dict[str, Any]], write_evaluation_file: Callable[..., Path]
) -> None:
    folder = write_evaluation_file(evaluation_example(blessed=False))
    page = Page(build_report(ReportInputs(evaluation=folder, push=PushInfo(False))))
    assert "REFUSED" in page.text["head"]
    assert "Gates failed: recall D (all). Not pushed." in page.text["head"]
    assert "✗ Gates" in page.text["head"]
    assert "✗ failed" in page.text["evaluation"]


def test_blessed_model_with_a_warning_does_not_say_that_all_gates_passed(
    evaluation_example: Callable[..., dict[str, Any]], write_evaluation_file: Callable[..., Path]
) -> None:
    content = evaluation_example()
    content["gates"][-1] |= {"verdict": "warning", "reason": "not shown"}
    page = Page(build_report(ReportInputs(evaluation=write_evaluation_file(content), push=PushInfo(True, "7"))))
    assert "No gate refused the model, and 1 warned. Pushed as version 7." in page.text["head"]
    assert ("div", {"class": "verdict warn"}) in page.elements


def test_blessed_model_that_fails_later_is_no_plain_success(
    full_inputs: ReportInputs,
    tmp_path: Path,
    evaluation_example: Callable[..., dict[str, Any]],
    write_evaluation_file: Callable[..., Path],
) -> None:
    assert full_inputs.infra is not None
    text = (full_inputs.infra / "infra.json").read_text().replace("true", "false")
    (tmp_path / "infra.json").write_text(text)
    folder = write_evaluation_file(evaluation_example())
    page = Page(build_report(ReportInputs(evaluation=folder, infra=tmp_path, push=PushInfo(False))))
    assert (
        "All gates of the evaluation passed, but these checks failed: serving checks. Not pushed." in page.text["head"]
    )
    assert ("div", {"class": "verdict warn"}) in page.elements
    assert page.text["serving"].count("✗ failed") == 2


def test_evaluation_without_the_whole_split_says_so(
    evaluation_example: Callable[..., dict[str, Any]], write_evaluation_file: Callable[..., Path]
) -> None:
    folder = write_evaluation_file({**evaluation_example(), "exam": []})
    page = Page(build_report(ReportInputs(evaluation=folder)))
    assert "no exam-level metrics of the whole split" in page.text["evaluation"]
    assert "No exam-level metrics." in page.text["head"]


def test_undefined_metrics_are_called_undefined(
    evaluation_example: Callable[..., dict[str, Any]], write_evaluation_file: Callable[..., Path]
) -> None:
    content = evaluation_example()
    overall = content["exam"][0]["metrics"]
    overall["quadratic_kappa"] = {"value": None, "ci95": None, "n": 100}
    overall["accuracy"] = {"value": 0.5, "ci95": None, "n": 100}
    overall["macro_recall"] = {"value": float("nan"), "ci95": [float("nan"), 1.0], "n": 100}
    folder = write_evaluation_file(content)
    page = Page(build_report(ReportInputs(evaluation=folder)))
    head = re.sub(r"\s+", " ", page.text["head"])
    assert "kappaundefined n = 100 exams" in head
    assert "50.0 % no interval n = 100 exams" in head
    assert "nan" not in (head + page.text["evaluation"]).lower()


def test_counts_that_do_not_add_up_are_pointed_at(full_inputs: ReportInputs, tmp_path: Path) -> None:
    text = (full_inputs.ingest[0] / "summary.json").read_text().replace('"rejected": 7', '"rejected": 6')
    (tmp_path / "summary.json").write_text(text)
    page = Page(build_report(ReportInputs(ingest=(tmp_path,))))
    assert "✗ The counts do not add up" in page.text["data"]


def test_overlay_that_is_gone_leaves_a_place_without_a_picture(full_inputs: ReportInputs, tmp_path: Path) -> None:
    assert full_inputs.explanations is not None
    for name in ("summary.json", "explanations.jsonl"):
        (tmp_path / name).write_bytes((full_inputs.explanations / name).read_bytes())
    page = Page(build_report(ReportInputs(explanations=tmp_path)))
    assert page.images() == []
    assert page.text["explanation"].count("No image") >= 16


def test_folder_without_its_file_is_an_error_that_names_it(full_inputs: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(ReportInputError, match=r"exam_metrics\.json cannot be read"):
        build_report(dataclasses.replace(full_inputs, evaluation=tmp_path))


def test_write_report_replaces_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report("old", path)
    write_report("page \ud800 é", path)
    assert path.read_bytes() == "page ? é".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    no_page: Any = None
    with pytest.raises(AttributeError):
        write_report(no_page, path)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_bytes() == "page ? é".encode()
