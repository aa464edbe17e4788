"""Union-find: merge overlapping groups, and name one representative for each merged group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


def representatives(groups: Iterable[Sequence[str]], rank: Callable[[str], Any]) -> dict[str, str]:
    """Merge the groups that share members, and return the representative of each member.

    Args:
        groups: Members of each group; no group is empty.
        rank: Sort key without ties; the first member of a merged group is its representative.

    Returns:
        Member -> representative, for all members of the groups.
    """
    parents: dict[str, str] = {}

    def root(member: str) -> str:
        while (parent := parents.setdefault(member, member)) != member:
            member = parent
        return member

    for first, *others in groups:
        for other in (first, *others):
            representative, merged = sorted((root(first), root(other)), key=rank)
            parents[merged] = representative
    return {member: root(member) for member in parents}
