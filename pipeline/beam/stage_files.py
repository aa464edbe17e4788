"""What stages hand to each other: files that a task has written to its end before anybody hears of them.

A file belongs to one attempt of one task, and is read only if the run took that attempt's answer. So a task that is
repeated, for whatever reason and whatever it does differently, can neither lose an element nor give it twice.

Headers of an archive name patients: blocks are encrypted with AES-256-GCM (NIST SP 800-38D) by a key that is made anew
for each run and kept nowhere. A block that was cut, changed or exchanged is not read.
"""

from __future__ import annotations

import logging
import os
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LOG: Final = logging.getLogger(__name__)
_NONCE: Final = 12  # bytes, as the standard recommends
_KEY_BITS: Final = 256


class StageFileError(RuntimeError):
    """A file that one stage wrote for another cannot be read; the message tells which and what to do."""


@dataclass(frozen=True)
class Block:
    """Elements of a buffer for one of its parts.

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
    """Where a block is.

    Attributes:
        buffer: Id of its buffer.
        part: Number of its part.
        length: Bytes of its elements.
        file: Path or URI.
        start: Where it begins there.
        stored: Bytes it takes there.
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
        folder: Path or URI that the driver and all workers see.
        key: Of the encryption.
    """

    folder: str
    key: bytes

    @classmethod
    def fresh(cls, scratch: str) -> StageFiles:
        """Makes a folder of its own, with its key, inside another one."""
        folder = FileSystems.join(scratch, uuid.uuid4().hex)
        FileSystems.mkdirs(folder)
        return cls(folder, AESGCM.generate_key(_KEY_BITS))

    def write(self, blocks: Iterable[Block]) -> tuple[Piece, ...]:
        """Writes blocks to one new file; without any there is none.

        Raises:
            OSError: The file cannot be written.
        """
        given = [block for block in blocks if block.data]
        if not given:
            return ()
        name = uuid.uuid4().hex
        path, pieces, start = FileSystems.join(self.folder, name), [], 0
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for block in given:
                nonce = secrets.token_bytes(_NONCE)
                stored = nonce + AESGCM(self.key).encrypt(nonce, block.data, f"{name} {start}".encode())
                file.write(stored)
                pieces.append(Piece(block.buffer, block.part, len(block.data), path, start, len(stored)))
                start += len(stored)
        return tuple(pieces)

    def read(self, piece: Piece) -> bytes:
        """Reads a block's elements.

        Raises:
            StageFileError: The file is not here, or the block is not what was written.
        """
        try:
            with FileSystems.open(piece.file, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                file.seek(piece.start)
                stored = file.read(piece.stored)
            place = f"{os.path.basename(piece.file)} {piece.start}".encode()
            return AESGCM(self.key).decrypt(stored[:_NONCE], stored[_NONCE:], place)
        except (OSError, InvalidTag, ValueError) as error:
            raise StageFileError(
                f"{piece.file} cannot be read back ({type(error).__name__}): the scratch folder must be the same on"
                " the driver and all workers, and nothing may change it during a run."
            ) from error

    def remove(self) -> None:
        """Removes the folder; a task that was given up may still write there, which a warning says."""
        try:
            FileSystems.delete([self.folder])
        except BeamIOError as error:
            _LOG.warning("%s could not be removed (%s): delete it.", self.folder, error)
