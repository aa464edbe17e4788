"""Runs the steps of kubeflow/Dockerfile without a Docker engine, in root file systems that debootstrap makes.

``python3 kubeflow/rootfs.py FOLDER [TARGET]`` as root, on Debian 12; TARGET is cpu. What a registry would give is put
together here: the Python image is Debian with this machine's Python 3.10, and Beam's boot program is built from its
source by Go. All else is the Dockerfile's own RUN, COPY, ENV and USER. It ends with checks as the image's user: what is
installed is what the lock says, a pipeline is compiled and walked there on phantoms, and Beam's worker pool does work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
# A pipeline small enough for a check: each container's own command, by the image's own programs.
WALK = """
breast-density phantom phantoms --exams 24 --seed 5 --distribution uniform --reduction 8
printf 'base: small
data: {folder: %s/phantoms/images, labels: %s/phantoms/labels.csv}
kubeflow: {serving: {claim: models, path: %s/models}}
pipeline:
  ingest: {longest_side: 320, splits: {train: .5, eval: .25, test: .25}, split_seed: "e2e 2"}
  preprocess: {output_size: 64}
  trainer: {image: {size: 64}, network: {width: .0625}, batch_size: 8, sides: mirrored}
  evaluator: {minimum_exam_accuracy: 0, minimum_exam_macro_recall: null, minimum_exam_quadratic_kappa: null}
  explainer: {pictures_a_group: 1, minimum_energy_in_breast: 0, feature_map_blocks: 0, sanity_views: 0}
' $PWD $PWD $PWD > walk.yaml
breast-density compile walk.yaml --runner kubeflow --out pipeline.yaml
breast-density walk pipeline.yaml --folder walk -p epochs=1
ls -R models | head -5
"""
# Beam hands its work to the pool, which starts a worker for it; the worker says whose package it has.
POOL = """
/opt/apache/beam/boot --worker_pool > pool.log 2>&1 &
timeout 900 python - <<'END' || { tail -5 pool.log; exit 1; }
import getpass, os, socket, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

for _ in range(120):
    try:
        socket.create_connection(("localhost", 50000)).close()
        break
    except OSError:
        time.sleep(.5)
pool = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
with beam.Pipeline(options=PipelineOptions([*pool, "--environment_config=localhost:50000"])) as pipeline:
    def work(name, us=os.getpid()):
        import getpass, os
        from pipeline.kubeflow.specification import kubeflow_name
        return kubeflow_name(name), getpass.getuser(), os.getpid() != us
    done = pipeline | beam.Create(["Trainer.CC_R"]) | beam.Map(work)
    assert_that(done, equal_to([("trainer-cc-r", getpass.getuser(), True)]))
print("the worker pool did the work in a process of its own, as", getpass.getuser())
END
"""


def stages(text: str) -> tuple[dict[str, list[tuple[str, str]]], dict[str, str]]:
    """Read a Dockerfile: the instructions of each stage, and the arguments before the first."""
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


def run(*command: str, **options: Any) -> None:
    """Run a command with options of ``subprocess.run``; exit if it fails."""
    subprocess.run(command, check=True, **options)


class Builder:
    """Builds stages, each in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stages, self.arguments = stages((PROJECT / "kubeflow" / "Dockerfile").read_text(encoding="utf-8"))

    def python_image(self) -> Path:
        """Make what python:3.10-slim-bookworm is: Debian with Python in /usr/local."""
        root = self.folder / "python"
        if (root / ".ready").exists():
            return root
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", str(root))
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")  # as a container's has
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
        """Make what is taken of Beam's image: its boot program."""
        root = self.folder / "beam"
        target = root / "opt" / "apache" / "beam"
        if not (target / "boot").exists():
            target.mkdir(parents=True)
            version = self.arguments["BEAM_IMAGE"].rpartition(":")[2]
            environment = os.environ | {"GOBIN": str(target), "CGO_ENABLED": "0"}
            run("go", "install", f"github.com/apache/beam/sdks/v2/python/container@v{version}", env=environment)
            (target / "container").rename(target / "boot")
        return root

    def inside(
        self,
        root: Path,
        environment: dict[str, str],
        command: str,
        user: str = "0:0",
        cwd: str = "/",
        *,
        alone: bool = False,
    ) -> None:
        """Run a shell command in a root file system, with /proc, /dev and uv's downloads of this machine.

        ``alone`` gives it network and processes of its own, which end with it: ports of this machine stay free.
        """
        downloads = str(Path.home() / ".cache" / "uv")
        bound = {"/proc": "/proc", "/dev": "/dev", downloads: "/root/.cache/uv"}
        mounts = [f"mkdir -p {root}{there} {here}; mount --rbind {here} {root}{there}" for here, there in bound.items()]
        entered = f"exec chroot --userspec={user} {root} /bin/sh -c 'cd {cwd} && eval \"$COMMAND\"'"
        # A mount namespace of its own: whatever happens, nothing stays mounted.
        run(
            *("unshare", "--mount", *(("--net", "--uts", "--pid", "--fork", "--kill-child") if alone else ())),
            *(
                "sh",
                "-ec",
                "; ".join([*(("ip link set lo up", "hostname localhost") if alone else ()), *mounts, entered]),
            ),
            env={"PATH": SYSTEM_PATH, "HOME": "/root", "COMMAND": command, **CERTIFICATES} | environment,
        )

    def environment_of(self, name: str) -> tuple[dict[str, str], str]:
        """Return the environment variables and the working folder at the end of a stage."""
        (_, base), *steps = self.stages[name]
        environment, cwd = self.environment_of(base) if base in self.stages else ({}, "/")
        for instruction, rest in steps:
            if instruction == "WORKDIR":
                cwd = rest
            elif instruction == "ENV":
                for key, value in re.findall(r"(\w+)=(\S+)", rest):
                    environment[key] = value.replace("$PATH", environment.get("PATH", SYSTEM_PATH))
        return environment, cwd

    def build(self, name: str) -> Path:
        """Build a stage and what it is built on."""
        if name == "beam":
            return self.beam()
        (_, base), *steps = self.stages[name]
        below = self.python_image() if base.startswith("${") else self.build(base)
        environment, cwd = self.environment_of(base) if base in self.stages else ({}, "/")
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "-a", "--reflink=auto", str(below), str(root))
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
        return root

    def check_versions(self, root: Path, environment: dict[str, str], user: str) -> None:
        """Compare what is installed in the image with uv.lock.

        Raises:
            SystemExit: Something is not of the lock.
        """
        lock = (PROJECT / "uv.lock").read_text(encoding="utf-8")
        locked = set(re.findall(r'^name = "(.+)"\nversion = "(.+)"$', lock, re.MULTILINE))
        locked |= {("pip", version) for _, rest in self.stages["build"] for version in re.findall(r" pip==(\S+)", rest)}
        script = (
            "import importlib.metadata as m; open('/tmp/installed', 'w').writelines("
            "f'{d.name} {d.version}\\n' for d in m.distributions(path=['/opt/venv/lib/python3.10/site-packages']))"
        )
        self.inside(root, environment, f'python -c "{script}"', user)
        lines = (root / "tmp" / "installed").read_text().splitlines()
        installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in map(str.split, lines)}
        if strange := installed - locked:
            raise SystemExit(f"Not of uv.lock: {sorted(strange)}")
        tfx, beam = dict(installed)["tfx"], dict(installed)["apache-beam"]
        print(f"{len(installed)} packages, all of uv.lock: TFX {tfx}, Beam {beam}", flush=True)

    def check(self, name: str) -> None:
        """Use the image as Kubeflow and Beam do, as its user."""
        root, (environment, cwd) = self.folder / name, self.environment_of(name)
        environment["HOME"] = cwd
        user = next(rest for instruction, rest in self.stages[name] if instruction == "USER")
        environment |= {"GIVEN": json.dumps(GIVEN), "INPUTS": json.dumps(INPUTS)}
        self.check_versions(root, environment, user)
        node = (
            "mkdir -p /tmp/kfp_outputs && python -m pipeline.kubeflow.entrypoint"
            " --executor_class_path components.import_schema_gen.executor.Executor"
            ' --json_serialized_invocation_args "$GIVEN" --json_serialized_inputs_spec_args "$INPUTS"'
        )
        for command, alone in (
            ("id -u && python --version && ! test -w /opt/venv && breast-density --help | head -3", False),
            ("python -c 'import cv2, imagecodecs, tensorflow, tfx.components, pipeline.kubeflow.compiling'", False),
            (node + " 2>/dev/null && ls -l /minio/b/run/schema && cat /tmp/kfp_outputs/output_metadata.json", False),
            (POOL, True),
            (WALK, True),
        ):
            print(f"[{name} as {user}] {' '.join(command.split())[:100]}", flush=True)
            self.inside(root, environment, f"set -e; {command}", user, cwd, alone=alone)


def main() -> None:
    """Build and check a target."""
    builder = Builder(Path(sys.argv[1]).resolve())
    target = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    begun = time.monotonic()
    root = builder.build(target)
    size = subprocess.run(["du", "-sm", str(root)], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"[{target}] built in {time.monotonic() - begun:.0f} s, {size} MB", flush=True)
    builder.check(target)
    print(f"[{target}] built and checked in {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
