"""Groups of records and their names in the map of counts: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields

LAST_WRITTEN = "@"
"""Stands before a group's name in the field that tells which of its records was written last."""

REACH = "~"
"""Stands before a group's name in the field where whoever trims the group notes how far it has to look."""

_ABSENT = "-"


def group_name(values: Iterable[bytes | None]) -> str:
    """The name of the group whose fields hold these values, in order; None for a field that is not there.

    A value is its length in bytes, a colon and itself, and an absent one a dash, so that no two groups share a name.

    >>> group_name([b"t-1", None, b""])
    '3:t-1-0:'
    """
    return "".join(_ABSENT if value is None else f"{len(value)}:{value.decode(errors='replace')}" for value in values)


def record_group(fields: Fields, names: Sequence[str], sets: int) -> str:
    """The name of the group of a record with these `fields`, where `names` make it: `Collection.group_fields`, and how
    many of these, the last ones, are sets.

    >>> record_group({"threadId": b"t", "tags": b"b,a,b"}, ("threadId", "tags"), 1)
    '1:t3:a,b'
    """
    whole = len(names) - sets
    values = [fields.get(name) for name in names]
    return group_name([*values[:whole], *map(set_value, values[whole:])])


def set_value(stored: bytes | None) -> bytes | None:
    """A field of comma-separated values, each once and in the order of their bytes; None for a field without any."""
    separator = TAG_SEPARATOR.encode()
    return separator.join(sorted(set(stored.split(separator)))) if stored else None


def group_values(name: str) -> tuple[str | None, ...]:
    """The values of a group's fields, in order, None for one that is not there: the opposite of `group_name`.

    Raises:
        ValueError: it is no name of a group.

    >>> group_values("3:t-1-0:")
    ('t-1', None, '')
    """
    rest = name.encode()
    values: list[str | None] = []
    while rest:
        if rest.startswith(_ABSENT.encode()):
            values.append(None)
            rest = rest[1:]
            continue
        length, _, behind = rest.partition(b":")
        if not length.isdigit() or len(behind) < int(length):
            raise ValueError(f"{name!r} is no name of a group")
        values.append(behind[: int(length)].decode())
        rest = behind[int(length) :]
    return tuple(values)


def is_group(name: str) -> bool:
    """Whether a field of the map of counts is the count of a group, and not a note about one."""
    return not name.startswith((LAST_WRITTEN, REACH))


def sizes_in(counts: Mapping[str, bytes]) -> dict[str, int]:
    """The groups in a map of counts, and how many records they have."""
    return {group: int(size) for group, size in counts.items() if is_group(group) and size.isdigit()}


def is_total_absence(name: str) -> bool:
    """Whether the group is that of the records which have none of the fields."""
    return not name.strip(_ABSENT)
