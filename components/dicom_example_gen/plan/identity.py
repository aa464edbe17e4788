"""Keyed hashes in the place of patient and exam identifiers, and where their key comes from.

A plain hash of a patient number is reversed by trying all numbers; HMAC with a secret key is not (DICOM PS3.15 Annex E
asks for replacement values that cannot be traced back without the key). What is hashed, kept and dropped is listed in
``deidentification``.

The key is the value of an environment variable, or the content of the file that the variable ``..._FILE`` names (as
containers hand out secrets), or the content of the file that the configuration names; at most one of them may be set.
Without any, a public research key is used: results are reproducible across research groups, and identifiers are NOT
protected.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from components.common.key_files import read_key_file
from components.dicom_example_gen.config import IngestConfig

RESEARCH_KEY: Final = b"breast-density public research key, no protection"
# Below this, trying all keys that a person would type becomes cheap. RFC 2104 wants as many bytes as the hash has, 32.
_MIN_KEY_BYTES: Final = 16
_HOW_TO_MAKE_ONE: Final = "make one with: openssl rand -hex 32"


class HashKeyError(ValueError):
    """The key of the keyed hashes cannot be used. The message says why, and never shows a key."""


@dataclass(frozen=True)
class HashKey:
    """Key of the keyed hashes.

    Attributes:
        key: The key's bytes.
        is_research: True if it is the public research key, which protects nothing; warn the user.
    """

    key: bytes
    is_research: bool

    @property
    def key_id(self) -> str:
        """Tells keys apart and reveals none."""
        return hmac.new(self.key, b"key id", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"HashKey(key=<{len(self.key)} bytes>, is_research={self.is_research})"


def _checked(key: bytes, origin: str) -> HashKey:
    key = key.strip()  # editors and shells end a file with a line break
    if not key:
        raise HashKeyError(f"{origin} holds an empty key: {_HOW_TO_MAKE_ONE}, or unset it to use the public one.")
    if len(key) < _MIN_KEY_BYTES:
        raise HashKeyError(
            f"{origin} holds a key of {len(key)} bytes, at least {_MIN_KEY_BYTES} are needed: {_HOW_TO_MAKE_ONE}."
        )
    return HashKey(key, False)


def find_key(config: IngestConfig, environment: Mapping[str, str]) -> HashKey:
    """Finds the key of the keyed hashes; see the module for where.

    Args:
        config: Names the variable, and perhaps a file.
        environment: Environment variables.

    Returns:
        The key, or the public research key if none is set.

    Raises:
        HashKeyError: Several keys are set, the key is empty or shorter than 16 bytes, or its file cannot be read or can
            be read by everyone.
    """
    variable, file_variable = config.hash_key_variable, f"{config.hash_key_variable}_FILE"
    given = {
        variable: environment.get(variable),
        file_variable: environment.get(file_variable),
        "pipeline.ingest.hash_key_file": config.hash_key_file or None,
    }
    origins = [origin for origin, value in given.items() if value is not None]
    if not origins:
        return HashKey(RESEARCH_KEY, True)
    if len(origins) > 1:
        raise HashKeyError(f"Several hash keys are set ({', '.join(origins)}): set one of them.")
    (origin,) = origins
    value = given[origin] or ""
    if origin == variable:
        return _checked(os.fsencode(value), origin)
    if not value:
        raise HashKeyError(f"{origin} is set and names no file: name the file that holds the key, or unset it.")
    return _checked(read_key_file(Path(value), origin, HashKeyError), f"{origin} ({value})")


def require_same_key(found: HashKey, key_id: str) -> None:
    """Makes sure that a worker found the key that the pipeline was built with.

    Raises:
        HashKeyError: It found another one, or none, and would write other identifiers, perhaps unprotected ones.
    """
    if found.key_id != key_id:
        which = "no hash key" if found.is_research else "another hash key"
        raise HashKeyError(f"This worker has {which} than the one the pipeline was built with: give it the same.")


def keyed_hash(value: str, key: bytes, kind: Literal["patient", "exam"]) -> str:
    """Hashes an identifier with HMAC-SHA256.

    Args:
        value: The identifier.
        key: Secret key.
        kind: What is identified; equal values of different kinds give unrelated hashes.

    Returns:
        32 hexadecimal digits (16 bytes).
    """
    message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
