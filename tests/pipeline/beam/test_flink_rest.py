"""What the runner asks of Flink, of a small server of its REST service that fails in all the ways it can."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pipeline.beam.staged import flink_runner
from pipeline.beam.staged.flink_runner import FlinkError, FlinkRest
from pipeline.beam.staged.stage_job import ENTRY_CLASS, JAR


class Service(HTTPServer):
    """Answers by method and path; of several answers each once, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        asked = f"{self.command} {self.path}"
        self.server.asked.append((asked, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
        answers = self.server.answers.get(asked, [(404, {"errors": ["Unknown path"]})])
        code, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_POST = do_PATCH = do_GET  # noqa: N815 - names of the standard library

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def flink(service: Service) -> FlinkRest:
    return FlinkRest(f"127.0.0.1:{service.server_port}")


def test_a_jar_is_sent_once(service: Service, flink: FlinkRest) -> None:
    service.answers["GET /v1/jars"] = [(200, {"files": [{"id": "x_y.jar", "name": "y.jar"}]})]
    service.answers["POST /v1/jars/upload"] = [(200, {"filename": "/tmp/flink/uuid_stage_job.jar"})]
    assert flink.upload(JAR) == "uuid_stage_job.jar"
    sent = service.asked[-1][1]
    assert JAR.read_bytes() in sent
    name = sent.partition(b'filename="')[2].partition(b'"')[0].decode()
    service.answers["GET /v1/jars"] = [(200, {"files": [{"id": "uuid_stage_job.jar", "name": name}]})]
    assert flink.upload(JAR) == "uuid_stage_job.jar"
    assert [asked for asked, _ in service.asked] == ["GET /v1/jars", "POST /v1/jars/upload", "GET /v1/jars"]


def test_a_job_is_started_with_its_arguments_and_waited_for(service: Service, flink: FlinkRest) -> None:
    service.answers["POST /v1/jars/j.jar/run"] = [(200, {"jobid": "7"})]
    # The JobManager is away for a moment: the job goes on.
    states = [(200, {"status": "RUNNING"}), (503, {"errors": ["Service temporarily unavailable"]})]
    service.answers["GET /v1/jobs/7/status"] = [*states, (200, {"status": "FINISHED"})]
    assert flink.start("j.jar", ["folder with spaces", "2"]) == "7"
    asked = json.loads(service.asked[-1][1])
    assert asked == {"entryClass": ENTRY_CLASS, "programArgsList": ["folder with spaces", "2"]}
    flink.wait("7")
    assert not any(asked.startswith("PATCH") for asked, _ in service.asked)


def test_a_failed_job_is_told_with_flinks_reason(service: Service, flink: FlinkRest) -> None:
    service.answers["GET /v1/jobs/7/status"] = [(200, {"status": "FAILED"})]
    service.answers["GET /v1/jobs/7/exceptions"] = [
        (200, {"exceptionHistory": {"entries": [{"stacktrace": "java.io.IOException: no pool"}]}})
    ]
    with pytest.raises(FlinkError, match=r"Flink's job 7 is failed\. java.io.IOException: no pool"):
        flink.wait("7")


def test_what_flink_begins_again_is_told_once(
    service: Service, flink: FlinkRest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flink_runner, "_FAILURE_POLL", 0.0)
    running, lost = (200, {"status": "RUNNING"}), "java.Lost: gone"
    none: tuple[int, Any] = (200, {"exceptionHistory": {"entries": []}})
    service.answers["GET /v1/jobs/7/status"] = [*[running] * 4, (200, {"status": "FINISHED"})]
    entry = {"exceptionHistory": {"entries": [{"stacktrace": f"a.Failed: x\n\tat a.b\nCaused by: {lost}\n\tat a.c\n"}]}}
    service.answers["GET /v1/jobs/7/exceptions"] = [none, (200, entry)]
    with caplog.at_level("WARNING"):
        flink.wait("7")
    assert caplog.messages == [f"Flink's job 7 has restarted tasks: {lost}"]


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [
        (
            404,
            ["a.b.NotFound: Job 7 not found\n\tat a.b\nCaused by: a.c: not found\n\tat a.c"],
            "HTTP 404. a.c: not found",
        ),
        (
            500,  # as Flink 2.2 has it
            [
                "Internal server error.",
                "<Exception on server side:\na.FlinkJobNotFoundException: Could not find Flink job (7)\n\tat a.b"
                "\n\nEnd of exception on server side>",
            ],
            "HTTP 500. a.FlinkJobNotFoundException: Could not find Flink job (7)",
        ),
    ],
)
def test_a_job_that_a_new_job_manager_does_not_know_is_lost(
    service: Service, flink: FlinkRest, code: int, errors: list[str], said: str
) -> None:
    service.answers["GET /v1/jobs/7/status"] = [(200, {"status": "RUNNING"}), (code, {"errors": errors})]
    with pytest.raises(FlinkError, match=re.escape(f"{said} The job is lost: run again, finished nodes")):
        flink.wait("7")


def test_a_job_manager_that_stays_away_is_not_waited_for_for_ever(
    service: Service, flink: FlinkRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink_runner, "_OUTAGE_TIMEOUT", 0.2)
    service.answers["GET /v1/jobs/7/status"] = [(503, {"errors": ["Service temporarily unavailable"]})]
    with pytest.raises(FlinkError, match="unavailable The job is lost"):
        flink.wait("7")


def test_ctrl_c_cancels_the_job(service: Service, flink: FlinkRest, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    service.answers["GET /v1/jobs/7/status"] = [(200, {"status": "RUNNING"})]
    service.answers["PATCH /v1/jobs/7?mode=cancel"] = [(202, {})]
    with pytest.raises(KeyboardInterrupt):
        flink.wait("7")
    assert service.asked[-1][0] == "PATCH /v1/jobs/7?mode=cancel"


def test_a_cluster_that_takes_no_jars_says_so(service: Service, flink: FlinkRest) -> None:
    service.answers["GET /v1/jars"] = [(404, {"errors": ["Unable to load requested file /jars."]})]
    with pytest.raises(FlinkError, match=r"refused /jars: HTTP 404\. Unable to load requested file /jars"):
        flink.upload(JAR)
    with pytest.raises(FlinkError, match=r"127\.0\.0\.1:1 cannot be reached"):
        FlinkRest("127.0.0.1:1").slots()
