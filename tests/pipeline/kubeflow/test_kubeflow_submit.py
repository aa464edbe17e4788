"""The real Kubeflow client against a small server that speaks the API's HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.kubeflow.package import Package, parse_spec
from pipeline.kubeflow.submitting import RunRequest, SubmitError, Target, submit_recurring_run, submit_run

API = "/apis/v2beta1"


class FakeKubeflow:
    """Remembers what it was sent; answers as the API of Kubeflow Pipelines 2 does."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.sent: list[tuple[str, dict[str, Any], str | None]] = []
        self.refusal: tuple[int, str] | None = None

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if self.refusal:
            return self.refusal[0], self.refusal[1]
        if path == f"{API}/healthz":
            return 200, {"multi_user": False}
        if path == f"{API}/experiments" and method == "GET":
            wanted = json.loads(query["filter"][0])["predicates"][0]["stringValue"]
            return 200, {"experiments": [e for e in self.experiments if e["display_name"] == wanted]}
        if path == f"{API}/experiments":
            self.experiments.append({"experiment_id": f"e{len(self.experiments)}", **body})
            return 200, self.experiments[-1]
        if path == f"{API}/runs":
            return 200, {"run_id": "run-1", **body}
        if path == f"{API}/recurringruns":
            return 200, {"recurring_run_id": "recurring-1", **body}
        return 404, {"error": f"no {path}"}


@pytest.fixture
def kubeflow() -> Iterator[tuple[FakeKubeflow, str]]:
    fake = FakeKubeflow()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            url = urlparse(self.path)
            if self.command == "POST":
                fake.sent.append((url.path, body, self.headers.get("authorization")))
            status, answer = fake.answer(self.command, url.path, parse_qs(url.query), body)
            payload = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps settings in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    spec = parse_spec({"pipelineInfo": {"name": "breast-density"}, "schemaVersion": "2.1.0"})
    platform: dict[str, Any] = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-pusher": {"pvcMount": []}}}}}
    }
    file = tmp_path / "pipeline.yaml"
    file.write_text(Package(spec, platform).to_yaml(), encoding="utf-8")
    return file


def request(package: Path) -> RunRequest:
    return RunRequest(
        package,
        "density",
        "of today",
        {"epochs": 3, "span": "latest"},
        "s3://hospital/density",
        "pipeline-runner",
    )


def test_a_run_is_sent_with_its_parameters(kubeflow: tuple[FakeKubeflow, str], package: Path) -> None:
    fake, host = kubeflow
    assert submit_run(Target(host, token="secret"), request(package)) == "run-1"
    assert submit_run(Target(host, token="secret"), request(package)) == "run-1"
    assert [path for path, *_ in fake.sent] == [f"{API}/experiments", f"{API}/runs", f"{API}/runs"]
    _, body, authorization = fake.sent[1]
    assert authorization == "Bearer secret"
    assert body["experiment_id"] == "e0"
    assert body["display_name"] == "of today"
    assert body["service_account"] == "pipeline-runner"
    # The driver takes the root from the run, and not from the specification.
    assert body["runtime_config"] == {
        "parameters": {"epochs": 3, "span": "latest"},
        "pipeline_root": "s3://hospital/density",
    }
    assert body["pipeline_spec"]["pipeline_spec"]["pipelineInfo"] == {"name": "breast-density"}
    assert (
        "exec-pusher"
        in body["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    )


def test_recurring_runs_go_by_the_clock(kubeflow: tuple[FakeKubeflow, str], package: Path) -> None:
    fake, host = kubeflow
    assert submit_recurring_run(Target(host), request(package), "0 0 3 * * 1") == "recurring-1"
    path, body, _ = fake.sent[-1]
    assert path == f"{API}/recurringruns"
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert body["max_concurrency"] == "1" or body["max_concurrency"] == 1
    assert body["no_catchup"] is True
    assert body["runtime_config"]["parameters"]["epochs"] == 3
    assert body["runtime_config"]["pipeline_root"] == "s3://hospital/density"


@pytest.mark.parametrize("cron", [(), ("--cron", "0 0 3 * * 1")])
def test_the_command_sends_the_configured_root(
    kubeflow: tuple[FakeKubeflow, str], tmp_path: Path, cron: tuple[str, ...]
) -> None:
    fake, host = kubeflow
    spec = parse_spec(
        {
            "pipelineInfo": {"name": "breast-density"},
            "schemaVersion": "2.1.0",
            "defaultPipelineRoot": "minio://hospital/density",
        }
    )
    file = tmp_path / "pipeline.yaml"
    file.write_text(Package(spec, {}).to_yaml(), encoding="utf-8")
    sent = CliRunner().invoke(app, ["submit", str(file), "--host", host, *cron])
    assert sent.exit_code == 0, sent.output
    _, body, _ = fake.sent[-1]
    assert body["runtime_config"]["pipeline_root"] == "minio://hospital/density"


def test_five_fields_are_refused_here(package: Path) -> None:
    with pytest.raises(SubmitError, match=r"six fields, seconds first.*Received: '0 3 \* \* 1'"):
        submit_recurring_run(Target("http://127.0.0.1:1"), request(package), "0 3 * * 1")


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, '{"error": "Unauthenticated"}'), "answered 401: Unauthenticated. Give a token."),
        ((403, '{"message": "no access"}'), "answered 403: no access. Give a token that may create runs"),
        ((400, "<html>proxy</html>"), "answered 400: Bad Request."),
    ],
)
def test_a_refusal_is_one_sentence(
    kubeflow: tuple[FakeKubeflow, str], package: Path, refusal: tuple[int, str], said: str
) -> None:
    fake, host = kubeflow
    fake.refusal = refusal
    with pytest.raises(SubmitError, match=re.escape(said)):
        submit_run(Target(host), request(package))


def test_nobody_there_is_one_sentence(package: Path) -> None:
    with pytest.raises(SubmitError, match=r"127\.0\.0\.1:1 cannot be reached"):
        submit_run(Target("http://127.0.0.1:1"), request(package))
