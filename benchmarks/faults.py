"""Server and gateway under load and faults: no crash, no wrong answer, no accepted study lost.

    python -m benchmarks.faults [--answers 400] [--studies 30] [--kills 4]

Prints a section of Markdown. Every answer is compared with what the model version that gave it says in this process.
The model is a small one: what is measured is the machinery, and how it holds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import gateway_faults, server_faults
from benchmarks.serving import save_model, served
from benchmarks.timing import load
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms

_FEW: Final = 4
_FLOOD: Final = 64  # clients; the server runs and queues 40 on two cores
_DISK_MIB: Final = 16


def of_server(folder: Path, answers: int) -> Iterator[server_faults.Tally | str]:
    """Measure the model server; return lines of Markdown, and the counts behind them."""
    exams = server_faults.exams_of(6)
    spare = server_faults.make_models(folder, (1, 2, 3))
    truth = server_faults.truth_of(spare, (1, 2, 3), exams)
    models = folder / "models"
    shutil.copytree(spare / "1", models / "1")
    yield server_faults.HEADER
    with served(models) as (address, _):
        faults = (
            (f"{_FEW} clients", _FEW, server_faults.answers(answers)),
            (f"flood: {_FLOOD} clients", _FLOOD, server_faults.answers(2 * answers)),
            (
                f"{_FEW} clients beside broken, oversized and unfinished requests",
                _FEW,
                server_faults.vandals(address, answers),
            ),
            (
                f"{_FEW} clients, model swapped twice",
                _FEW,
                server_faults.swaps(models, spare, (2, 3), answers // 3),
            ),
        )
        for what, clients, during in faults:
            tally = server_faults.flood(address, exams, truth, clients, during)
            yield tally
            yield tally.row(what)
    port = server_faults.free_port()
    during = server_faults.restarts(models, port, 2, answers // 3)
    tally = server_faults.flood(f"127.0.0.1:{port}", exams, truth, _FEW, during)
    yield tally
    yield tally.row(f"{_FEW} clients, server killed and started again twice")


def of_gateway(folder: Path, studies: int, kills: int) -> Iterator[gateway_faults.Deliveries | str]:
    """Measure the gateway; return lines of Markdown, and the measurements behind them."""
    size = server_faults.SIZE
    recipe = PreprocessingRecipe(longest_side=256, preprocess=PreprocessConfig(method="none", output_size=size))
    models = save_model(folder / "model", size, server_faults.WIDTH, recipe.model_dump_json(), networks=1)
    generate_phantoms(PhantomConfig(exams=4, seed=3, reduction=16, workers=1, repeat_share=0), folder / "set")
    exams = sorted(path for path in (folder / "set" / "images").iterdir() if path.is_dir())
    expected = gateway_faults.expected_of(models, exams)
    yield gateway_faults.HEADER
    with served(models) as (address, _):
        gateway = gateway_faults.GatewayUnderTest(folder, folder / "spool", address)
        found = gateway_faults.killed(gateway, exams, expected, kills, studies)
        yield found
        yield found.row(f"process killed {kills} times while studies come")
        with gateway_faults.small_disk(_DISK_MIB) as disk:
            if disk is None:
                yield "\nThe full disk was left out: mounting a small one takes root."
                return
            small, grow = disk
            gateway = gateway_faults.GatewayUnderTest(folder, small / "spool", address)
            found = gateway_faults.full_disk(gateway, grow, exams, expected, 20)
            yield found
            yield found.row(f"disk of {_DISK_MIB} MiB full, then larger")


def main() -> None:
    """Run the benchmark; exit code 1 where an answer was wrong or a study was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=400, help="of the model server, under each load")
    parser.add_argument("--studies", type=int, default=30, help="accepted by the gateway while it is killed")
    parser.add_argument("--kills", type=int, default=4, help="of the gateway")
    arguments = parser.parse_args()
    print(f"## Loads and faults\n\n{load()} `explain_exam`, one exam of four images a request:\n")
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        for found in of_server(Path(name), arguments.answers):
            if isinstance(found, str):
                print(found, flush=True)
            else:
                bad += found.wrong + found.lost
        print("\nStudies sent to the gateway by HTTP:\n")
        for outcome in of_gateway(Path(name), arguments.studies, arguments.kills):
            if isinstance(outcome, str):
                print(outcome, flush=True)
            else:
                bad += outcome.wrong + outcome.lost
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
