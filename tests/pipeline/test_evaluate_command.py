"""The command ``evaluate`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.evaluate.tables import evaluate_file, metric_tables
from tests.waiting import HANG

PROJECT = Path(__file__).resolve().parents[2]
HEADER = "exam_id,view,label,p_A,p_B,p_C,p_D,acquisition_system\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = []
    for exam in range(24):
        label = exam % 4
        grade = (label + (exam % 6 == 0)) % 4
        row = ",".join("0.7" if c == grade else "0.1" for c in range(4))
        for view in ("CC_R", "CC_L", "MLO_R", "MLO_L")[: 3 if exam == 5 else 4]:
            lines.append(f"e{exam},{view},{'ABCD'[label]},{row},{'IMS Giotto' if exam < 3 else 'GE 53.40'}\n")
    path = tmp_path / "predictions.csv"
    path.write_text(HEADER + "".join(lines))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from pipeline.cli import main; main_error = None\ntry:\n    main()\nfinally:\n"
    code += "    assert not any(m.split('.')[0] in ('tensorflow', 'tfx') for m in sys.modules), 'slow start'\n"
    command = [sys.executable, "-c", code, "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=HANG, check=False)


def test_json_has_every_level_and_starts_without_tensorflow(table: Path) -> None:
    done = run(table, "--json", "--draws", 100)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == ["exam", "breast", "view"]
    assert [result[level][0]["n"] for level in result] == [24, 48, 95]
    whole = result["exam"][0]
    assert whole["metrics"]["accuracy"] == {
        "value": pytest.approx(20 / 24, abs=1e-6),
        "ci95": [0.641469, 0.933213],
        "n": 24,
    }
    assert whole["confusion_matrix"][0] == [4, 2, 0, 0]
    systems = {e["slice"]["acquisition_system"]: e for e in result["exam"] if set(e["slice"]) == {"acquisition_system"}}
    assert {name: (e["n"], e["small"]) for name, e in systems.items()} == {
        "IMS Giotto": (3, True),
        "GE 53.40": (21, False),
    }


def test_a_bad_table_is_one_sentence(table: Path) -> None:
    table.write_text(table.read_text().replace("e5,CC_L,B", "e5,CC_L,Q"))
    done = run(table)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: predictions.csv line ")
    assert line.endswith("column label: received 'Q'; write one of A, B, C, D.")
    assert done.stdout == ""


def test_tables_name_figures_intervals_small_slices_and_missing_views(table: Path) -> None:
    from io import StringIO

    from rich.console import Console

    terminal = StringIO()
    console = Console(file=terminal, width=160)
    for part in metric_tables(*evaluate_file(table, 2.0, 100, 1)):
        console.print(part)
    text = " ".join(terminal.getvalue().split())
    assert "Accuracy, four classes │ 83.3 % 64.1 to 93.3 %" in text.replace("\u00a0", " ")
    assert "exams, n = 24" in text
    assert "IMS Giotto │ 3 (too few)" in text
    assert "1 of 96 views missing" in text
    assert "Calibration error before temperature" in text
