"""Members of overlapping groups: who belongs together, and who speaks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


def leaders(groups: Iterable[Sequence[str]], rank: Callable[[str], Any]) -> dict[str, str]:
    """Finds for each member the leader of all whom shared groups connect it with, directly or over others.

    Args:
        groups: Members, none empty.
        rank: Sort key without ties; the first of a connected set leads.

    Returns:
        Member -> leader, for all members of the groups.
    """
    above: dict[str, str] = {}

    def top(member: str) -> str:
        while (higher := above.setdefault(member, member)) != member:
            member = higher
        return member

    for first, *others in groups:
        for other in (first, *others):
            leader, follower = sorted((top(first), top(other)), key=rank)
            above[follower] = leader
    return {member: top(member) for member in above}
