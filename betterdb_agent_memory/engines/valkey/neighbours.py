"""The rows of a vector search, made into neighbours: pure functions.

Read for every recall, so the shape that nearly every answer has is written out here, column by column; anything odd
in it, and every other protocol, is left to `reply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from math import isnan
from operator import attrgetter
from typing import Any

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.engines.valkey.returning import DISTANCE_FIELD

by_distance = attrgetter("distance")

_DISTANCE = DISTANCE_FIELD.encode()

_neighbour: Callable[[Iterable[object]], Neighbour] = partial(tuple.__new__, Neighbour)
"""`Neighbour._make` without its checks."""


def parse_plainly(value: Any, names: Mapping[bytes, str], prefix: bytes) -> list[Neighbour] | None:
    """All rows of a RESP2 answer, nearest first; None unless each is a record of ours with a distance, followed by
    fields of `names` (as the answer calls them, and what they are).
    """
    if type(value) is not list or len(value) % 2 == 0:
        return None
    keys, rows = value[1::2], value[2::2]
    if not keys:
        return []
    try:
        ids = _ids(keys, prefix)
        distances = [float(row[1]) for row in rows]
        if ids is None or isnan(sum(distances)):
            return None
        neighbours = list(
            map(_neighbour, zip(ids, distances, _fields(rows, names), repeat(None, len(ids)), strict=True))
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    neighbours.sort(key=by_distance)
    return neighbours


def _ids(keys: Sequence[bytes], prefix: bytes) -> list[str] | None:
    """Ids of the records at `keys`; None if one is no record's."""
    joined = b"\0" + b"\0".join(keys)
    ids = joined.decode().split("\0" + prefix.decode())[1:]
    # As many beginnings, separators and colons as there are keys: each stands where it belongs.
    is_plain = len(ids) == len(keys) == joined.count(b"\0") and joined.count(b":") == len(keys) * prefix.count(b":")
    return ids if is_plain and all(ids) else None


def _fields(rows: Sequence[list[bytes]], names: Mapping[bytes, str]) -> list[dict[str, bytes]]:
    known: list[bytes] = []
    columns: list[str] = []
    found = []
    for row in rows:
        # Nearly every row has the same fields as the one before: their names are looked up once.
        layout = row[::2]
        if layout != known:
            if layout[0] != _DISTANCE or len(row) % 2:
                raise KeyError(layout)
            known, columns = layout, [names[name] for name in layout[1:]]
        found.append(dict(zip(columns, row[3::2], strict=True)))
    return found
