"""Every file below a local folder, links followed.

Cohorts are put together by links to a store, so a link to a folder is followed wherever it leads, with two bounds:

    * a link to a folder that it is in (or that the listed folder is in) leads in a circle and is not followed;
    * a folder is entered by links once, however many lead to it.

So a listing is at most twice as long as the tree, and a file that is reached both by its own path and by a link is
listed under both: it is a copy, as copied files are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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
        again: Folders that a link had led to before; not entered again.
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
            (self.again, "linked folders were reached by another link before, and are counted once."),
            (self.broken, "links lead nowhere: what they stand for is missing."),
            (self.closed, "folders cannot be read by this user: what they hold is missing."),
        )
        return tuple(f"{count:,} {sentence}" for count, sentence in told if count)


class _Walk:
    def __init__(self, root: str, counts: LinkCounts) -> None:
        self._root = os.path.realpath(root)
        self._counts = counts
        self._entered: set[str] = set()  # real paths of folders that links led to, or that lie below such

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Lists the folder, then what links in it lead to."""
        links: deque[tuple[str, str, str]] = deque()  # path, name, real path of the folder that it is in
        yield from self._tree(folder, "", False, links)
        while links:
            path, name, real_parent = links.popleft()
            target = os.path.realpath(path)
            if _is_in(real_parent, target) or _is_in(self._root, target):
                self._counts.circular += 1
            elif target in self._entered:
                self._counts.again += 1
            else:
                self._counts.followed += 1
                yield from self._tree(target, name, True, links)

    def _tree(self, folder: str, name: str, by_link: bool, links: deque[tuple[str, str, str]]) -> Iterator[StoredFile]:
        """Lists a folder whose files are to be named below ``name``, and collects the links to folders in it."""
        real_folder = os.path.realpath(folder)
        for parent, folders, names in os.walk(folder, onerror=self._closed, followlinks=False):
            inside = os.path.relpath(parent, folder)
            real = real_folder if inside == "." else os.path.join(real_folder, inside)
            prefix = "/".join(part for part in (name, "" if inside == "." else inside) if part)
            if by_link and real in self._entered:
                self._counts.again += 1
                folders.clear()
                continue
            if by_link:
                self._entered.add(real)
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for one in folders:
                if os.path.islink(path := os.path.join(parent, one)):
                    links.append((path, f"{prefix}/{one}" if prefix else one, real))
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
