"""TensorFlow Serving, if this machine has it: ``tensorflow_model_server`` as a child process."""

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

from components.exam_model.versions import find_versions, is_saved_model
from serving.server.config import ServerConfig
from serving.server.text_protos import (
    model_config_text,
    monitoring_config_text,
    read_model_config,
    ssl_config_text,
)
from serving.wire.errors import ServerStartError
from serving.wire.stopping import stop_signals

BINARY_VARIABLE: Final = "TF_SERVING_BIN"
BINARY_NAME: Final = "tensorflow_model_server"
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1


class ModelServer(Protocol):
    """A running server: TensorFlow Serving or the local one; ``rest_address`` is empty if it has no REST."""

    grpc_address: str
    rest_address: str

    def stop(self) -> None:
        """Stop the server; a second call does nothing."""
        ...

    def wait(self) -> bool:
        """Serve until `stop`, SIGINT or SIGTERM (main thread); return False if a prediction still runs."""
        ...

    def __enter__(self) -> ModelServer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def find_tf_serving(environ: Mapping[str, str] | None = None) -> Path | None:
    """Find ``tensorflow_model_server``.

    Args:
        environ: Environment, by default the one of this process. ``TF_SERVING_BIN`` names the program; if it is not
            set, ``PATH`` is searched.

    Returns:
        The program; ``None`` if it is not installed.

    Raises:
        ServerStartError: ``TF_SERVING_BIN`` does not name a program.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(BINARY_VARIABLE)
    if named:
        path = Path(named)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ServerStartError(
                f"{BINARY_VARIABLE}={named} is not a program that can be run: correct it, or unset it to use "
                "the local server."
            )
        return path
    found = shutil.which(BINARY_NAME, path=environ.get("PATH"))
    return None if found is None else Path(found)


def build_command(binary: Path, config: ServerConfig, staging: Path) -> list[str]:
    """Write the configuration files and return the command line.

    TensorFlow Serving has no TLS for REST. With certificates it starts without REST, and therefore without metrics.

    Args:
        binary: The program.
        config: Configuration of the server; its ports are not 0.
        staging: Folder for the files that only this user can read: one of them contains the private key.

    Raises:
        ServerStartError: A certificate cannot be read.
    """
    model_config = config.model_config_file
    if model_config is None:
        model_config = staging / "models.config"
        model_config.write_text(model_config_text(config.model))
    limits = config.limits
    command = [
        str(binary),
        f"--port={config.grpc_port}",
        f"--rest_api_port={0 if config.tls else config.rest_port}",
        f"--rest_api_timeout_in_ms={round(limits.request_seconds * 1000)}",
        f"--model_config_file={model_config}",
        f"--model_config_file_poll_wait_seconds={round(config.model_config_poll_seconds)}",
        f"--file_system_poll_wait_seconds={max(1, round(config.poll_seconds))}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--grpc_max_threads={limits.running + limits.queued}",
        f"--grpc_channel_arguments=grpc.max_receive_message_length={limits.message_bytes}",
    ]
    if config.metrics_path and not config.tls:
        monitoring = staging / "monitoring.config"
        monitoring.write_text(monitoring_config_text(config.metrics_path))
        command.append(f"--monitoring_config_file={monitoring}")
    if config.tls:
        ssl_config = staging / "ssl.config"
        ssl_config.touch(mode=0o600)
        try:
            ssl_config.write_text(ssl_config_text(config.tls))
        except (OSError, UnicodeDecodeError) as error:
            raise ServerStartError(f"The TLS files cannot be read ({type(error).__name__}): give PEM files.") from None
        command.append(f"--ssl_config_file={ssl_config}")
    return command


class TfServingProcess:
    """TensorFlow Serving while it runs. As a context manager it stops at the end of the context.

    Attributes:
        grpc_address: ``host:port`` of gRPC.
        rest_address: ``http://host:port`` of REST, empty if it has no REST.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        grpc_address: str,
        rest_address: str,
        staging: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.grpc_address = grpc_address
        self.rest_address = rest_address
        self._process = process
        self._staging = staging
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """End the process (SIGTERM, after 10 s SIGKILL). A second call does nothing."""
        self._stop_asked.set()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._staging.cleanup()

    def wait(self) -> bool:
        """Serve until `stop`, the end of the program or, in the main thread, SIGINT or SIGTERM; then stop."""
        with stop_signals(self._stop_asked):
            while not self._stop_asked.wait(_POLL_SECONDS) and self._process.poll() is None:
                pass
            self.stop()
        return True

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the gRPC port is open. TensorFlow Serving opens it after it loaded the model.

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


def start_tf_serving(config: ServerConfig, binary: Path | None = None, timeout_s: float = 120.0) -> TfServingProcess:
    """Start TensorFlow Serving and wait until it serves.

    Args:
        config: Configuration of the server. ``host`` is only used in addresses: TensorFlow Serving listens on all
            addresses of the machine.
        binary: The program, by default the one that `find_tf_serving` finds.
        timeout_s: Longest wait until it serves, s.

    Raises:
        ServerStartError: There is no program or no model, or the program does not start.
    """
    binary = binary or find_tf_serving()
    if binary is None:
        raise ServerStartError(
            f"{BINARY_NAME} is neither on PATH nor in {BINARY_VARIABLE}: install it, or use the local server."
        )
    base_path = config.model.base_path.resolve()
    folders = find_versions(base_path)
    if not folders:
        raise ServerStartError(f"{base_path} holds no model: run the pipeline until its Pusher has pushed one.")
    # TensorFlow Serving follows the file only if it names the folder that is served.
    model_config = config.model_config_file
    if model_config is not None and read_model_config(model_config) != config.model:
        model_config = None
    staging = tempfile.TemporaryDirectory(prefix="tf_serving_")
    try:
        if is_saved_model(base_path):  # TensorFlow Serving requires the folder above the versions
            above = Path(staging.name, "model")
            above.mkdir()
            (above / str(max(folders))).symlink_to(base_path, target_is_directory=True)
            base_path = above
        config = config.model_copy(
            update={
                "model": config.model.model_copy(update={"base_path": base_path}),
                "model_config_file": model_config,
                "grpc_port": config.grpc_port or _free_port(config.host),
                "rest_port": config.rest_port or _free_port(config.host),
            }
        )
        process = subprocess.Popen(build_command(binary, config, Path(staging.name)))
    except BaseException:
        staging.cleanup()
        raise
    rest_address = "" if config.tls else f"http://{config.host}:{config.rest_port}"
    server = TfServingProcess(process, f"{config.host}:{config.grpc_port}", rest_address, staging)
    try:
        server.wait_ready(timeout_s)
    except BaseException:
        server.stop()
        raise
    return server


def start_model_server(config: ServerConfig) -> ModelServer:
    """Start TensorFlow Serving if this machine has it, else the local server.

    Raises:
        ServerStartError: There is no model, or the server cannot start.
    """
    binary = find_tf_serving()
    if binary is not None:
        return start_tf_serving(config, binary)
    from serving.server.run import run_server

    return run_server(config)
