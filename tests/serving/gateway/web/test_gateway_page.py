"""The gateway's page in a real browser: every state of a study, and names that contain markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from schema.features import DENSITY_MEANINGS, VIEWS
from serving.gateway import web as page_module
from tests.serving.gateway.web.conftest import Watched, lines, opened, until
from tests.serving.gateway.web.scripted_gateway import ScriptedGateway, exam_document, study_document

ASSETS = Path(page_module.__file__).parent / "assets"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'&'
NOT_HACKED = "window.hacked === undefined && document.querySelectorAll('script').length === 1"


# Of each text on the page: its contrast with what is behind it, where that is less than WCAG 2 asks for at level AA.
PALE_TEXTS = """() => {
  const light = (colour) => {
    const linear = (part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const parts = colour.map((part) => linear(part / 255));
    return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
  };
  const colour = (node, name) => getComputedStyle(node)[name].match(/[\\d.]+/g).map(Number);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), pale = [];
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.textContent.trim() || !text.parentElement.offsetParent) continue;
    let behind = text.parentElement;
    while (behind.parentElement && colour(behind, "backgroundColor")[3] === 0) behind = behind.parentElement;
    const lights = [light(colour(text.parentElement, "color")), light(colour(behind, "backgroundColor"))];
    const contrast = (Math.max(...lights) + .05) / (Math.min(...lights) + .05);
    if (contrast < 4.5) pale.push([text.textContent, contrast]);
  }
  return pale;
}"""


def loaded_pictures(page: Any) -> list[int]:
    """Return the widths of all pictures and heat layers, after they are loaded."""
    page.wait_for_selector("#hanging img")
    until(page, "[...document.querySelectorAll('#hanging img')].every((image) => image.naturalWidth > 0)")
    return page.evaluate("[...document.querySelectorAll('#hanging img')].map((image) => image.naturalWidth)")


def bars(page: Any) -> dict[str, list[tuple[float, str, str]]]:
    """Value, text and bar's width of each cell of the probabilities, by row."""
    rows = page.evaluate(
        """[...document.querySelectorAll('.probabilities tbody tr')].map((row) => [
          row.querySelector('th').textContent,
          [...row.querySelectorAll('data')].map((cell) =>
            [Number(cell.value), cell.textContent, cell.parentNode.querySelector('.fill').style.width])])"""
    )
    return {name: [tuple(cell) for cell in cells] for name, cells in rows}


def test_the_grade_of_an_exam_stands_on_one_screen_with_its_numbers(tab: Watched, script: ScriptedGateway) -> None:
    exam = exam_document()
    sent = {"destination": "pacs", "state": "waiting", "message": "It does not answer.", "attempts": 2}
    done = {"destination": "archive", "state": "delivered", "message": None, "attempts": 1}
    study = study_document("a1", "graded", exam=exam, deliveries=[sent, done], delivery="pending")
    page = opened(tab, script, study)
    assert page.inner_text("#status") == "Graded, sending results"
    assert lines(page, ".grade") == [
        "C",
        "BI-RADS density C",
        "heterogeneously dense",
        "Probability 62.0 %",
    ]
    assert loaded_pictures(page) == [64] * 14, "four views and maps; the views again, with two muscles, for enlarging"
    names = {"Exam": exam["probabilities"], "Right breast": exam["right"], "Left breast": exam["left"]}
    words = dict(zip(VIEWS, ("Right CC", "Left CC", "Right MLO", "Left MLO"), strict=True))
    names |= {words[view]: exam["views"][view]["probabilities"] for view in VIEWS}
    shown = bars(page)
    assert list(shown) == list(names)
    for name, expected in names.items():
        assert [value for value, _, _ in shown[name]] == list(expected.values())
        for value, text, width in shown[name]:
            assert text == f"{100 * value:.1f}"
            assert float(width.rstrip("%")) == pytest.approx(100 * value, abs=0.01)
    assert "Model version 7" in page.inner_text(".facts")
    assert lines(page, ".deliveries") == [
        "pacs waiting, 2 tries so far", "It does not answer.", "archive delivered",
    ]  # fmt: skip
    assert "Research use only. Not a medical device." in page.inner_text(".banner")
    root = page.evaluate("(({ scrollHeight, scrollWidth }) => [scrollWidth, scrollHeight])(document.documentElement)")
    assert root == [1920, 960]  # nothing to scroll
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_what_limits_the_trust_in_a_grade_stands_directly_below_it(tab: Watched, script: ScriptedGateway) -> None:
    unseen = "Unseen acquisition system: <b>Other</b> 9000. The model was trained on: GE Senograph DS."
    origin = "The model was trained on synthetic phantoms, not on exams of patients."
    for key, flag, warnings, kind in (("a1", True, [unseen, origin], "fail"), ("b2", None, [origin], "warn")):
        exam = exam_document(unseen_system=flag, warnings=warnings)
        page = opened(tab, script, study_document(key, "graded", exam=exam))
        assert lines(page, ".warnings") == warnings, "also what looks like HTML"
        assert page.locator(f".warnings .note.{kind}").count() == len(warnings)
        grade, below = (page.locator(name).bounding_box() for name in (".grade", ".warnings"))
        assert grade["y"] + grade["height"] <= below["y"] < grade["y"] + grade["height"] + 40
        assert page.evaluate(PALE_TEXTS) == []
    page = opened(tab, script, study_document("c3", "graded", exam=exam_document()))
    assert page.locator(".warnings").count() == 0


def test_views_hang_back_to_back_with_the_right_breast_on_the_left(tab: Watched, script: ScriptedGateway) -> None:
    page = opened(tab, script, study_document("a1", "graded", exam=exam_document()))
    box = {view: page.locator(f"[data-view={view}] button.frame").bounding_box() for view in VIEWS}
    for projection in ("CC", "MLO"):
        right, left = box[f"{projection}_R"], box[f"{projection}_L"]
        assert right["x"] + right["width"] == pytest.approx(left["x"], abs=1)
        assert right["y"] == left["y"]
    assert box["CC_R"]["y"] + box["CC_R"]["height"] <= box["MLO_R"]["y"]
    page.get_by_role("button", name="Right MLO: enlarge").click()
    assert page.locator(".view:visible").count() == 1
    tissue, heat = (page.locator(f"[data-view=MLO_R] {panel}").bounding_box() for panel in (".beside", "button.frame"))
    assert tissue["x"] + tissue["width"] <= heat["x"] + 1, "side by side"
    assert tissue["y"] == heat["y"]
    assert tissue["width"] == pytest.approx(heat["width"], abs=1)
    assert heat["width"] > box["MLO_R"]["width"], "and larger"
    assert page.locator("[data-view=MLO_R] .beside img.muscle").count() == 1
    assert page.locator("[data-view=MLO_R] .beside img.heat").count() == 0
    page.keyboard.press("Enter")  # the same button again
    assert page.locator(".view:visible").count() == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_the_keyboard_reaches_all(
    tab: Watched, script: ScriptedGateway, scheme: str
) -> None:
    tab.page.emulate_media(color_scheme=scheme)
    exam = exam_document(missing_views=["CC_L"])
    del exam["views"]["CC_L"]
    exam["views"]["CC_R"]["flags"] = ["implant present"]
    sent = [
        {"destination": name, "state": name, "message": "It is so.", "attempts": 1} for name in ("waiting", "delivered")
    ]
    page = opened(tab, script, study_document("a1", "graded", exam=exam, deliveries=sent))
    assert page.evaluate(PALE_TEXTS) == []
    reached: list[str] = []
    while "answer" not in reached:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "skip" and reached:
            page.keyboard.press("Enter")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.slice(0, 1)"))
        assert len(reached) < 30
    assert {"skip", "forget", "choose-files", "choose-folder", "C", "heat", "opacity"} <= set(reached)
    assert page.url.endswith("#a1")
    script.studies["b2"] = study_document(
        "b2", "refused", refusal={"reason": "for_processing", "message": "It is raw."}
    )
    page.goto(f"{script.address}/#b2")
    page.wait_for_selector(".refusal")
    assert page.evaluate(PALE_TEXTS) == []


def test_slider_and_key_change_the_heat_layer_alone(tab: Watched, script: ScriptedGateway) -> None:
    page = opened(tab, script, study_document("a1", "graded", exam=exam_document()))
    loaded_pictures(page)

    def style(layer: str) -> tuple[str, str]:
        return tuple(
            page.evaluate(
                """(layer) => (({ opacity, visibility }) => [opacity, visibility])(
                  getComputedStyle(document.querySelector(`#hanging img.${layer}`)))""",
                layer,
            )
        )

    assert style("heat") == ("0.45", "visible")
    page.get_by_label("Opacity").fill("80")
    assert page.inner_text("#opacity-value") == "80 %"
    assert style("heat") == ("0.8", "visible")
    page.get_by_label("Opacity").press("ArrowRight")
    assert style("heat") == ("0.81", "visible")
    page.keyboard.press("h")
    assert style("heat") == ("0.81", "hidden")
    assert not page.get_by_label("Heat maps").is_checked()
    page.keyboard.press("h")
    assert style("heat") == ("0.81", "visible")
    assert style("grey") == ("1", "visible")


def test_the_maps_of_a_mixed_classifier_are_named_for_what_they_are(tab: Watched, script: ScriptedGateway) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    exam = exam_document()
    page = opened(tab, script, study_document("a1", "graded", exam=exam))
    assert not page.locator("#map-choice").is_visible(), "the networks' map is the only one"
    assert page.inner_text("#method") == ""
    for view in exam["views"].values():
        view |= {"heat_map": "LayerCAM, stages 3 and 5 of 5", "texture_map": True}
    page = opened(tab, script, study_document("b2", "graded", exam=exam))
    assert page.inner_text("#method") == "Heat maps: LayerCAM, stages 3 and 5 of 5."
    page.locator("#map").select_option("sum")
    loaded_pictures(page)
    assert {f"{view}.sum.png" for view in VIEWS} <= set(asked)
    assert "where either part looked" in page.inner_text("#map option:checked")


def test_missing_views_and_flags_stand_by_the_grade(tab: Watched, script: ScriptedGateway) -> None:
    exam = exam_document(missing_views=["CC_L", "MLO_L"], left=None)
    del exam["views"]["CC_L"], exam["views"]["MLO_L"]
    exam["views"]["MLO_R"]["flags"] = ["pectoral muscle failed", "implant present"]
    page = opened(tab, script, study_document("a1", "graded", exam=exam))
    notes = page.locator("#report .note").all_inner_texts()
    assert notes == [
        "Missing: Left CC, Left MLO. The grade is the mean of the other views.",
        "Look at Right MLO before trusting the grade.",
    ]
    assert page.locator("[data-view=MLO_R] .flag").all_inner_texts() == ["pectoral muscle failed", "implant present"]
    assert page.inner_text("[data-view=CC_L] .frame") == "No image"
    assert loaded_pictures(page) == [64] * 7
    assert page.inner_text("tr:has-text('Left breast')").split() == ["Left", "breast", "no", "view"]


def test_a_refusal_says_why(tab: Watched, script: ScriptedGateway) -> None:
    message = "The exam has 3 of 4 views and a grade needs at least 4: add CC_L."
    left_out = {"file": "9.dcm", "reason": "for_processing", "message": "9.dcm: for_processing, it is raw; export it."}
    refusal = {"reason": "missing_views", "message": message}
    page = opened(
        tab, script, study_document("a1", "refused", refusal=refusal, rejected=[left_out], delivery="pending")
    )
    assert page.inner_text("#status") == "Not graded, sending refusal"
    assert page.inner_text("[data-view=CC_L] .frame") == "Only shown if graded"
    assert lines(page, ".refusal") == ["Not graded: missing views", message]
    assert page.inner_text(".rejected") == "9.dcm for processing\nfor_processing, it is raw; export it."
    assert page.locator(".grade, .probabilities, #hanging img").count() == 0


def test_a_study_is_followed_until_it_is_graded_or_has_failed(tab: Watched, script: ScriptedGateway) -> None:
    waits = {"message": "The model server does not answer.", "attempts": 2, "next_attempt_at": None}
    page = opened(tab, script, study_document("a1", "queued", failure=waits))
    assert page.inner_text("#status") == "Waiting for the model …"
    assert page.inner_text("#report [role=alert]") == "The model server does not answer. Tried 2 times."
    script.studies["a1"] = study_document("a1", "failed", failure=waits | {"message": "No such model."})
    page.clock.fast_forward(5000)
    page.wait_for_selector(".refusal.fail")
    assert "Failed: no grade" in page.inner_text(".refusal.fail")
    script.studies["a1"] = study_document("a1", "graded", exam=exam_document())  # somebody asked again
    page.clock.fast_forward(5000)
    page.wait_for_selector(".grade")
    assert page.locator("#report [role=alert]").count() == 0
    assert page.inner_text("#studies [aria-current]").startswith("C")


def test_names_reasons_and_systems_are_text(tab: Watched, script: ScriptedGateway) -> None:
    exam = exam_document()
    exam["views"]["CC_R"] |= {"acquisition_system": HOSTILE, "flags": [HOSTILE]}
    rejected = [{"file": "1.dcm", "reason": HOSTILE, "message": HOSTILE}]
    delivery = [{"destination": HOSTILE, "state": HOSTILE, "message": HOSTILE, "attempts": 1}]
    script.studies["a1"] = study_document("a1", HOSTILE, exam=exam, rejected=rejected, deliveries=delivery)
    key = HOSTILE.replace("/", "")  # which a route would take for a folder
    script.studies[key] = study_document(key, "refused", refusal={"reason": HOSTILE, "message": HOSTILE})
    files = [{"index": 0, "key": "a1", "name": "1.dcm"}]
    refused = [{"index": 1, "reason": HOSTILE, "message": HOSTILE}]
    script.answer = (202, {"keys": ["a1"], "files": files, "refused": refused})
    tab.enter(script.address)
    page = tab.page
    names = [f"{HOSTILE.replace('/', ':')}{number}.dcm" for number in (1, 2)]
    page.set_input_files("#files", [{"name": name, "mimeType": "", "buffer": b"DICOM"} for name in names])
    page.wait_for_selector("#report .rejected")
    spaced = HOSTILE.replace("_", " ")
    assert names[0] in page.inner_text("#report .rejected")  # the name that the person knows
    assert f"Acquisition system: {HOSTILE}; HOLOGIC|SELENIA|1.8" == page.inner_text("#report .part p.soft")
    assert page.locator("[data-view=CC_R] .flag").all_inner_texts() == [HOSTILE]
    assert page.inner_text(".deliveries").count(HOSTILE) == 3
    assert lines(page, "#upload-refused") == [names[1], HOSTILE]
    page.locator("#studies button").nth(1).click()
    page.wait_for_selector(".refusal")
    assert page.inner_text(".refusal h2") == f"Not graded: {spaced}"
    assert page.evaluate(NOT_HACKED)
    assert script.received == [[("1.dcm", 5), ("2.dcm", 5)]]  # no name leaves the browser


def test_the_files_are_served_with_a_policy_that_allows_nothing_inline_or_foreign(script: ScriptedGateway) -> None:
    answers = {
        path: httpx.get(script.address + path, trust_env=False) for path in ("/", "/web/page.js", "/web/page.css")
    }
    for answer in answers.values():
        assert answer.status_code == 200
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert (
            policy["default-src"]
            == policy["base-uri"]
            == policy["form-action"]
            == policy["frame-ancestors"]
            == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(script.address + "/web/../page.py", trust_env=False).status_code == 404
    html = answers["/"].text
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)|https?:", html)
    for script_file in ASSETS.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?:", script_file.read_text()
        )


def test_the_words_for_classes_are_those_of_the_schema() -> None:
    written = re.search(r"MEANINGS = \{.*?\n(.*?)\n\}", (ASSETS / "words.js").read_text(), re.S)
    assert written is not None
    assert json.loads("{" + re.sub(r"(\w): ", r'"\1": ', written[1]).rstrip(",") + "}") == DENSITY_MEANINGS
