"""The spool on disk: images are there whole and flushed before anybody is told that they were accepted.

::

    spool/
      secret                      key of the keyed hashes, 0600
      lock                        held by the gateway that runs
      gateway.sqlite              states of the studies
      incoming/                   files that are still being received; emptied at the start
      studies/KEY/images/NAME.dcm accepted images as they came
      studies/KEY/results/N/      pictures and DICOM results of revision N

Names are keyed hashes: neither a folder nor a file tells a UID.
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
    """The spool cannot be used. One sentence with the way out."""


class SpoolFullError(Exception):
    """The disk has no room for what comes; nothing of it was accepted."""


class TooLargeError(Exception):
    """A file is larger than one may be."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns the operating system's word for a full disk into `SpoolFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpoolFullError("The gateway's disk is full: try again later.") from error
        raise


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Staged:
    """A file that was received whole and flushed, and is not accepted yet.

    Attributes:
        path: Where it is.
        digest: SHA-256 of its bytes, hexadecimal.
        size: Bytes.
    """

    path: Path
    digest: str
    size: int


class Incoming:
    """A file while it is received."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Opens a new file.

        Args:
            folder: Where to.
            max_bytes: Most that it may get.

        Raises:
            SpoolFullError: There is no room.
        """
        with disk_errors():
            descriptor, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self._left = max_bytes
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Adds bytes.

        Raises:
            TooLargeError: The file gets too large.
            SpoolFullError: There is no room.
        """
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError
        with disk_errors():
            self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Staged:
        """Flushes the file to disk.

        Raises:
            SpoolFullError: There is no room.
        """
        with disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Staged(self._path, self._hash.hexdigest(), self._size)

    def discard(self) -> None:
        """Removes the file, in whatever state it is."""
        with suppress(OSError):  # of a full disk, again
            self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """The folder. One process at a time uses it; close it."""

    def __init__(self, root: Path, free_bytes: int = 0) -> None:
        """Opens the spool, made where there is none, and removes what was never accepted.

        Args:
            root: Its folder.
            free_bytes: Nothing is received while the disk has less free.

        Raises:
            SpoolError: Another process uses it, or it cannot be made.
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
        """Lets another process use the spool."""
        self._lock.close()

    def _hash(self, kind: str, value: str) -> str:
        return hmac.new(self._secret, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()

    def study_key(self, *study_uids: str) -> str:
        """Names the study of a UID, or the exam made of several: a keyed hash, 20 hexadecimal digits."""
        return self._hash("study", "\\".join(sorted(set(study_uids))))[:_KEY_DIGITS]

    def instance_id(self, sop_uid: str) -> str:
        """Names the image of a UID: a keyed hash, 24 hexadecimal digits."""
        return self._hash("instance", sop_uid)[:_NAME_DIGITS]

    def images(self, key: str) -> Path:
        """Folder of a study's images."""
        return self._studies / key / "images"

    def results(self, key: str, revision: int) -> Path:
        """Folder of what was made of a revision of a study."""
        return self._studies / key / "results" / str(revision)

    def study_keys(self) -> list[str]:
        """Studies that have a folder."""
        return sorted(path.name for path in self._studies.iterdir())

    def has_room(self, needed: int = 0) -> bool:
        """Tells whether the disk has room for so many bytes more."""
        return shutil.disk_usage(self.root).free >= self._free_bytes + needed

    def receive(self, max_bytes: int, needed: int = 0) -> Incoming:
        """Begins to receive a file.

        Args:
            max_bytes: Most that it may have.
            needed: What it is known to need.

        Raises:
            SpoolFullError: There is no room.
        """
        if not self.has_room(needed):
            raise SpoolFullError("The gateway's disk is nearly full: try again later.")
        return Incoming(self._incoming, max_bytes)

    def keep(self, staged: Staged, key: str, name: str) -> None:
        """Moves a received file to its study, for good: both survive a loss of power from here on.

        Raises:
            SpoolFullError: There is no room.
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
        """Removes an image that another one replaced."""
        (self.images(key) / name).unlink(missing_ok=True)

    def remove_study(self, key: str) -> None:
        """Removes all of a study."""
        if (self._studies / key).exists():
            shutil.rmtree(self._studies / key)

    def remove_results(self, key: str, before: int) -> None:
        """Removes the results of a study's revisions before this one."""
        folder = self._studies / key / "results"
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.isdecimal() and int(path.name) < before:
                shutil.rmtree(path, ignore_errors=True)

    def write_results(self, key: str, revision: int, files: Mapping[str, bytes]) -> None:
        """Writes the results of a revision: the folder is there with all files flushed, or not at all.

        Raises:
            SpoolFullError: There is no room.
        """
        target = self.results(key, revision)
        with disk_errors():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)  # of an attempt that did not come to its end
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
    """Reads the key of the keyed hashes, made at the first start."""
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it 0600
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        sync_folder(path.parent)
    value = path.read_bytes()
    if len(value) != _SECRET_BYTES:
        raise SpoolError(f"{path} is damaged: put back the file of the last backup, or begin with an empty spool.")
    return value
