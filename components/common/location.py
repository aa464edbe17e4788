"""Location of an archive: a local path, or a URI of any filesystem that Beam reads.

``pathlib`` turns ``gs://bucket`` into ``gs:/bucket``, so URIs have their own class. It has those methods of ``Path``
that reading an archive needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from components.common.walk import LinkCounts, StoredFile, local_files


@dataclass(frozen=True, order=True)
class Uri:
    """A file or folder on one of Beam's filesystems, such as ``gs://bucket/folder``."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, relative: str) -> Uri:
        return Uri(f"{self.text.rstrip('/')}/{relative}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.text).name

    @property
    def parent(self) -> Uri:
        """Folder that contains it."""
        return Uri(self.text.rstrip("/").rpartition("/")[0])

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open the file for reading, without decompression.

        Raises:
            FileNotFoundError: The file does not exist.
            OSError: The file cannot be read, or Beam does not support the filesystem.
        """
        if mode != "rb":
            raise ValueError(f"Archives are read only, as bytes. Received: mode={mode!r}")
        # Importing Beam takes a second; reading local files does not need it.
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        try:
            return FileSystems.open(self.text, compression_type=CompressionTypes.UNCOMPRESSED)
        except Exception as error:  # each filesystem has its own errors
            if self._exists():
                raise OSError(f"{self.text}: it cannot be read ({type(error).__name__})") from error
            raise FileNotFoundError(f"{self.text}: no such file") from error

    def _exists(self) -> bool:
        from apache_beam.io.filesystems import FileSystems

        try:
            result: bool = FileSystems.exists(self.text)
            return result
        except Exception as error:
            raise OSError(f"{self.text}: {_first_line(error)}") from error

    def read_bytes(self) -> bytes:
        """Read the file; raises the errors of :meth:`open`."""
        with self.open() as file:
            return file.read()

    def files(self) -> Iterator[StoredFile]:
        """Yield all files below the folder, except files and folders whose name begins with a dot.

        Raises:
            OSError: The folder cannot be listed, or Beam does not support the filesystem.
        """
        from apache_beam.io.filesystems import FileSystems

        folder = self.text.rstrip("/") + "/"
        try:
            [found] = FileSystems.match([folder + "**"])
        except Exception as error:
            raise OSError(f"{self.text}: {_first_line(error)}") from error
        if not found.metadata_list:
            raise FileNotFoundError(f"{self.text}: no such folder")
        for file in found.metadata_list:
            name = file.path.removeprefix(folder)
            # Object stores represent folders by empty objects whose name ends in a slash.
            if name and not name.endswith("/") and not any(part.startswith(".") for part in name.split("/")):
                yield StoredFile(name, file.size_in_bytes, round((file.last_updated_in_seconds or 0) * 1e9))


Location = Path | Uri


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def location(text: str | Path) -> Location:
    """Return a URI for a text with ``://``, a local path for others."""
    return Uri(text) if isinstance(text, str) and "://" in text else Path(text)


def absolute(place: Location) -> Location:
    """Return a local path as an absolute path; URIs are absolute already."""
    return place.resolve() if isinstance(place, Path) else place


def files_below(folder: Location, counts: LinkCounts | None = None) -> Iterator[StoredFile]:
    """Yield all files below a folder. Ingest, its fingerprint, spans and ``predict`` all use this function.

    Args:
        folder: Folder.
        counts: Counts of links to increase, for a local folder; see ``walk``.

    Yields:
        The files, without hidden ones, in no particular order.

    Raises:
        OSError: The folder does not exist, or Beam does not support the filesystem.
    """
    if isinstance(folder, Path) and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return local_files(folder, counts or LinkCounts()) if isinstance(folder, Path) else folder.files()


def file_states(folder: Location, names: Collection[str]) -> dict[str, StoredFile | None]:
    """Return size and time of change of files.

    Args:
        folder: Folder that contains them.
        names: Paths relative to the folder, POSIX style.

    Returns:
        Name -> the file, None if it is absent; sorted by name.
    """
    if isinstance(folder, Uri):  # one listing: one request per file would take an hour for large archives
        found = {file.name: file for file in folder.files()} if names else {}
        return {name: found.get(name) for name in sorted(names)}

    def look_up(name: str) -> StoredFile | None:
        try:
            status = (folder / name).stat()
        except (OSError, ValueError):
            return None
        return StoredFile(name, status.st_size, status.st_mtime_ns)

    return {name: look_up(name) for name in sorted(names)}
