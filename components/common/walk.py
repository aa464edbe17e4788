"""List every file below a local folder, and follow links.

Cohorts often consist of links to a store, so a link to any folder is followed, with two limits:

    * a link is not followed if it is circular: it leads to a folder that contains the link or the listed folder,
      directly or by other links;
    * links enter a folder at most eight times, the shortest paths first.

So a listing is at most nine times as long as the tree. A file that several paths reach is listed under each path,
because a table may use only one of these names. Ingest treats it like a copied file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_PATHS: Final = 8


@dataclass(frozen=True)
class StoredFile:
    """A file in a listing.

    Attributes:
        name: Path relative to the listed folder, POSIX style.
        size: Bytes.
        changed_ns: Time of the last change, nanoseconds; 0 = unknown.
    """

    name: str
    size: int
    changed_ns: int


@dataclass
class LinkCounts:
    """Counts of links and folders in a listing.

    Attributes:
        followed: Links to folders that were followed.
        circular: Links to a folder that contains them; not followed.
        again: Entries skipped because eight paths of links had already led to the folder.
        broken: Links to files that do not exist; listed as empty files.
        closed: Folders that cannot be read; their content is unknown.
    """

    followed: int = 0
    circular: int = 0
    again: int = 0
    broken: int = 0
    closed: int = 0

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings for the user, one sentence each."""
        sentences = (
            (self.followed, "linked folders are followed."),
            (self.circular, "links lead to a folder that they are in, and are not followed."),
            (self.again, f"times a folder that {_MAX_PATHS} paths of links had led to was not listed again."),
            (self.broken, "links lead nowhere: what they stand for is missing."),
            (self.closed, "folders cannot be read by this user: what they hold is missing."),
        )
        return tuple(f"{count:,} {sentence}" for count, sentence in sentences if count)


@dataclass(frozen=True)
class _Link:
    """A link to a folder.

    Attributes:
        path: Path of the link.
        name: Its name in the listing.
        inside: Real paths of the folder that contains it, and of those that contain the links that led to it.
    """

    path: str
    name: str
    inside: tuple[str, ...]


class _Walk:
    def __init__(self, root: str, counts: LinkCounts) -> None:
        self._root = os.path.realpath(root)
        self._counts = counts
        self._entered = Counter[str]()  # real paths of folders that links entered, and of the folders below

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files of the folder, then those of linked folders."""
        links: deque[_Link] = deque()
        yield from self._tree(folder, None, links)
        while links:
            link = links.popleft()
            target = os.path.realpath(link.path)
            if any(_is_in(place, target) for place in (self._root, *link.inside)):
                self._counts.circular += 1
            elif self._entered[target] >= _MAX_PATHS:
                self._counts.again += 1
            else:
                self._counts.followed += 1
                yield from self._tree(target, link, links)

    def _tree(self, folder: str, by: _Link | None, links: deque[_Link]) -> Iterator[StoredFile]:
        """Yield the files of a folder under the link's name, and collect its links to folders."""
        real_folder = os.path.realpath(folder)
        for parent, folders, names in os.walk(folder, onerror=self._closed, followlinks=False):
            inside = os.path.relpath(parent, folder)
            real = real_folder if inside == "." else os.path.join(real_folder, inside)
            prefix = "/".join(part for part in (by.name if by else "", "" if inside == "." else inside) if part)
            if by is not None:
                if self._entered[real] >= _MAX_PATHS:
                    self._counts.again += 1
                    folders.clear()
                    continue
                self._entered[real] += 1
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for one in folders:
                if os.path.islink(path := os.path.join(parent, one)):
                    name = f"{prefix}/{one}" if prefix else one
                    links.append(_Link(path, name, (real, *(by.inside if by else ()))))
            yield from self._files_in(parent, prefix, names)

    def _files_in(self, parent: str, prefix: str, names: list[str]) -> Iterator[StoredFile]:
        for name in names:
            if name.startswith("."):
                continue
            relative = f"{prefix}/{name}" if prefix else name
            path = os.path.join(parent, name)
            try:
                status = os.stat(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                if os.path.islink(path):  # reading the broken link will report it
                    self._counts.broken += 1
                    yield StoredFile(relative, 0, 0)
                continue
            if stat.S_ISREG(status.st_mode):  # not pipes, sockets or devices
                yield StoredFile(relative, status.st_size, status.st_mtime_ns)

    def _closed(self, error: OSError) -> None:
        self._counts.closed += 1


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def local_files(folder: Path, counts: LinkCounts) -> Iterator[StoredFile]:
    """Yield all files below a local folder, except hidden files and folders (``.name``).

    A broken link is listed as an empty file, so that reading it reports a missing file.

    Args:
        folder: Folder.
        counts: Counts to increase.

    Yields:
        The files, in no particular order.
    """
    # Plain strings: pathlib takes three times as long, and archives have millions of files.
    return _Walk(str(folder), counts).files(str(folder))
