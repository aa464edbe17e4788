"""The files of a downloaded archive, and its label tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from posixpath import basename, splitext  # pathlib takes ten times as long, and archives have half a million files
from typing import Final

import pandas as pd

from components.common.location import Location
from components.dicom.rejections import ManifestError, shown

# DICOM as archives name it, and the formats of the many converted copies. The content decides when a file is read.
IMAGE_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})


def column_name(name: str) -> str:
    """Canonical name of a column: lower case, underscores for blanks (CBIS-DDSM's files differ in this alone)."""
    return re.sub(r"[\s_]+", "_", name.strip().lower())


@dataclass(frozen=True)
class Listing:
    """All files of an archive.

    Attributes:
        root: Folder of the archive.
        files: Its files relative to the folder, POSIX style, sorted.
    """

    root: Location
    files: tuple[str, ...]

    def find(self, name: str) -> str | None:
        """Finds a file by its name in any folder; of several the one nearest to the root, then the first by name."""
        found = [file for file in self.files if basename(file).lower() == name.lower()]
        return min(found, key=lambda file: (file.count("/"), file), default=None)

    def require(self, name: str) -> str:
        """Finds a file as :meth:`find` does.

        Raises:
            ManifestError: There is none.
        """
        file = self.find(name)
        if file is None:
            raise ManifestError(f"{self.root}: {name} is missing; name the folder that the archive was downloaded to.")
        return file

    def table(self, file: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pd.DataFrame:
        """Reads a CSV file of the archive.

        Args:
            file: File relative to the root; its separator, ``,`` or ``;``, is told by the header line.
            required: Canonical names of columns that must be there.
            optional: Further columns, empty where the file has none.

        Returns:
            These columns as stripped text by their canonical names, and ``line``: the row's number, the header is 1.

        Raises:
            ManifestError: The file is no CSV, or lacks columns.
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
                    usecols=lambda name: column_name(str(name)) in (*required, *optional),
                )
        except (OSError, ValueError) as error:  # pandas' errors and UnicodeDecodeError are ValueErrors
            raise ManifestError(f"{path}: this is no CSV file in UTF-8 ({type(error).__name__}).") from error
        table.columns = [column_name(name) for name in table.columns]
        missing = [name for name in required if name not in table.columns]
        if missing:
            found = ", ".join(shown(column_name(name)) for name in header.split(separator)) or "none"
            raise ManifestError(
                f"{path}: columns {', '.join(missing)} are missing; download the file again. Received: {found}."
            )
        for name in table.columns:
            table[name] = table[name].str.strip()
        table = table.assign(**{name: "" for name in optional if name not in table.columns})
        table["line"] = range(2, len(table) + 2)
        return table


def without_suffix(file: str) -> str:
    """Returns a file's path without the suffix of its name."""
    return splitext(file)[0]


def is_image(file: str) -> bool:
    """Tells whether a file's suffix is that of an image."""
    return splitext(file)[1].lower() in IMAGE_SUFFIXES
