"""The files of a downloaded archive, and its label tables."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import basename, splitext  # pathlib takes ten times as long; archives have half a million files
from typing import Final

import pandas as pd

from components.common.location import Location
from components.dicom.rejections import ManifestError, printable
from components.sources.tables import canonical_column

# Suffixes of DICOM files in archives, and of the many converted copies. The reader identifies a file by its content.
IMAGE_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})


@dataclass(frozen=True)
class Listing:
    """The files of a downloaded archive.

    Attributes:
        root: Folder of the archive.
        files: Its files relative to the folder, POSIX style, sorted.
    """

    root: Location
    files: tuple[str, ...]

    def find(self, name: str) -> str | None:
        """Return the file of this name nearest to the root, then the first by path; None if there is none."""
        found = [file for file in self.files if basename(file).lower() == name.lower()]
        return min(found, key=lambda file: (file.count("/"), file), default=None)

    def require(self, name: str) -> str:
        """Return the file of this name as :meth:`find` does.

        Raises:
            ManifestError: The archive has no such file.
        """
        file = self.find(name)
        if file is None:
            raise ManifestError(f"{self.root}: {name} is missing; name the folder that the archive was downloaded to.")
        return file

    def table(self, file: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pd.DataFrame:
        """Read a CSV file of the archive.

        Args:
            file: File relative to the root; the header line shows whether ``,`` or ``;`` separates columns.
            required: Canonical names of columns that the file must have.
            optional: Further columns; empty if the file lacks them.

        Returns:
            These columns as stripped text, under their canonical names, and ``line``: the row's number; the header is
            row 1.

        Raises:
            ManifestError: The file is not a CSV file, or lacks columns.
        """
        path = self.root / file
        try:
            with path.open("rb") as stream:
                header = stream.readline().decode("utf-8-sig")
                separator = max(",;", key=header.count)
                stream.seek(0)
                table = pd.read_csv(
                    stream,
                    sep=separator,
                    dtype=str,
                    keep_default_na=False,
                    encoding="utf-8-sig",
                    usecols=lambda name: canonical_column(str(name)) in (*required, *optional),
                )
        except (OSError, ValueError) as error:  # pandas' errors and UnicodeDecodeError are ValueErrors
            raise ManifestError(f"{path}: this is not a CSV file in UTF-8 ({type(error).__name__}).") from error
        table.columns = [canonical_column(name) for name in table.columns]
        missing = [name for name in required if name not in table.columns]
        if missing:
            found = ", ".join(printable(canonical_column(name)) for name in header.split(separator)) or "none"
            raise ManifestError(
                f"{path}: columns {', '.join(missing)} are missing; download the file again. Received: {found}."
            )
        for name in table.columns:
            table[name] = table[name].str.strip()
        table = table.assign(**{name: "" for name in optional if name not in table.columns})
        table["line"] = range(2, len(table) + 2)
        return table


def without_suffix(file: str) -> str:
    """Return a file's path without its suffix."""
    return splitext(file)[0]


def is_image(file: str) -> bool:
    """Return True if a file has the suffix of an image."""
    return splitext(file)[1].lower() in IMAGE_SUFFIXES
