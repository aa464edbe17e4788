"""A small model behind a real server, exams of DICOM files, and a gateway on free ports."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pydicom
import pytest
import yaml

from serving.gateway.config import GatewayConfig
from serving.gateway.run import RunningGateway, running_gateway
from tests.absent_libraries import COMMAND, OF_PIPELINE, TENSORFLOW, without
from tests.sharing import once
from tests.waiting import HANG, PATIENCE, wait_until

TOKEN = "token-of-the-gateways-tests"
ENVIRON = {"BREAST_DENSITY_GATEWAY_TOKEN": TOKEN}

MakeGatewayConfig = Callable[..., GatewayConfig]
StartGateway = Callable[..., AbstractContextManager[RunningGateway]]
FreePorts = Callable[[int], list[int]]


@pytest.fixture(scope="session")
def token() -> str:
    return TOKEN


@pytest.fixture(scope="session")
def export_model(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Export a small exam model with a recipe, as the pipeline does; it has seen the phantoms' systems and pictures."""
    from components.exam_ensemble.ensemble import load_exam_model
    from components.exam_model.familiarity import Familiarity, FeatureDistribution
    from components.exam_model.recipe import PreprocessingRecipe
    from components.exam_model.signatures import ExamSettings, export
    from components.preprocessing.config import PreprocessConfig
    from components.transform.config import ImageConfig
    from schema.training_systems import TrainingSystems
    from tests.systems import systems_of_phantoms

    folder = tmp_path_factory.mktemp("networks")
    systems = TrainingSystems(systems=systems_of_phantoms()).model_dump_json()
    files = {view: str(folder / f"{view}.keras") for view in exam_networks}
    for view, network in exam_networks.items():
        network.save(files[view])

    def _export(to: Path, longest_side: int, method: Literal["auto", "none"] = "none", distance: float = 0) -> None:
        """``distance`` is about that of every view from the training views; 1 is the limit."""
        recipe = PreprocessingRecipe(
            longest_side=longest_side, preprocess=PreprocessConfig(method=method, output_size=64)
        )
        plain = load_exam_model(files, ImageConfig(size=64), ExamSettings(recipe.model_dump_json(), systems))
        size = plain.statistics
        ones = FeatureDistribution(
            np.full(size, -1e3, np.float32), np.eye(size, dtype=np.float32) * distance / (1e3 * size**0.5)
        )
        export(plain.changed(familiarity=Familiarity((ones,) * len(files))), str(to))

    return _export


@pytest.fixture(scope="session")
def gateway_model(export_model: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of versions with a small exam model, version 3."""

    def export(folder: Path) -> Path:
        export_model(folder / "models" / "3", 256)
        return folder / "models"

    return once(tmp_path_factory, "gateway_model", export)


@pytest.fixture(scope="session")
def model_server(gateway_model: Path) -> Iterator[str]:
    """``host:port`` of a server that serves it."""
    from serving.server.run import start_server

    with start_server(gateway_model, grpc_port=0, rest_port=0) as server:
        yield server.grpc_address


@pytest.fixture(scope="session")
def exams(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Four phantom exams, each the paths of its four views."""
    return once(tmp_path_factory, "gateway_exams", _make_exams)


def _make_exams(parent: Path) -> list[list[Path]]:
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    folder = parent / "set"
    generate_phantoms(PhantomConfig(exams=4, seed=3, reduction=16, workers=1, repeat_share=0), folder)
    studies: dict[str, list[Path]] = {}
    for path in sorted((folder / "images").rglob("*.dcm")):
        studies.setdefault(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID, []).append(path)
    return list(studies.values())


@pytest.fixture
def gateway_config(tmp_path: Path) -> MakeGatewayConfig:
    """Return a configuration with free ports, short waits and its own spool."""

    def make(model_address: str = "127.0.0.1:1", **changes: Any) -> GatewayConfig:
        document: dict[str, Any] = {
            "spool": tmp_path / "spool",
            "model": {"address": model_address, "timeout_s": 20 * PATIENCE},
            "dicom": {"port": 0, "idle_seconds": 5 * PATIENCE},
            "http": {"port": 0, "idle_seconds": 5 * PATIENCE, "head_seconds": 60 * PATIENCE},
            "grouping": {"settle_seconds": 0.2, "timeout_seconds": 20},
            "limits": {"free_bytes": 0},
            "retry": {"first_seconds": 0.2, "cap_seconds": 0.5},
        }
        for key, value in changes.items():
            document[key] = document[key] | value if isinstance(document.get(key), dict) else value
        return GatewayConfig.model_validate(document)

    return make


@pytest.fixture
def start_gateway(gateway_config: MakeGatewayConfig, model_server: str) -> StartGateway:
    """Starts a gateway before the model server; keyword arguments change its configuration."""

    def start(**changes: Any) -> AbstractContextManager[RunningGateway]:
        return running_gateway(gateway_config(model_server, **changes), ENVIRON)

    return start


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """Call a function until its result is true, and return the result."""
    return functools.partial(wait_until, pause=0.05)


@pytest.fixture(scope="session")
def dcmtk() -> Callable[[str], str]:
    """Find a program of dcmtk; pynetdicom installs programs with the same names next to Python."""

    def find(program: str) -> str:
        folders = [f for f in os.environ["PATH"].split(os.pathsep) if Path(f) != Path(sys.executable).parent]
        found = shutil.which(program, path=os.pathsep.join(folders))
        if found is None:
            pytest.skip("dcmtk is not installed")
        return found

    return find


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc."""

    http_port: int
    dicom_port: int

    @property
    def destinations(self) -> list[dict[str, Any]]:
        """Return Orthanc as two destinations: DICOM node and DICOMweb service."""
        stow = {"kind": "stow", "name": "pacs-web", "url": f"http://127.0.0.1:{self.http_port}/dicom-web"}
        dicom = {"kind": "dicom", "name": "pacs", "host": "127.0.0.1", "port": self.dicom_port, "ae_title": "ORTHANC"}
        return [dicom, stow]

    def get(self, path: str) -> Any:
        """Call its REST service."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}{path}", trust_env=False, timeout=HANG).json()

    def instances(self) -> list[dict[str, Any]]:
        """Return its instances with their tags."""
        return [self.get(f"/instances/{name}/simplified-tags") for name in self.get("/instances")]

    def clear(self) -> None:
        """Delete all its data."""
        for name in self.get("/patients"):
            httpx.delete(f"http://127.0.0.1:{self.http_port}/patients/{name}", trust_env=False, timeout=HANG)


StartPacs = Callable[[int, int], AbstractContextManager[Pacs]]


@pytest.fixture(scope="session")
def free_ports() -> FreePorts:
    """Return free ports."""

    def find(count: int) -> list[int]:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for found in sockets:
                found.bind(("127.0.0.1", 0))
            return [found.getsockname()[1] for found in sockets]

    return find


@pytest.fixture(scope="session")
def start_pacs(tmp_path_factory: pytest.TempPathFactory) -> StartPacs:
    """Start Debian's Orthanc with its DICOMweb plugin on the given ports."""
    program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if program is None or not plugin.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")

    @contextmanager
    def start(http_port: int, dicom_port: int) -> Iterator[Pacs]:
        folder = tmp_path_factory.mktemp("orthanc")
        settings = {
            "Name": "PACS",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
            "Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        pacs = Pacs(http_port, dicom_port)
        try:

            def answers() -> bool:
                try:
                    pacs.get("/system")
                except httpx.HTTPError:
                    return False
                return True

            def alive() -> None:
                assert process.poll() is None, (folder / "log").read_text()

            wait_until(answers, alive, pause=0.1)
            yield pacs
        finally:
            process.kill()  # its own end takes it three seconds
            process.wait()

    return start


@pytest.fixture(scope="session")
def running_pacs(start_pacs: StartPacs, free_ports: FreePorts) -> Iterator[Pacs]:
    with start_pacs(*free_ports(2)) as pacs:
        yield pacs


@pytest.fixture
def pacs(running_pacs: Pacs) -> Pacs:
    """An Orthanc without instances."""
    running_pacs.clear()
    return running_pacs


@dataclass(frozen=True)
class Process:
    """A gateway started by the command line."""

    process: subprocess.Popen[bytes]
    log: Path
    dicom_port: int
    client: httpx.Client
    storescu: str

    def studies(self) -> list[dict[str, Any]]:
        listed = self.client.get("/api/studies").json()["studies"]
        return [self.client.get(f"/api/studies/{study['key']}").json() for study in listed]

    def send(self, paths: list[Path], syntax: str = "--propose-jls-lossless") -> str:
        """Send files with storescu; return its output."""
        command = [self.storescu, "-v", syntax, "-aec", "BREASTDENSITY", "127.0.0.1", str(self.dicom_port)]
        done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


StartProcess = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def start_process(
    gateway_config: MakeGatewayConfig, tmp_path: Path, token: str, dcmtk: Callable[[str], str]
) -> StartProcess:
    """Start ``breast-density gateway`` with a configuration; kill it at the end of the context."""

    @contextmanager
    def start(model_address: str, **changes: Any) -> Iterator[Process]:
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(gateway_config(model_address, **changes).model_dump(mode="json")))
        log = tmp_path / "log"
        environ = os.environ | {"BREAST_DENSITY_GATEWAY_TOKEN": token, "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as stream:
            begin = stream.tell()
            command = without(TENSORFLOW | OF_PIPELINE, COMMAND, "gateway", str(file))
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environ)
        try:

            def told() -> re.Match[bytes] | None:
                return re.search(rb":(\d+), HTTP (http\S+),", log.read_bytes()[begin:])

            def alive() -> None:
                assert process.poll() is None, log.read_text()

            found = wait_until(told, alive, pause=0.1)
            assert found is not None
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=found[2].decode(), headers=headers, trust_env=False, timeout=HANG) as client:
                yield Process(process, log, int(found[1]), client, dcmtk("storescu"))
        finally:
            process.kill()
            process.wait()

    return start
