"""Find and start TensorFlow Serving. A script replaces the program, which this machine lacks."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.server.config import ServedModel, ServerConfig
from serving.server.text_protos import read_model_config, read_monitoring_config
from serving.server.tf_serving import build_command, find_tf_serving, start_model_server, start_tf_serving
from serving.wire.errors import ServerStartError

# Writes down its arguments, then listens on --port.
SCRIPT = """#!{python}
import sys, pathlib, signal, socket
arguments = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:])
import re
base = pathlib.Path(re.search('base_path: "(.*)"', pathlib.Path(arguments["model_config_file"]).read_text())[1])
versions = sorted(p.name for p in base.iterdir() if (p / "saved_model.pb").is_file())
pathlib.Path({log!r}).write_text("\\n".join([*sys.argv[1:], str(base), *versions]))
server = socket.create_server(("127.0.0.1", int(arguments["port"])))
signal.pause()
"""


def make_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    text = SCRIPT.format(python=sys.executable, log=str(tmp_path / "arguments"))
    return make_program(tmp_path / "bin" / "tensorflow_model_server", text)


def config_of(model_dir: Path, **fields: Any) -> ServerConfig:
    return ServerConfig(model=ServedModel(base_path=model_dir), **{"grpc_port": 0, "rest_port": 0, **fields})


def test_command_line(tmp_path: Path) -> None:
    config = config_of(Path("/models"), grpc_port=8500, rest_port=8501, metrics_path="/m")
    command = build_command(Path("/opt/tfs"), config, tmp_path)
    assert command[:4] == ["/opt/tfs", "--port=8500", "--rest_api_port=8501", "--rest_api_timeout_in_ms=60000"]
    assert f"--model_config_file={tmp_path / 'models.config'}" in command
    assert read_model_config(tmp_path / "models.config") == config.model
    assert read_monitoring_config(tmp_path / "monitoring.config") == "/m"
    assert not any("batching" in flag for flag in command)


def test_variable_comes_before_path(program: Path, tmp_path: Path) -> None:
    named = make_program(tmp_path / "elsewhere" / "tfs", "#!/bin/sh\n")
    path = str(program.parent)
    assert find_tf_serving({"PATH": path}) == program
    assert find_tf_serving({"PATH": path, "TF_SERVING_BIN": str(named)}) == named
    assert find_tf_serving({"PATH": str(tmp_path / "empty")}) is None
    with pytest.raises(ServerStartError, match="TF_SERVING_BIN=/nowhere is not a program"):
        find_tf_serving({"PATH": path, "TF_SERVING_BIN": "/nowhere"})


def test_start_and_stop(program: Path, push: Callable[[int, int], Path], tmp_path: Path) -> None:
    model_dir = push(4, 0)
    with start_tf_serving(config_of(model_dir), program) as server:
        arguments = (tmp_path / "arguments").read_text().splitlines()
        assert arguments[0] == "--port=" + server.grpc_address.rpartition(":")[2]
        assert arguments[1] == "--rest_api_port=" + server.rest_address.rpartition(":")[2]
        assert arguments[-2:] == [str(model_dir), "4"]
    server.stop()
    server.wait()


def test_a_saved_model_itself_is_staged_under_its_version(
    program: Path, push: Callable[[int, int], Path], tmp_path: Path
) -> None:
    with start_tf_serving(config_of(push(4, 0) / "4"), program):
        arguments = (tmp_path / "arguments").read_text().splitlines()
        staged = Path(arguments[-2])
        assert arguments[-1] == "4"
        assert (staged / "4" / "saved_model.pb").is_file()
    assert not staged.exists()


def test_program_that_ends_early(push: Callable[[int, int], Path], tmp_path: Path) -> None:
    program = make_program(tmp_path / "fails", "#!/bin/sh\nexit 3\n")
    with pytest.raises(ServerStartError, match="ended with code 3"):
        start_tf_serving(config_of(push(1, 0)), program)


def test_program_that_never_serves(push: Callable[[int, int], Path], tmp_path: Path) -> None:
    program = make_program(tmp_path / "sleeps", "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(ServerStartError, match=r"did not serve within 0\.3 s"):
        start_tf_serving(config_of(push(1, 0)), program, timeout_s=0.3)


def test_without_the_program_the_local_server_is_started(
    push: Callable[[int, int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TF_SERVING_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with start_model_server(config_of(push(1, 0))) as server:
        assert type(server).__name__ == "RunningServer"
