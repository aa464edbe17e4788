"""Files that hold a key, as Docker and Kubernetes mount secrets."""

from __future__ import annotations

import stat
from pathlib import Path


def read_key_file(path: Path, origin: str, error: type[ValueError]) -> bytes:
    """Reads a file that holds a key.

    Args:
        path: The file.
        origin: What names it, for the message.
        error: Raised where the file cannot be read, is no regular file, or can be read by everyone.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise error(f"{origin} names {path}, which is no regular file: name the file that holds the key.")
        if mode & stat.S_IROTH:
            raise error(
                f"{origin} names {path}, which everyone on this machine may read"
                f" (mode {stat.S_IMODE(mode):04o}): chmod 600 it, or mount the secret with mode 0400."
            )
        return path.read_bytes()
    except OSError as unreadable:
        raise error(f"{origin} names {path}, which cannot be read: {unreadable.strerror}.") from unreadable
