"""Groups of records and their names in the map of counts: pure."""

from __future__ import annotations

from collections.abc import Iterable

LAST_WRITTEN = "@"
"""Stands before a group's name in the field that tells which of its records was written last."""

_ABSENT = "-"


def group_name(values: Iterable[bytes | None]) -> str:
    """The name of the group whose fields hold these values, in order; None for a field that is not there.

    A value is its length in bytes, a colon and itself, and an absent one a dash, so that no two groups share a name.

    >>> group_name([b"t-1", None, b""])
    '3:t-1-0:'
    """
    return "".join(_ABSENT if value is None else f"{len(value)}:{value.decode(errors='replace')}" for value in values)


def is_total_absence(name: str) -> bool:
    """Whether the group is that of the records which have none of the fields."""
    return not name.strip(_ABSENT)
