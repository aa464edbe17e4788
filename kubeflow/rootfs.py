"""Runs the steps of kubeflow/Dockerfile without a Docker engine, in root file systems that debootstrap makes.

``python3 kubeflow/rootfs.py FOLDER [TARGET]`` as root, on Debian 12; TARGET is cpu. What a registry would give is put
together here: the Python image is Debian with this machine's Python 3.10, and Beam's boot program is built from its
source by Go. All else is the Dockerfile's own RUN, COPY, ENV and USER. It ends by running a node as the image's user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PYTHON_NEEDS = "ca-certificates libbz2-1.0 libffi8 liblzma5 libreadline8 libsqlite3-0 libssl3 zlib1g"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Those of this machine, which may have a proxy's among them.
CERTIFICATES = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt")
# An ExecutorInput as the launcher fills it in.
GIVEN = {
    "inputs": {"parameterValues": {"schema_text": "feature { name: 'view' }", "code": "0"}},
    "outputs": {
        "artifacts": {
            "schema": {"artifacts": [{"uri": "minio://b/run/schema", "type": {"schemaTitle": "tfx.Schema"}}]}
        },
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
}
INPUTS = {"parameters": {"schema_text": {"parameterType": "STRING"}, "code": {"parameterType": "STRING"}}}


def stages(text: str) -> tuple[dict[str, list[tuple[str, str]]], dict[str, str]]:
    """Reads a Dockerfile: the instructions of each stage, and the arguments before the first."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: dict[str, list[tuple[str, str]]] = {}
    arguments: dict[str, str] = {}
    name = ""
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = [("FROM", base)]
        elif not found:
            key, _, value = rest.partition("=")
            arguments[key] = value
        else:
            found[name].append((instruction, rest))
    return found, arguments


def run(*command: str, **options: object) -> None:
    """Runs a command; its failure ends the program."""
    subprocess.run(command, check=True, **options)  # type: ignore[call-overload] - options are subprocess's own


class Builder:
    """Builds stages, each in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stages, self.arguments = stages((PROJECT / "kubeflow" / "Dockerfile").read_text(encoding="utf-8"))
        self.environments: dict[str, dict[str, str]] = {}

    def python_image(self) -> Path:
        """Makes what python:3.10-slim-bookworm is: Debian with Python in /usr/local."""
        root = self.folder / "python"
        if (root / ".ready").exists():
            return root
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", str(root))
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        self.inside(root, {}, f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {PYTHON_NEEDS}")
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
        found = subprocess.run(
            ["python3.10", "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=False
        )
        prefix = found.stdout.strip() or max(map(str, Path.home().glob(".pyenv/versions/3.10.*")))
        run("cp", "-a", f"{prefix}/bin", f"{prefix}/lib", f"{prefix}/include", str(root / "usr" / "local"))
        # Programs that were installed there name the interpreter by its old path.
        self.inside(root, {}, "ln -sf python3.10 /usr/local/bin/python && ldconfig")
        self.inside(root, {}, "printf '#!/bin/sh\\nexec python -m pip \"$@\"\\n' > /usr/local/bin/pip")
        (root / ".ready").touch()
        return root

    def beam(self) -> Path:
        """Makes what is taken of Beam's image: its boot program."""
        root = self.folder / "beam"
        target = root / "opt" / "apache" / "beam"
        if not (target / "boot").exists():
            target.mkdir(parents=True)
            version = self.arguments["BEAM_IMAGE"].rpartition(":")[2]
            environment = os.environ | {"GOBIN": str(target), "CGO_ENABLED": "0"}
            run("go", "install", f"github.com/apache/beam/sdks/v2/python/container@v{version}", env=environment)
            (target / "container").rename(target / "boot")
        return root

    def inside(self, root: Path, environment: dict[str, str], command: str, user: str = "0:0", cwd: str = "/") -> None:
        """Runs a shell command in a root file system, with /proc, /dev and uv's downloads of this machine."""
        downloads = str(Path.home() / ".cache" / "uv")
        bound = {"/proc": "/proc", "/dev": "/dev", downloads: "/root/.cache/uv"}
        mounts = [f"mkdir -p {root}{there} {here}; mount --rbind {here} {root}{there}" for here, there in bound.items()]
        entered = f"exec chroot --userspec={user} {root} /bin/sh -c 'cd {cwd} && eval \"$COMMAND\"'"
        # A mount namespace of its own: whatever happens, nothing stays mounted.
        run(
            *("unshare", "--mount", "sh", "-ec", "; ".join([*mounts, entered])),
            env={"PATH": SYSTEM_PATH, "HOME": "/root", "COMMAND": command, **CERTIFICATES} | environment,
        )

    def build(self, name: str) -> Path:
        """Builds a stage and what it is built on."""
        if name == "beam":
            return self.beam()
        (_, base), *steps = self.stages[name]
        below = self.python_image() if base.startswith("${") else self.build(base)
        environment = dict(self.environments.get(base, {}))
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "-a", "--reflink=auto", str(below), str(root))
        cwd = environment.pop("", "/")
        for instruction, rest in steps:
            print(f"[{name}] {instruction} {rest[:150]}", flush=True)
            if instruction == "ENV":
                for key, value in re.findall(r"(\w+)=(\S+)", rest):
                    environment[key] = value.replace("$PATH", environment.get("PATH", SYSTEM_PATH))
            elif instruction == "WORKDIR":
                cwd = rest
                (root / cwd[1:]).mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                *sources, target = rest.split()
                origin = PROJECT
                if sources[0].startswith("--from="):
                    other = sources.pop(0).removeprefix("--from=")
                    origin = self.folder / other if (self.folder / other).exists() else self.build(other)
                    sources = [source.lstrip("/") for source in sources]
                place = root / os.path.join(cwd, target).lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                for source in sources:
                    whole = place / Path(source).name if target.endswith("/") else place
                    run("cp", "-a", str(origin / source), str(whole))
            elif instruction == "RUN":
                self.inside(root, environment, rest.replace("--no-cache-dir", "").replace("--no-cache", ""), cwd=cwd)
        self.environments[name] = environment | {"": cwd}
        return root

    def check(self, name: str) -> None:
        """Runs a node and Beam's boot program in the image, as its user."""
        root, environment = self.folder / name, dict(self.environments[name])
        cwd = environment.pop("")
        environment["HOME"] = cwd
        user = next(rest for instruction, rest in self.stages[name] if instruction == "USER")
        environment |= {"GIVEN": json.dumps(GIVEN), "INPUTS": json.dumps(INPUTS)}
        node = (
            "mkdir -p /tmp/kfp_outputs && python -m pipeline.kubeflow.entrypoint"
            " --executor_class_path components.import_schema_gen.executor.Executor"
            ' --json_serialized_invocation_args "$GIVEN" --json_serialized_inputs_spec_args "$INPUTS"'
        )
        for command in (
            "id -u && python --version && ! test -w /opt/venv && breast-density --help | head -3",
            "python -c 'import cv2, gdcm, pylibjpeg, tensorflow, tfx.components, pipeline.kubeflow.compiling'",
            node + " 2>/dev/null && ls -l /minio/b/run/schema && cat /tmp/kfp_outputs/output_metadata.json",
            "/opt/apache/beam/boot --help 2>&1 | grep worker_pool",
        ):
            print(f"[{name} as {user}] {command[:100]}", flush=True)
            self.inside(root, environment, command, user, cwd)


def main() -> None:
    """Builds and checks a target."""
    builder = Builder(Path(sys.argv[1]).resolve())
    target = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    builder.build(target)
    builder.check(target)


if __name__ == "__main__":
    main()
