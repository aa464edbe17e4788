"""Local files, without importing TensorFlow: write a file atomically, and read a file that holds a key."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never a part.

    Args:
        path: File to write; missing folders are created.
        data: Its bytes.

    Raises:
        OSError: The file cannot be written; the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_key_file(path: Path, origin: str, error: type[ValueError]) -> bytes:
    """Read a file that holds a key, as Docker and Kubernetes mount secrets.

    Args:
        path: The file.
        origin: The setting that names the file, for the message.
        error: Exception to raise if the file cannot be read, is not a regular file, or everyone may read it.

    Returns:
        The file's bytes.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise error(f"{origin} names {path}, which is not a regular file: name the file that holds the key.")
        if mode & stat.S_IROTH:
            raise error(
                f"{origin} names {path}, which everyone on this machine may read"
                f" (mode {stat.S_IMODE(mode):04o}): chmod 600 it, or mount the secret with mode 0400."
            )
        return path.read_bytes()
    except OSError as unreadable:
        raise error(f"{origin} names {path}, which cannot be read: {unreadable.strerror}.") from unreadable
