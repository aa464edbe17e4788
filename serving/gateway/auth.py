"""The bearer token (RFC 6750) of the gateway's HTTP routes."""

from __future__ import annotations

import hmac


def is_authorised(header: str | None, token: str) -> bool:
    """Compares an ``Authorization`` header with the token, in a time that does not depend on where they differ.

    Args:
        header: The header's value, ``None`` where there is none.
        token: The gateway's token.
    """
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
