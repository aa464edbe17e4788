"""In the place of Kubeflow's launcher in a pod: ``python launcher.py STORE EXECUTOR_INPUT COMMAND...``.

It copies input artifacts from the S3 service at STORE, holds the log file open while the command runs, copies outputs
to the service, and leaves there what the command wrote with all its parameters. It needs only the standard library. As
Kubeflow's launcher, it is process 1 of its container, and hands SIGTERM on.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEME = "minio://"
Given = dict[str, Any]
# moto, the S3 service of the tests, wants to know who asks, and believes it.
_HEADERS = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=walk/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=",
    "Content-Type": "application/octet-stream",
}


class Store:
    """Objects of an S3 service that checks no signature."""

    def __init__(self, address: str):
        self._address = address

    def _request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._address}/{path}", data, _HEADERS, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def get(self, key: str) -> bytes:
        """Return an object: ``BUCKET/KEY``."""
        return self._request("GET", urllib.parse.quote(key))

    def put(self, key: str, data: bytes) -> None:
        """Write an object: ``BUCKET/KEY``."""
        self._request("PUT", urllib.parse.quote(key), data)

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the objects below a folder: ``BUCKET/KEY``."""
        bucket, _, folder = prefix.partition("/")
        token = ""
        while True:
            query = {"list-type": "2", "prefix": folder, **({"continuation-token": token} if token else {})}
            tree = ElementTree.fromstring(self._request("GET", f"{bucket}?{urllib.parse.urlencode(query)}"))
            for found in tree.iterfind("{*}Contents/{*}Key"):
                key = str(found.text)
                if key == folder or key.startswith(f"{folder}/"):
                    yield f"{bucket}/{key}"
            token = tree.findtext("{*}NextContinuationToken") or ""
            if not token:
                return


def place(uri: str) -> tuple[str, Path]:
    """Return an artifact's key in the store and its path in the pod."""
    key = uri.removeprefix(SCHEME)
    return key, Path("/minio") / key


def download(store: Store, uri: str) -> None:
    """Copy an artifact to the pod; one without objects leaves nothing."""
    prefix, local = place(uri)
    for key in store.keys(prefix):
        file = Path(f"{local}{key.removeprefix(prefix)}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(store.get(key))


def upload(store: Store, uri: str) -> None:
    """Copy an artifact's files to the store."""
    prefix, local = place(uri)
    for file in [local] if local.is_file() else [path for path in local.rglob("*") if path.is_file()]:
        store.put(prefix + str(file).removeprefix(str(local)), file.read_bytes())


def artifacts(lists: Given) -> Iterator[str]:
    """Return the URIs of inputs or outputs."""
    for found in lists.get("artifacts", {}).values():
        for artifact in found["artifacts"]:
            yield artifact["uri"]


def run(command: list[str], log: Path) -> int:
    """Run a command; its output goes to the log file and to this process's."""
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        assert process.stdout is not None
        for line in process.stdout:
            stream.write(line)
            stream.flush()
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
    return process.returncode


def main() -> int:
    """Run a task."""
    store, given = Store(sys.argv[1]), json.loads(sys.argv[2])
    outputs = given["outputs"]
    for uri in artifacts(given.get("inputs", {})):
        download(store, uri)
    files = [outputs["outputFile"], *(one["outputFile"] for one in outputs.get("parameters", {}).values())]
    for file in [*map(Path, files), *(place(uri)[1] for uri in artifacts(outputs))]:
        file.parent.mkdir(parents=True, exist_ok=True)
    key, log = place(outputs["artifacts"]["executor-logs"]["artifacts"][0]["uri"])
    ended = run(sys.argv[3:], log)
    if ended:
        return ended if ended > 0 else 128 - ended
    if not log.is_file():
        print("The command removed the file that its log is written to.")
        return 1
    output = Path(outputs["outputFile"])
    made = json.loads(output.read_bytes()) if output.is_file() else {}
    for name, one in outputs.get("parameters", {}).items():
        if name not in made.get("parameterValues", {}):
            made.setdefault("parameterValues", {})[name] = Path(one["outputFile"]).read_text(encoding="utf-8")
    for uri in artifacts(outputs):
        upload(store, uri)
    # Kubeflow's launcher tells this to ML Metadata; here the driver that waits reads it.
    store.put(f"{key.rpartition('/')[0]}/output_metadata.json", json.dumps(made).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
