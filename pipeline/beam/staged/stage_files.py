"""The sealed files of a run: what stages hand to each other, and the tasks and reports of one stage.

Stages hand elements to each other in files that a task writes to the end before it reports them. A file belongs to one
attempt of one task. It is read only if the run accepted the report of that attempt. So a repeated task can neither lose
an element nor deliver it twice, whatever it does differently.

A driver hands tasks to workers that it has no connection to as pickles, and unpickling can run code. So every file is
encrypted and authenticated with AES-256-GCM (NIST SP 800-38D) and bound to its place: a file that was not sealed with
the key, or that was sealed for another task, is refused before it is unpickled. Headers of an archive name patients, so
elements are encrypted too, with a key that is generated for each run and never stored.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.beam.requirements import KEY_VARIABLE

if TYPE_CHECKING:
    from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport

_LOG: Final = logging.getLogger(__name__)
_NONCE: Final = 12  # bytes, as the standard recommends
_KEY_BITS: Final = 256


class StageFileError(RuntimeError):
    """A file that one stage wrote for another cannot be read; the message names the file and the remedy."""


class TaskFileError(RuntimeError):
    """A task's file cannot be read, or was not written with this key for this task."""


def _seal(key: bytes, data: bytes, place: str) -> bytes:
    """Encrypt data and bind it to a place."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, place.encode())


def _unseal(key: bytes, sealed: bytes, place: str) -> bytes:
    """Decrypt what :func:`_seal` returned; another key, place or content raises InvalidTag or ValueError."""
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], place.encode())


@dataclass(frozen=True)
class Block:
    """Elements for one part of a buffer.

    Attributes:
        buffer: Id of the buffer.
        part: Number of the part.
        data: Encoded elements.
    """

    buffer: bytes
    part: int
    data: bytes


@dataclass(frozen=True)
class Piece:
    """Where a block is stored.

    Attributes:
        buffer: Id of its buffer.
        part: Number of its part.
        length: Size of its elements, bytes.
        file: Path or URI.
        start: Offset in the file, bytes.
        stored: Size in the file, bytes.
    """

    buffer: bytes
    part: int
    length: int
    file: str
    start: int
    stored: int


@dataclass(frozen=True)
class StageFiles:
    """The folder of a run.

    Attributes:
        folder: Path or URI that the driver and all workers can open.
        key: Encryption key.
    """

    folder: str
    key: bytes

    @classmethod
    def fresh(cls, scratch: str) -> StageFiles:
        """Create a folder inside another one, and a key for it."""
        folder = FileSystems.join(scratch, uuid.uuid4().hex)
        FileSystems.mkdirs(folder)
        return cls(folder, AESGCM.generate_key(_KEY_BITS))

    def write(self, blocks: Iterable[Block]) -> tuple[Piece, ...]:
        """Write blocks to one new file; without elements no file is written.

        Raises:
            OSError: The file cannot be written.
        """
        filled = [block for block in blocks if block.data]
        if not filled:
            return ()
        name = uuid.uuid4().hex
        path, pieces, start = FileSystems.join(self.folder, name), [], 0
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for block in filled:
                stored = _seal(self.key, block.data, f"{name} {start}")
                file.write(stored)
                pieces.append(Piece(block.buffer, block.part, len(block.data), path, start, len(stored)))
                start += len(stored)
        return tuple(pieces)

    def read(self, piece: Piece) -> bytes:
        """Return the elements of a block.

        Raises:
            StageFileError: The file is missing, or the block is not what was written.
        """
        try:
            with FileSystems.open(piece.file, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                file.seek(piece.start)
                stored = file.read(piece.stored)
            return _unseal(self.key, stored, f"{os.path.basename(piece.file)} {piece.start}")
        except (OSError, InvalidTag, ValueError) as error:
            raise StageFileError(
                f"{piece.file} cannot be read back ({type(error).__name__}): the scratch folder must be the same on"
                " the driver and all workers, and nothing may change it during a run."
            ) from error

    def remove(self) -> None:
        """Remove the folder; log a warning if an abandoned task still writes there."""
        try:
            FileSystems.delete([self.folder])
        except BeamIOError as error:
            _LOG.warning("%s could not be removed (%s): delete it.", self.folder, error)


@dataclass(frozen=True)
class TaskFiles:
    """The files of one stage: what its tasks do, and what they report.

    Attributes:
        folder: Path or URI of this stage only; the driver and all workers can open it.
        key: 32 bytes, shared by the driver and the workers.
    """

    folder: str
    key: bytes

    def write_tasks(self, task: StageTask, readings: Sequence[Reading]) -> None:
        """Write a stage and the input of each of its tasks.

        Raises:
            OSError: A file cannot be written.
        """
        FileSystems.mkdirs(self.folder)
        self._write("stage", task)
        for number, reading in enumerate(readings):
            self._write(f"task-{number}", reading)

    def read_task(self, number: int) -> tuple[StageTask, Reading]:
        """Return a task's stage and input.

        Raises:
            TaskFileError: It is missing, or not sealed with this key.
        """
        return self._read("stage"), self._read(f"task-{number}")

    def write_report(self, report: TaskReport) -> None:
        """Write what a task did. Of several attempts the last report remains, complete.

        Raises:
            OSError: The file cannot be written.
        """
        self._write(f"report-{report.number}", report)

    def has_report(self, number: int) -> bool:
        """Return True if a task has finished before."""
        result: bool = FileSystems.exists(FileSystems.join(self.folder, f"report-{number}"))
        return result

    def read_reports(self, tasks: int) -> list[TaskReport]:
        """Return the reports of all tasks.

        Raises:
            TaskFileError: A report is missing, or not sealed with this key.
        """
        return [self._read(f"report-{number}") for number in range(tasks)]

    def _write(self, name: str, value: Any) -> None:
        path = FileSystems.join(self.folder, name)
        unfinished = f"{path}.{uuid.uuid4().hex}"
        with FileSystems.create(unfinished, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(_seal(self.key, pickle.dumps(value), f"{self.folder}\n{name}"))
        FileSystems.rename([unfinished], [path])

    def _read(self, name: str) -> Any:
        path = FileSystems.join(self.folder, name)
        try:
            with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                sealed = file.read()
            opened = _unseal(self.key, sealed, f"{self.folder}\n{name}")
        except (OSError, InvalidTag, ValueError) as error:
            raise TaskFileError(
                f"{path} cannot be used ({type(error).__name__}): {KEY_VARIABLE} and the scratch folder must be the"
                " same for the driver and all workers."
            ) from error
        return pickle.loads(opened)
