"""The real TensorFlow Serving, where this machine has it: ``tensorflow_model_server`` as a child process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from serving.server.errors import ServerStartError
from serving.server.versions import find_versions, is_saved_model

BINARY_VARIABLE: Final = "TF_SERVING_BIN"
BINARY_NAME: Final = "tensorflow_model_server"
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1


class ModelServer(Protocol):
    """A server that runs: TensorFlow Serving or the local one."""

    grpc_address: str
    rest_address: str

    def stop(self) -> None:
        """Stops the server; a second call does nothing."""
        ...

    def wait(self) -> None:
        """Serves until stopped or, in the main thread, until SIGINT or SIGTERM."""
        ...

    def __enter__(self) -> ModelServer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def find_tf_serving(environ: Mapping[str, str] | None = None) -> Path | None:
    """Finds ``tensorflow_model_server``.

    Args:
        environ: Environment, by default the process's. ``TF_SERVING_BIN`` names the program, else ``PATH``.

    Returns:
        The program, ``None`` where there is none.

    Raises:
        ServerStartError: ``TF_SERVING_BIN`` names what cannot be run.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(BINARY_VARIABLE)
    if named:
        path = Path(named)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ServerStartError(
                f"{BINARY_VARIABLE}={named} is no program that can be run: correct it, or unset it to use "
                "the local server."
            )
        return path
    found = shutil.which(BINARY_NAME, path=environ.get("PATH"))
    return None if found is None else Path(found)


def build_command(binary: Path, base_path: Path, name: str, grpc_port: int, rest_port: int) -> list[str]:
    """Builds the command line.

    Args:
        binary: The program.
        base_path: Folder of version folders.
        name: Name the model is served under.
        grpc_port: Port of gRPC.
        rest_port: Port of REST.
    """
    return [
        str(binary),
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={name}",
        f"--model_base_path={base_path}",
    ]


class TfServingProcess:
    """TensorFlow Serving while it runs. As a context manager it stops on leaving.

    Attributes:
        grpc_address: ``host:port`` of gRPC.
        rest_address: ``http://host:port`` of REST.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        grpc_address: str,
        rest_address: str,
        staging: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        self.grpc_address = grpc_address
        self.rest_address = rest_address
        self._process = process
        self._staging = staging
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Ends the process (SIGTERM, after 10 s SIGKILL). A second call does nothing."""
        self._stop_asked.set()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._staging is not None:
            self._staging.cleanup()

    def wait(self) -> None:
        """Serves until `stop`, the program's end or, in the main thread, SIGINT or SIGTERM; then stops."""
        from serving.server.run import stop_signals

        with stop_signals(self._stop_asked):
            while not self._stop_asked.wait(_POLL_SECONDS) and self._process.poll() is None:
                pass
            self.stop()

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until the gRPC port is open, which TensorFlow Serving does once the model is loaded.

        Raises:
            ServerStartError: The program ended, or the time is over.
        """
        host, _, port = self.grpc_address.rpartition(":")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerStartError(
                    f"{BINARY_NAME} ended with code {self._process.returncode} before it served: "
                    f"see its output, or unset {BINARY_VARIABLE} to use the local server."
                )
            try:
                socket.create_connection((host, int(port)), timeout=1.0).close()
                return
            except OSError:
                time.sleep(_POLL_SECONDS)
        raise ServerStartError(
            f"{BINARY_NAME} did not serve within {timeout_s:g} s: see its output, or allow more time."
        )

    def __enter__(self) -> TfServingProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def start_tf_serving(
    model_dir: Path | str,
    name: str = "breast_density",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    host: str = "127.0.0.1",
    binary: Path | None = None,
    timeout_s: float = 120.0,
) -> TfServingProcess:
    """Starts TensorFlow Serving and waits until it answers.

    Args:
        model_dir: Folder the Pusher writes versions to, or a SavedModel itself.
        name: Name the model is served under.
        grpc_port: Port of gRPC; 0 picks a free one.
        rest_port: Port of REST; 0 picks a free one.
        host: Host part of the addresses; TensorFlow Serving itself listens on all of the machine's.
        binary: The program, by default what `find_tf_serving` finds.
        timeout_s: Longest wait until it answers, s.

    Raises:
        ServerStartError: No program, no model, or it does not come up.
    """
    binary = binary or find_tf_serving()
    if binary is None:
        raise ServerStartError(
            f"{BINARY_NAME} is neither on PATH nor in {BINARY_VARIABLE}: install it, or use the local server."
        )
    model_dir = Path(model_dir).resolve()
    folders = find_versions(model_dir)
    if not folders:
        raise ServerStartError(f"{model_dir} holds no model: run the pipeline until its Pusher has pushed one.")
    staging = None
    base_path = model_dir
    if is_saved_model(model_dir):  # TensorFlow Serving wants the folder above the versions
        staging = tempfile.TemporaryDirectory(prefix="tf_serving_")
        base_path = Path(staging.name)
        (base_path / str(max(folders))).symlink_to(model_dir, target_is_directory=True)
    grpc_port = grpc_port or _free_port(host)
    rest_port = rest_port or _free_port(host)
    process = subprocess.Popen(build_command(binary, base_path, name, grpc_port, rest_port))
    server = TfServingProcess(process, f"{host}:{grpc_port}", f"http://{host}:{rest_port}", staging)
    try:
        server.wait_ready(timeout_s)
    except BaseException:
        server.stop()
        raise
    return server


def start_model_server(
    model_dir: Path | str,
    name: str = "breast_density",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    host: str = "127.0.0.1",
) -> ModelServer:
    """Starts TensorFlow Serving where this machine has it, else the local server; the arguments are theirs.

    Raises:
        ServerStartError: Nothing to serve, or the server cannot start.
    """
    binary = find_tf_serving()
    if binary is not None:
        return start_tf_serving(model_dir, name, grpc_port, rest_port, host, binary)
    from serving.server.run import start_server

    return start_server(model_dir, name, grpc_port, rest_port, host)
