"""Configuration of the gateway, its tokens, and its pure functions."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.app import is_authorised
from serving.gateway.config import GatewayConfig, GatewayConfigError, load_gateway_config, read_token
from serving.gateway.monitoring import configure_logs, log
from serving.gateway.spool import Incoming
from serving.gateway.uploads import MultipartError, MultipartReceiver

EXAMPLE = Path(__file__).parents[3] / "serving" / "deploy" / "gateway.example.yaml"


def test_the_example_shows_the_defaults() -> None:
    example = load_gateway_config(EXAMPLE)
    defaults = GatewayConfig(spool=example.spool, destinations=example.destinations)
    assert example == defaults
    assert [destination.name for destination in example.destinations] == ["pacs", "research"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spool: [", "is not YAML"),
        ("model: {}", "spool: Field required"),
        ("spool: x\ntoken: abc", "token: Extra inputs"),
        ("spool: x\ndicom: {ae_title: A TITLE THAT IS TOO LONG}", "dicom.ae_title"),
        ("spool: x\ndestinations: [{kind: dicom, name: a b, host: h, port: 1, ae_title: A}]", "destinations.0"),
        ("spool: x\ndestinations: [{kind: stow, name: a, url: 'http://user:pw@host'}]", "destinations.0"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(GatewayConfigError, match=message):
        load_gateway_config(file)


def test_a_token_comes_from_the_environment_or_a_file_and_is_long(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert read_token("T", {"T": "fedcba9876543210"}) == "fedcba9876543210"
    assert read_token("T", {"T_FILE": str(file)}) == "0123456789abcdef"
    for environ in ({}, {"T": "short"}, {"T": "0123456789 abcdef"}, {"T_FILE": str(tmp_path / "none")}):
        with pytest.raises(GatewayConfigError):
            read_token("T", environ)


def test_only_the_token_opens() -> None:
    assert is_authorised("Bearer secret", "secret")
    assert is_authorised("bearer  secret", "secret")
    for header in (None, "", "secret", "Bearer", "Bearer secre", "Bearer secrets", "Basic secret", "Bearer sécret"):
        assert not is_authorised(header, "secret")


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 200))
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], size: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    bodies = [body for body in bodies if b"--cut" not in body]
    parts = [b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies]
    whole = b"".join(parts) + b"--cut--\r\n"
    receiver = MultipartReceiver("cut", lambda: Incoming(folder, 1 << 20), 10, files_only=False)
    try:
        for start in range(0, len(whole), size):
            receiver.write(whole[start : start + size])
        found = receiver.finish()
        assert [part.file.path.read_bytes() for part in found] == bodies
        assert {part.content_type for part in found} <= {"application/dicom"}
    finally:
        receiver.discard()


@given(st.binary(max_size=400))
def test_junk_is_no_multipart(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    receiver = MultipartReceiver("cut", lambda: Incoming(folder, 1 << 20), 10, files_only=False)
    with pytest.raises(MultipartError):  # noqa: PT012
        receiver.write(b"--cut\r\n" + junk)
        receiver.finish()
    receiver.discard()


def test_logs_show_where_an_error_came_from_and_nothing_of_its_text() -> None:
    before = {name: logging.getLogger(name).handlers[:] for name in ("", "serving.gateway", "uvicorn")}
    levels = {name: logging.getLogger(name).level for name in ("pynetdicom", "pydicom", "python_multipart")}
    stream = io.StringIO()
    try:
        configure_logs(stream)
        for logger in (log, logging.getLogger("uvicorn.error"), logging.getLogger("retrying")):
            try:
                raise ValueError("Doe^Jane 1.2.3.4")
            except ValueError:
                logger.exception("it broke")
        logging.getLogger("pynetdicom.acse").critical("AE title ALICE")
        shown = stream.getvalue()
    finally:
        for name, handlers in before.items():
            logging.getLogger(name).handlers = handlers
            logging.getLogger(name).propagate = True
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert shown.count("it broke") == 2
    assert shown.count("ValueError at test_gateway_config.py:") == 2
    assert "Doe" not in shown
    assert "ALICE" not in shown
