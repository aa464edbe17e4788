"""Compile the job again: ``python -m pipeline.beam.staged.stage_job.build FLINK_LIB``, with javac of a JDK 17."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from pipeline.beam.staged.stage_job import JAR, SOURCE

_JAVA: Final = "17"
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the same bytes on any day


def compile_job(flink_lib: Path, jar: Path) -> None:
    """Compile the job. A compiler of the same version produces the same bytes.

    Args:
        flink_lib: Folder ``lib`` of a Flink distribution.
        jar: Jar to write.

    Raises:
        FileNotFoundError: javac is not on the path.
        subprocess.CalledProcessError: The source does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        jars = f"{flink_lib}/*"
        subprocess.run(["javac", "--release", _JAVA, "-g:none", "-cp", jars, "-d", folder, str(SOURCE)], check=True)
        with zipfile.ZipFile(jar, "w") as archive:
            for path in sorted(Path(folder).rglob("*.class")):
                archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _DATE), path.read_bytes())


if __name__ == "__main__":
    compile_job(Path(sys.argv[1]), JAR)
