"""Keyed hashes that replace patient and exam identifiers, and their key.

A plain hash of a patient number can be reversed by trying all numbers; HMAC with a secret key cannot (DICOM PS3.15
Annex E requires replacement values that cannot be traced back without the key). ``deidentification`` lists which values
are hashed, kept and dropped.

The key is the value of an environment variable, the content of the file that the variable ``..._FILE`` names (as
containers provide secrets), or the content of the file that the configuration names. At most one of them may be set. If
none is set, a public research key is used: results are reproducible across research groups, and identifiers are NOT
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

from components.common.files import read_key_file
from components.dicom_example_gen.config import IngestConfig

RESEARCH_KEY: Final = b"breast-density public research key, no protection"
# Shorter keys are cheap to find by trying. RFC 2104 recommends as many bytes as the hash has, 32.
_MIN_KEY_BYTES: Final = 16
_HOW_TO_MAKE_ONE: Final = "make one with: openssl rand -hex 32"


class HashKeyError(ValueError):
    """The key of the keyed hashes cannot be used. The message names the reason, and never shows a key."""


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
        """Identifier of the key, which does not reveal it."""
        return hmac.new(self.key, b"key id", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"HashKey(key=<{len(self.key)} bytes>, is_research={self.is_research})"


def _checked(key: bytes, origin: str) -> HashKey:
    key = key.strip()  # editors and shells add a line break at the end of a file
    if not key:
        raise HashKeyError(f"{origin} holds an empty key: {_HOW_TO_MAKE_ONE}, or unset it to use the public one.")
    if len(key) < _MIN_KEY_BYTES:
        raise HashKeyError(
            f"{origin} holds a key of {len(key)} bytes, at least {_MIN_KEY_BYTES} are needed: {_HOW_TO_MAKE_ONE}."
        )
    return HashKey(key, False)


def find_key(config: IngestConfig, environment: Mapping[str, str]) -> HashKey:
    """Find the key of the keyed hashes; see the module for its sources.

    Args:
        config: Configuration that names the variable, and perhaps a file.
        environment: Environment variables.

    Returns:
        The key, or the public research key if none is set.

    Raises:
        HashKeyError: Several keys are set, the key is empty or shorter than 16 bytes, its file cannot be read, or
            everyone can read its file.
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
    """Check that a worker found the key of the pipeline.

    Raises:
        HashKeyError: The worker found another key, or none. It would write other, perhaps unprotected, identifiers.
    """
    if found.key_id != key_id:
        which = "no hash key" if found.is_research else "another hash key"
        raise HashKeyError(f"This worker has {which} than the one the pipeline was built with: give it the same.")


def keyed_hash(value: str, key: bytes, kind: Literal["patient", "exam"]) -> str:
    """Return the HMAC-SHA256 of an identifier.

    Args:
        value: The identifier.
        key: Secret key.
        kind: Kind of identifier; equal values of different kinds give unrelated hashes.

    Returns:
        32 hexadecimal digits (16 bytes).
    """
    message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
