"""Every file below a local folder, links followed.

Cohorts are put together by links to a store, so a link to a folder is followed wherever it leads, with two bounds:

    * a link to a folder that it is in, by its own path or by the links to it (or that the listed folder is in),
      leads in a circle and is not followed;
    * a folder is entered by links eight times at most, the shortest paths first.

So a listing is at most nine times as long as the tree. A file that several paths reach is listed under each, for
only one of them may be the name that a table has: it is a copy, as copied files are.
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
    """A file as its filesystem lists it.

    Attributes:
        name: Path relative to the folder that was listed, POSIX style.
        size: Bytes.
        changed_ns: Time of the last change, nanoseconds; 0 = unknown.
    """

    name: str
    size: int
    changed_ns: int


@dataclass
class LinkCounts:
    """What a walk met besides files.

    Attributes:
        followed: Links to folders that were followed.
        circular: Links to a folder that they are in; not followed.
        again: Folders that eight paths of links had led to before; not entered again.
        broken: Links that lead nowhere; listed as empty files.
        closed: Folders that cannot be read; what they hold is not known.
    """

    followed: int = 0
    circular: int = 0
    again: int = 0
    broken: int = 0
    closed: int = 0

    def warnings(self) -> tuple[str, ...]:
        """Says what a person should know, a sentence each."""
        told = (
            (self.followed, "linked folders are followed."),
            (self.circular, "links lead to a folder that they are in, and are not followed."),
            (self.again, f"times a folder that {_MAX_PATHS} paths of links had led to was not listed again."),
            (self.broken, "links lead nowhere: what they stand for is missing."),
            (self.closed, "folders cannot be read by this user: what they hold is missing."),
        )
        return tuple(f"{count:,} {sentence}" for count, sentence in told if count)


@dataclass(frozen=True)
class _Link:
    """A link to a folder: where it is, its name in the listing, real paths of the folder it is in and of those before.

    Those before are the folders of the links that led to it.
    """

    path: str
    name: str
    inside: tuple[str, ...]


class _Walk:
    def __init__(self, root: str, counts: LinkCounts) -> None:
        self._root = os.path.realpath(root)
        self._counts = counts
        self._entered = Counter[str]()  # real paths of folders that links led to, or that lie below such

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Lists the folder, then what links in it lead to."""
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
        """Lists a folder whose files are to be named as the link, and collects the links to folders in it."""
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
                if os.path.islink(path):  # it points nowhere, which reading will say
                    self._counts.broken += 1
                    yield StoredFile(relative, 0, 0)
                continue
            if stat.S_ISREG(status.st_mode):  # no pipes, sockets, devices
                yield StoredFile(relative, status.st_size, status.st_mtime_ns)

    def _closed(self, error: OSError) -> None:
        self._counts.closed += 1


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def local_files(folder: Path, counts: LinkCounts) -> Iterator[StoredFile]:
    """Lists all files below a local folder; hidden files and folders (``.name``) are left out.

    A link that leads nowhere is listed like an empty file, so that it is missed when it is read, and counted.

    Args:
        folder: Folder.
        counts: What was met besides files is added to it.

    Yields:
        The files, in no order.
    """
    # Plain strings: objects of pathlib take three times as long, and archives have millions of files.
    return _Walk(str(folder), counts).files(str(folder))
