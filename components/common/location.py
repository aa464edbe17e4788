"""Where an archive lies: a local path, or a URI of any filesystem that Beam reads.

``pathlib`` makes ``gs:/bucket`` of ``gs://bucket``, so URIs have a class of their own, with the few methods of ``Path``
that reading an archive takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from components.common.walk import LinkCounts, StoredFile, local_files


@dataclass(frozen=True, order=True)
class Uri:
    """A file or folder on a filesystem of Beam's, such as ``gs://bucket/folder``."""

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
        """The folder that it is in."""
        return Uri(self.text.rstrip("/").rpartition("/")[0])

    def open(self, mode: str = "rb") -> BinaryIO:
        """Opens the file for reading, as it is stored.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read, or Beam knows no such filesystem.
        """
        if mode != "rb":
            raise ValueError(f"Archives are read only, as bytes. Received: mode={mode!r}")
        # Beam takes a second to import, which who reads local files must not wait for.
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        try:
            return FileSystems.open(self.text, compression_type=CompressionTypes.UNCOMPRESSED)
        except Exception as error:  # each filesystem has errors of its own
            if self._exists():
                raise OSError(f"{self.text}: it cannot be read ({type(error).__name__})") from error
            raise FileNotFoundError(f"{self.text}: no such file") from error

    def _exists(self) -> bool:
        from apache_beam.io.filesystems import FileSystems

        try:
            return FileSystems.exists(self.text)
        except Exception as error:
            raise OSError(f"{self.text}: {_first_line(error)}") from error

    def read_bytes(self) -> bytes:
        """Reads the file; errors as :meth:`open`."""
        with self.open() as file:
            return file.read()

    def files(self) -> Iterator[StoredFile]:
        """Lists all files below the folder; files and folders whose name begins with a dot are left out.

        Raises:
            OSError: The folder cannot be listed, or Beam knows no such filesystem.
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
            # Object stores write empty objects whose name ends in a slash in the place of folders.
            if name and not name.endswith("/") and not any(part.startswith(".") for part in name.split("/")):
                yield StoredFile(name, file.size_in_bytes, round((file.last_updated_in_seconds or 0) * 1e9))


Location = Path | Uri


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def location(text: str | Path) -> Location:
    """Tells URIs, which have ``://``, from local paths."""
    return Uri(text) if isinstance(text, str) and "://" in text else Path(text)


def absolute(place: Location) -> Location:
    """Makes a local path absolute; a URI is."""
    return place.resolve() if isinstance(place, Path) else place


def files_below(folder: Location, counts: LinkCounts | None = None) -> Iterator[StoredFile]:
    """Lists all files below a folder, the only way for ingest, its fingerprint, spans and ``predict``; see ``walk``.

    Args:
        folder: Folder.
        counts: Takes what a walk over a local folder met besides files.

    Yields:
        The files, without hidden ones, in no order.

    Raises:
        OSError: There is no such folder, or Beam knows no such filesystem.
    """
    if isinstance(folder, Path) and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return local_files(folder, counts or LinkCounts()) if isinstance(folder, Path) else folder.files()


def file_states(folder: Location, names: Collection[str]) -> dict[str, StoredFile | None]:
    """Looks files up.

    Args:
        folder: Folder that they are in.
        names: Paths relative to the folder, POSIX style.

    Returns:
        Name -> the file, None where it is absent; sorted by name.
    """
    if isinstance(folder, Uri):  # one listing, for a request a file takes an hour where there are many
        found = {file.name: file for file in folder.files()} if names else {}
        return {name: found.get(name) for name in sorted(names)}

    def look_up(name: str) -> StoredFile | None:
        try:
            status = (folder / name).stat()
        except (OSError, ValueError):
            return None
        return StoredFile(name, status.st_size, status.st_mtime_ns)

    return {name: look_up(name) for name in sorted(names)}
