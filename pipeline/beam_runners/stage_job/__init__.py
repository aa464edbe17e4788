"""The job that Flink runs for a stage: its source in Java, and the same compiled, so that nobody needs a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("StageJob.java")
JAR: Final = Path(__file__).with_name("stage_job.jar")
ENTRY_CLASS: Final = "breastdensity.StageJob"
