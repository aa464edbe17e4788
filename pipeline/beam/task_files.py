"""How the driver gives tasks to processes that it does not speak to, and hears of them: sealed files of one stage.

Tasks travel as pickles, which do what they like when they are read. So each file is encrypted and authenticated
(AES-256-GCM, NIST SP 800-38D) by a key that the driver and the workers were given beforehand: what another hand wrote,
or what was written for another task, is refused before it is unpickled.
"""

from __future__ import annotations

import pickle
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.beam.stage_tasks import Reading, Report, StageTask
from pipeline.beam.task_key import KEY_VARIABLE

_NONCE: Final = 12  # bytes, as the standard recommends


class TaskFileError(RuntimeError):
    """A task's file cannot be read, or was not written with this key for this task."""


@dataclass(frozen=True)
class TaskFiles:
    """The files of one stage.

    Attributes:
        folder: Path or URI, of this stage alone, that the driver and all workers see.
        key: 32 bytes.
    """

    folder: str
    key: bytes

    def give(self, task: StageTask, readings: Sequence[Reading]) -> None:
        """Writes a stage and the input of each of its tasks.

        Raises:
            OSError: A file cannot be written.
        """
        FileSystems.mkdirs(self.folder)
        self._write("stage", task)
        for number, reading in enumerate(readings):
            self._write(f"task-{number}", reading)

    def take(self, number: int) -> tuple[StageTask, Reading]:
        """Reads what a task is to do.

        Raises:
            TaskFileError: It is not there, or of another hand.
        """
        return self._read("stage"), self._read(f"task-{number}")

    def report(self, report: Report) -> None:
        """Writes what a task did; of several attempts the last one's report stays, whole.

        Raises:
            OSError: The file cannot be written.
        """
        self._write(f"report-{report.number}", report)

    def reported(self, number: int) -> bool:
        """Tells whether a task was done before."""
        return FileSystems.exists(FileSystems.join(self.folder, f"report-{number}"))

    def reports(self, tasks: int) -> list[Report]:
        """Reads what all tasks did.

        Raises:
            TaskFileError: One is not there, or of another hand.
        """
        return [self._read(f"report-{number}") for number in range(tasks)]

    def _bound(self, name: str) -> bytes:
        """Binds a file to its stage and task: it cannot stand in for another."""
        return f"{self.folder}\n{name}".encode()

    def _write(self, name: str, value: Any) -> None:
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + AESGCM(self.key).encrypt(nonce, pickle.dumps(value), self._bound(name))
        path = FileSystems.join(self.folder, name)
        begun = f"{path}.{uuid.uuid4().hex}"
        with FileSystems.create(begun, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(sealed)
        FileSystems.rename([begun], [path])

    def _read(self, name: str) -> Any:
        path = FileSystems.join(self.folder, name)
        try:
            with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                sealed = file.read()
            opened = AESGCM(self.key).decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound(name))
        except (OSError, InvalidTag, ValueError) as error:
            raise TaskFileError(
                f"{path} cannot be used ({type(error).__name__}): {KEY_VARIABLE} and the scratch folder must be the"
                " same for the driver and all workers."
            ) from error
        return pickle.loads(opened)
