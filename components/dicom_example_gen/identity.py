"""Keyed hashes in the place of patient and exam identifiers.

A plain hash of a patient number is reversed by trying all numbers; HMAC with a secret key is not (DICOM
PS3.15 Annex E asks for replacement values that cannot be traced back without the key).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

# Used when no key is set: results are reproducible across research groups, identifiers are NOT protected.
RESEARCH_KEY: Final = b"breast-density public research key, no protection"


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


def key_from_environment(variable: str, environment: Mapping[str, str]) -> HashKey:
    """Returns the key held by an environment variable, or the public research key if it is not set."""
    value = environment.get(variable, "")
    return HashKey(value.encode("utf-8"), False) if value else HashKey(RESEARCH_KEY, True)


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
