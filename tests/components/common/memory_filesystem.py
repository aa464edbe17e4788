"""A Beam filesystem with files in memory, under ``memtest://``, which represents a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NoReturn

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem


class MemoryFileSystem(FileSystem):
    """Read only; Beam finds it because it is a subclass."""

    contents: dict[str, bytes] = {}

    @classmethod
    def scheme(cls) -> str:
        return "memtest"

    def join(self, base: str, *paths: str) -> str:
        return "/".join([base.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path, data in sorted(self.contents.items()):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(data), 1.0)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> io.BytesIO:
        assert compression_type == CompressionTypes.UNCOMPRESSED, "files are to be read as they are stored"
        if path not in self.contents:
            raise BeamIOError(f"no such object: {path}")
        return io.BytesIO(self.contents[path])

    def exists(self, path: str) -> bool:
        return path in self.contents

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path), 1.0)

    def size(self, path: str) -> int:
        return len(self.contents[path])

    def last_updated(self, path: str) -> float:
        return 1.0

    def checksum(self, path: str) -> None:
        return None

    def create(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("archives are only read")

    mkdirs = copy = rename = delete = create
