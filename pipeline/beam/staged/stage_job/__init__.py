"""The job that Flink runs for a stage: its Java source, and the compiled jar, so that users need no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DATA_FILES: Final = ("StageJob.java", "stage_job.jar")
SOURCE: Final = Path(__file__).with_name(DATA_FILES[0])
JAR: Final = Path(__file__).with_name(DATA_FILES[1])
ENTRY_CLASS: Final = "breastdensity.StageJob"
