"""The rows of a vector search, made into neighbours: pure functions.

Read for every recall, so the shape that nearly every answer has is written out here; anything odd in it, and every
other protocol, is left to `reply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.engines.valkey.returning import DISTANCE_FIELD

by_distance = attrgetter("distance")

_DISTANCE = DISTANCE_FIELD.encode()


def parse_plainly(value: Any, names: Mapping[bytes, str], prefix: bytes) -> list[Neighbour] | None:
    """All rows of a RESP2 answer, nearest first; None unless each is a record of ours with a distance, followed by
    fields of `names` (as the answer calls them, and what they are).
    """
    if type(value) is not list or len(value) % 2 == 0:
        return None
    neighbours = []
    length = len(prefix)
    known: list[bytes] | None = None
    columns: list[str] = []
    try:
        for key, row in zip(value[1::2], value[2::2], strict=True):
            if type(row) is not list or type(key) is not bytes or key[:length] != prefix:
                return None
            # Nearly every row has the same fields as the one before: their names are looked up once.
            layout = row[::2]
            if layout != known:
                if not layout or layout[0] != _DISTANCE or len(row) % 2 or type(row[1]) is not bytes:
                    return None
                known, columns = layout, [names[name] for name in layout[1:]]
            id = key[length:].decode()
            distance = float(row[1])
            if distance != distance or not id or ":" in id:
                return None
            neighbours.append(Neighbour(id, distance, dict(zip(columns, row[3::2], strict=True))))
    except (ValueError, KeyError, TypeError):
        return None
    neighbours.sort(key=by_distance)
    return neighbours
