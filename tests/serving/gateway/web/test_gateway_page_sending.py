"""The gateway's page in a real browser: tokens, accepted and refused uploads, and a gateway that does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.serving.gateway.web.conftest import Watched, lines, only_of_status, opened, until
from tests.serving.gateway.web.scripted_gateway import TOKEN, ScriptedGateway, study_document


def test_the_token_is_asked_for_until_it_is_right_and_stays_in_the_tab(tab: Watched, script: ScriptedGateway) -> None:
    page = tab.page
    page.goto(script.address)
    page.get_by_label("Token", exact=True).fill("wrong token")
    page.get_by_role("button", name="Continue").click()
    assert page.locator("dialog[open]").count() == 1  # no token has a space
    page.get_by_label("Token", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#token-message').textContent.includes('refused')")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 1
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]", state="detached")
    page.wait_for_selector("#no-studies:visible")
    assert page.evaluate("Object.values(sessionStorage)") == [TOKEN]
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    page.wait_for_selector("#no-studies:visible")
    assert page.locator("dialog[open]").count() == 0
    page.get_by_role("button", name="Forget the token").click()
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("sessionStorage.length") == 0
    only_of_status(tab, 401)


def test_an_upload_that_is_not_taken_says_why(tab: Watched, script: ScriptedGateway) -> None:
    script.limits = {"files": 2, "bytes": 2**20}
    tab.enter(script.address)
    page = tab.page
    file = {"mimeType": "", "buffer": b"x"}

    def send(*names: str, **changes: Any) -> str:
        page.set_input_files("#files", [file | {"name": name} | changes for name in names])
        page.wait_for_selector("#upload-message:visible")
        return page.inner_text("#upload-message")

    page.wait_for_selector("#no-studies:visible")
    assert send("1", "2", "3") == "One exam may have up to 2 files; these are 3. Send the files of one exam."
    assert (
        send("1", buffer=bytes(2**20 + 1))
        == "One exam may have up to 1 MiB; this one is larger. Send the files of one exam."
    )
    assert send(".DS_Store") == "No file found."
    assert script.received == []
    refused = [{"index": 0, "reason": "not_dicom", "message": "It is no DICOM file."}]
    script.answer = (422, {"detail": "No file was accepted.", "keys": [], "files": [], "refused": refused})
    assert send("notes.txt") == "No file was accepted."
    assert lines(page, "#upload-refused") == ["notes.txt", "It is no DICOM file."]
    script.answer = (503, {"detail": "The queue is full: send it again later."})
    assert send("1.dcm") == "The queue is full: send it again later."
    assert page.locator("#upload-refused").is_hidden()
    only_of_status(tab, 422, 503)


def test_a_folder_is_sent_whole_by_choice_and_by_drop(tab: Watched, script: ScriptedGateway, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    for name in ("a/1.dcm", "b/2.dcm", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"DICOM")
    script.studies["a1"] = study_document("a1", "receiving")
    script.answer = (202, {"keys": ["a1"], "files": [], "refused": []})
    tab.enter(script.address)
    page = tab.page
    page.set_input_files("#folder", folder)
    page.wait_for_selector("#studies [aria-current]")
    assert page.inner_text("#studies [aria-current] b") == "exam"
    for number in range(120):  # a browser hands over the entries of a folder a hundred at a time
        (folder / f"{number}.dcm").write_bytes(b"DICOM")
    taken = [{"index": index, "key": "a1", "name": str(index)} for index in range(122)]
    script.answer = (202, {"keys": ["a1"], "files": taken, "refused": []})
    drop = page.locator("#drop").bounding_box()
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    mouse = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        mouse.send("Input.dispatchDragEvent", {"type": kind, "x": drop["x"] + 9, "y": drop["y"] + 9, "data": data})
    until(page, "document.querySelector('#upload-message').textContent === 'Accepted: 122 files.'")
    assert [len(files) for files in script.received] == [2, 122]
    assert page.text_content("#upload-name") == "exam: 122 files"


def test_a_gateway_that_is_away_is_asked_again(tab: Watched, script: ScriptedGateway) -> None:
    page = opened(tab, script, study_document("a1", "queued"))
    script.down = True
    page.clock.fast_forward(5000)
    page.wait_for_selector("#offline:visible")
    assert page.inner_text("#offline") == "The gateway is full. Trying again …"
    script.down = False
    page.clock.fast_forward(5000)
    page.wait_for_selector("#offline", state="hidden")
    only_of_status(tab, 503)


def test_an_address_with_an_unknown_study_or_nonsense_is_no_obstacle(tab: Watched, script: ScriptedGateway) -> None:
    tab.enter(f"{script.address}/#gone")
    page = tab.page
    until(page, "document.querySelector('#status').textContent.startsWith('The gateway does not have this study')")
    page.evaluate("location.hash = '%'")
    page.wait_for_selector("#no-studies:visible")
    only_of_status(tab, 404)
