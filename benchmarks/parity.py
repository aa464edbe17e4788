"""The same exams through Beam and TFMA, and through the gateway: their probabilities side by side.

    python -m benchmarks.parity [RUN] [--exams 100]

RUN is the output folder of a finished run on a folder of DICOM files, ``demo`` where nothing else is said. The exams of
all its splits are graded twice by the model it pushed: from its preprocessed records by TFMA's extractors on Beam,
combined and calibrated as the Evaluator does; and from its DICOM files, sent to the gateway as an upload. Prints a
section of Markdown.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import httpx
import numpy as np
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from components.common.shards import shards_of, split_folder
from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import build_eval_config, custom_extractors
from components.evaluator.tfma_metrics import CANDIDATE
from components.statistics.calibration import calibrate, load_temperature
from components.statistics.combination import combine_views
from schema import features as f
from serving.gateway.config import TOKEN_VARIABLE, GatewayConfig
from serving.gateway.run import running_gateway
from serving.server.run import start_server

_SCHEMA: Final = Path(__file__).parents[1] / "schema" / "schema.pbtxt"
_WAIT_SECONDS: Final = 600.0


def _newest(run: Path, node: str, output: str) -> Path:
    return max((run / "artifacts" / node / output).iterdir(), key=lambda folder: int(folder.name))


def _row(extracts: dict[str, Any]) -> tuple[str, str, list[float]]:
    features = extracts[tfma.FEATURES_KEY]
    exam, view = (np.asarray(features[name]).ravel()[0].decode() for name in (f.EXAM_ID, f.VIEW))
    return exam, view, np.asarray(extracts[tfma.PREDICTIONS_KEY]["probabilities"]).ravel().tolist()


def by_tfma(examples: Path, model: Path) -> dict[str, NDArray[Any]]:
    """Grade every exam of the preprocessed records with TFMA's extractors; float64 [4] by exam."""
    temperature = load_temperature(str(model))
    eval_config = build_eval_config(EvaluatorConfig(), {CANDIDATE: temperature}, 1)
    shared = tfma.default_eval_shared_model(str(model), tags=["serve"], eval_config=eval_config)
    schema = text_format.Parse(_SCHEMA.read_text(encoding="utf-8"), schema_pb2.Schema())
    files = [file for split in ("train", "eval", "test") for file in shards_of(split_folder(str(examples), split))]
    source = tfxio.TFExampleRecord(files, schema=schema, raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
    with tempfile.TemporaryDirectory() as folder:
        with beam.Pipeline() as pipeline:
            extracts = pipeline | source.BeamSource() | tfma.BatchedInputsToExtracts()
            for extractor in custom_extractors(shared, eval_config, None):
                extracts |= extractor.stage_name >> extractor.ptransform
            lines = extracts | beam.Map(_row) | beam.Map(json.dumps)
            lines | beam.io.WriteToText(str(Path(folder, "rows")))
        rows = [json.loads(line) for file in sorted(Path(folder).iterdir()) for line in file.read_text().splitlines()]
    exams, views, probabilities = zip(*sorted(rows), strict=True)
    combined = combine_views(exams, views, np.array(probabilities))
    calibrated = calibrate(combined.probabilities, temperature)
    return dict(zip(combined.exam_ids, calibrated, strict=True))


def by_gateway(files: dict[str, list[Path]], serving: Path) -> dict[str, NDArray[Any]]:
    """Grade exams by sending their files to a gateway in front of a model server; float64 [4] by exam."""
    token = secrets.token_hex(32)
    found = {}
    with tempfile.TemporaryDirectory() as spool, start_server(serving, grpc_port=0, rest_port=0) as server:
        config = GatewayConfig.model_validate(
            {
                "spool": spool,
                "model": {"address": server.grpc_address},
                "dicom": None,
                "http": {"port": 0},
                "grouping": {"settle_seconds": 0},
                "grading": {"policy": {"minimum_views": 1}},
                "limits": {"waiting_studies": len(files) + 1},
            }
        )
        with running_gateway(config, {TOKEN_VARIABLE: token}) as gateway:
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=gateway.http_address, headers=headers, trust_env=False, timeout=60) as client:
                keys = {}
                for exam, paths in files.items():
                    sent = [("files", (f"{n}.dcm", path.read_bytes())) for n, path in enumerate(paths)]
                    [keys[exam]] = client.post("/api/studies", files=sent).raise_for_status().json()["keys"]
                deadline = time.monotonic() + _WAIT_SECONDS
                for exam, key in keys.items():
                    while (study := client.get(f"/api/studies/{key}").json())["state"] not in ("graded", "refused"):
                        if time.monotonic() > deadline:
                            raise TimeoutError(f"Study {key} is still {study['state']}.")
                        time.sleep(0.2)
                    grades = study["exam"]["probabilities"]
                    found[exam] = np.array([grades[density] for density in f.DENSITY_CLASSES])
    return found


def main() -> None:
    """Run the comparison; exit code 1 where a probability differs by more than 1e-5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("demo"), help="output folder of a finished run")
    parser.add_argument("--exams", type=int, default=100)
    arguments = parser.parse_args()
    if not (arguments.run / "serving").is_dir():
        print(
            f"## Parity\n\nThere is no finished run with a pushed model in `{arguments.run}`, so no exam is compared:"
        )
        print("run `make demo` first.")
        return
    report = _newest(arguments.run, "DicomExampleGen", "ingest_report") / "files.jsonl"
    files: dict[str, list[Path]] = defaultdict(list)
    for line in report.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["outcome"] == "accepted":
            files[row["exam_id"]].append(arguments.run / "data" / "images" / row["file"])
    chosen = {exam: sorted(files[exam]) for exam in sorted(files)[: arguments.exams]}
    [serving] = (arguments.run / "serving").iterdir()
    model = max(serving.iterdir(), key=lambda folder: int(folder.name))
    offline = by_tfma(_newest(arguments.run, "MammogramPreprocessor", "preprocessed_examples"), model)
    online = by_gateway(chosen, serving)
    difference = max(float(np.abs(offline[exam] - online[exam]).max()) for exam in chosen)
    same = sum(int(offline[exam].argmax() == online[exam].argmax()) for exam in chosen)
    print(f"## Parity\n\n{len(chosen)} exams, Beam and TFMA against the gateway: largest difference of a probability")
    print(f"{difference:.1e}, the same class in {same} of {len(chosen)}.")
    sys.exit(difference > 1e-5)


if __name__ == "__main__":
    main()
