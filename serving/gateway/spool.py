"""The spool on disk. Images are complete and flushed to disk before their sender gets a success response.

::

    spool/
      secret                      key of the keyed hashes, 0600
      lock                        held by the running gateway
      gateway.sqlite              states of the studies
      incoming/                   files that are being received; emptied at the start
      studies/KEY/images/NAME.dcm accepted images as received
      studies/KEY/results/N/      pictures and DICOM results of revision N

Names are keyed hashes: no name of a folder or file reveals a UID.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEY_DIGITS: Final = 20
_NAME_DIGITS: Final = 24
_SECRET_BYTES: Final = 32


class SpoolError(Exception):
    """The spool cannot be used. The message is one sentence that says what to do."""


class SpoolFullError(Exception):
    """The disk is full; nothing of the request was accepted."""


class TooLargeError(Exception):
    """A file is too large."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the operating system's error of a full disk into `SpoolFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpoolFullError("The gateway's disk is full: try again later.") from error
        raise


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Staged:
    """A file that is complete and flushed to disk, but not accepted yet.

    Attributes:
        path: Path of the file.
        digest: SHA-256 of its bytes, hexadecimal.
        size: Size in bytes.
    """

    path: Path
    digest: str
    size: int


class Incoming:
    """A file that is being received."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open a new file.

        Args:
            folder: Folder of the file.
            max_bytes: Largest size of the file.

        Raises:
            SpoolFullError: The disk is full.
        """
        with disk_errors():
            descriptor, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self._left = max_bytes
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            TooLargeError: The file becomes too large.
            SpoolFullError: The disk is full.
        """
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError
        with disk_errors():
            self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Staged:
        """Flush the file to disk.

        Raises:
            SpoolFullError: The disk is full.
        """
        with disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Staged(self._path, self._hash.hexdigest(), self._size)

    def discard(self) -> None:
        """Remove the file, in any state."""
        with suppress(OSError):  # the disk may still be full
            self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """The folder of accepted data. One process at a time uses it; close it at the end."""

    def __init__(self, root: Path, free_bytes: int = 0) -> None:
        """Open or create the spool, and remove files that were never accepted.

        Args:
            root: Folder of the spool.
            free_bytes: Free space on the disk below which nothing is received.

        Raises:
            SpoolError: Another process uses the spool, or it cannot be created.
        """
        self.root = root
        self._free_bytes = free_bytes
        self._incoming = root / "incoming"
        self._studies = root / "studies"
        try:
            for folder in (root, self._incoming, self._studies):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (root / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SpoolError(f"Another gateway uses the spool {root}: stop it, or give this one its own.") from error
        except OSError as error:
            raise SpoolError(f"The spool {root} cannot be used ({error.strerror}): make it writable.") from error
        for left in self._incoming.iterdir():
            left.unlink()
        self._secret = _secret(root / "secret")

    def close(self) -> None:
        """Release the spool for other processes."""
        self._lock.close()

    def _hash(self, kind: str, value: str) -> str:
        return hmac.new(self._secret, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()

    def study_key(self, *study_uids: str) -> str:
        """Return the key of a study, or of an exam made of several: a keyed hash, 20 hexadecimal digits."""
        return self._hash("study", "\\".join(sorted(set(study_uids))))[:_KEY_DIGITS]

    def instance_id(self, sop_uid: str) -> str:
        """Return the identifier of an image: a keyed hash of its UID, 24 hexadecimal digits."""
        return self._hash("instance", sop_uid)[:_NAME_DIGITS]

    def images(self, key: str) -> Path:
        """Return the folder of the images of a study."""
        return self._studies / key / "images"

    def results(self, key: str, revision: int) -> Path:
        """Return the folder of the results of a revision."""
        return self._studies / key / "results" / str(revision)

    def study_keys(self) -> list[str]:
        """Return the keys of studies that have a folder."""
        return sorted(path.name for path in self._studies.iterdir())

    def has_room(self, needed: int = 0) -> bool:
        """Return True if the disk has space for a number of bytes."""
        return shutil.disk_usage(self.root).free >= self._free_bytes + needed

    def receive(self, max_bytes: int, needed: int = 0) -> Incoming:
        """Open a file for receiving.

        Args:
            max_bytes: Largest size of the file.
            needed: Known size of the file; 0 is unknown.

        Raises:
            SpoolFullError: The disk is full.
        """
        if not self.has_room(needed):
            raise SpoolFullError("The gateway's disk is nearly full: try again later.")
        return Incoming(self._incoming, max_bytes)

    def keep(self, staged: Staged, key: str, name: str) -> None:
        """Move a received file to its study, durably: it survives a power loss after the return.

        Raises:
            SpoolFullError: The disk is full.
        """
        folder = self.images(key)
        with disk_errors():
            for made in (folder.parent, folder):
                if not made.is_dir():
                    made.mkdir(mode=0o700)
                    sync_folder(made.parent)
            os.replace(staged.path, folder / name)
            sync_folder(folder)

    def remove_image(self, key: str, name: str) -> None:
        """Remove an image that another one replaced."""
        (self.images(key) / name).unlink(missing_ok=True)

    def remove_study(self, key: str) -> None:
        """Remove all files of a study."""
        if (self._studies / key).exists():
            shutil.rmtree(self._studies / key)

    def remove_results(self, key: str, before: int) -> None:
        """Remove the results of earlier revisions of a study."""
        folder = self._studies / key / "results"
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.isdecimal() and int(path.name) < before:
                shutil.rmtree(path, ignore_errors=True)

    def write_results(self, key: str, revision: int, files: Mapping[str, bytes]) -> None:
        """Write the results of a revision atomically: the folder exists with all files flushed, or not at all.

        Raises:
            SpoolFullError: The disk is full.
        """
        target = self.results(key, revision)
        with disk_errors():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)  # from an attempt that did not finish
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
            try:
                for name, data in files.items():
                    with (temporary / name).open("wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                sync_folder(temporary)
                os.replace(temporary, target)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(target.parent)
            sync_folder(target.parent.parent)


def _secret(path: Path) -> bytes:
    """Read the key of the keyed hashes; create it at the first start."""
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:  # mkstemp creates it with mode 0600
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        sync_folder(path.parent)
    value = path.read_bytes()
    if len(value) != _SECRET_BYTES:
        raise SpoolError(f"{path} is damaged: put back the file of the last backup, or begin with an empty spool.")
    return value
