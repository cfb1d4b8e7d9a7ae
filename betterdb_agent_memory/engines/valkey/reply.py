"""What servers answer, made into plain values: pure functions.

RESP2 sends flat arrays, RESP3 maps, some clients decode to text: all are read. A reply that cannot
be read is an error, never an empty result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from betterdb_agent_memory.errors import EngineError, SearchTimeoutError

FoundKey: TypeAlias = tuple[bytes, dict[str, bytes]]
"""One row of a search: a key and those fields that were asked for and that it has."""


@dataclass(frozen=True, slots=True)
class Found:
    """A search reply. `complete` is None where the protocol cannot tell (RESP2)."""

    total: int
    rows: Sequence[FoundKey]
    complete: bool | None


@dataclass(frozen=True, slots=True)
class Group:
    """How many records share the same stored values."""

    fields: Mapping[str, bytes]
    count: int


def as_bytes(value: Any) -> bytes:
    """A scalar of a reply as bytes, whatever the client made of it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value).encode()
    raise _unreadable("a value", value)


def as_text(value: Any) -> str:
    """A scalar of a reply as text."""
    return as_bytes(value).decode("utf-8", "replace")


def as_int(value: Any) -> int:
    """An integer of a reply."""
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise _unreadable("a number", value) from error


def as_pairs(value: Any) -> list[tuple[str, Any]]:
    """Names and values from a map, or from a flat array of both in turn."""
    if isinstance(value, Mapping):
        return [(as_text(name), item) for name, item in value.items()]
    if isinstance(value, list | tuple) and len(value) % 2 == 0:
        return [(as_text(value[i]), value[i + 1]) for i in range(0, len(value), 2)]
    raise _unreadable("names and values", value)


def parse_map(value: Any) -> dict[str, bytes]:
    """HGETALL."""
    return {name: as_bytes(item) for name, item in as_pairs(value)}


def parse_fields(value: Any, names: Sequence[str]) -> dict[str, bytes] | None:
    """HMGET of `names`: the fields there are, None without any."""
    if not isinstance(value, list | tuple) or len(value) != len(names):
        raise _unreadable("HMGET", value)
    fields = {name: as_bytes(item) for name, item in zip(names, value, strict=True) if item is not None}
    return fields or None


def parse_search(value: Any, names: Sequence[str] | Mapping[bytes, str]) -> Found:
    """FT.SEARCH with content: of every row the fields called `names`, by what these mean if a mapping says so."""
    wanted = names if isinstance(names, Mapping) else {name.encode(): name for name in names}
    if isinstance(value, Mapping):
        reply = dict(as_pairs(value))
        if "total_results" not in reply or not isinstance(reply.get("results"), list):
            raise _unreadable("FT.SEARCH", value)
        rows = [dict(as_pairs(result)) for result in reply["results"]]
        if any("id" not in row for row in rows):
            raise _unreadable("FT.SEARCH", value)
        found = [(as_bytes(row["id"]), _wanted_fields(row.get("extra_attributes"), wanted)) for row in rows]
        return Found(as_int(reply["total_results"]), found, not reply.get("warning"))
    if isinstance(value, list | tuple) and len(value) % 2 == 1:
        return Found(as_int(value[0]), _flat_rows(value, wanted), None)
    raise _unreadable("FT.SEARCH", value)


def _flat_rows(value: Sequence[Any], wanted: Mapping[bytes, str]) -> list[FoundKey]:
    rows: list[FoundKey] = []
    known: list[bytes] = []
    names: list[str] = []
    for key, row in zip(value[1::2], value[2::2], strict=True):
        if type(key) is bytes and type(row) is list and len(row) % 2 == 0 and row and type(row[0]) is bytes:
            # Nearly every row has the same fields as the one before: their names are looked up once.
            if row[::2] != known:
                known = row[::2]
                names = [wanted.get(name, "") for name in known]
            fields = dict(zip(names, row[1::2], strict=True))
            fields.pop("", None)
            rows.append((key, fields))
        else:
            rows.append((as_bytes(key), _wanted_fields(row, wanted)))
    return rows


def _wanted_fields(value: Any, wanted: Mapping[bytes, str]) -> dict[str, bytes]:
    return {wanted[called]: item for name, item in _fields(value).items() if (called := name.encode()) in wanted}


def parse_groups(value: Any, count_field: str = "__count") -> tuple[tuple[Group, ...], bool | None]:
    """FT.AGGREGATE of counted groups, and whether it is complete (None where nothing says so)."""
    complete: bool | None = None
    if isinstance(value, Mapping):
        reply = dict(as_pairs(value))
        if not isinstance(reply.get("results"), list):
            raise _unreadable("FT.AGGREGATE", value)
        complete = not reply.get("warning")
        if not complete:
            # An interrupted aggregation answers with ungrouped rows.
            return (), False
        rows = [dict(as_pairs(result)).get("extra_attributes") for result in reply["results"]]
    elif isinstance(value, list | tuple) and value:
        rows = list(value[1:])
    else:
        raise _unreadable("FT.AGGREGATE", value)
    groups = []
    for row in rows:
        fields = _fields(row)
        if count_field not in fields:
            raise _unreadable("FT.AGGREGATE", row)
        groups.append(Group(fields, as_int(float(fields.pop(count_field)))))
    return tuple(groups), complete


def parse_names(value: Any) -> tuple[str, ...]:
    """FT._LIST."""
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(as_text(name) for name in value)
    raise _unreadable("FT._LIST", value)


def parse_scan(value: Any) -> tuple[bytes, list[bytes]]:
    """SCAN: where to go on (`0` at the end) and the keys."""
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], list | tuple):
        return as_bytes(value[0]), [as_bytes(key) for key in value[1]]
    raise _unreadable("SCAN", value)


def check_complete(complete: bool | None, *, elapsed_seconds: float, timeout_ms: int) -> None:
    """Refuse a search that the server may have cut short.

    RediSearch answers what it has when TIMEOUT is over. RESP3 adds a warning; in RESP2 nothing in
    the reply says so, but a search cut short has taken at least its TIMEOUT, seen from here too.
    """
    if complete is False or (complete is None and elapsed_seconds * 1000 >= timeout_ms):
        raise SearchTimeoutError(
            f"the search took {elapsed_seconds * 1000:.0f} ms with a TIMEOUT of {timeout_ms} ms, "
            "so its answer may be incomplete; narrow the scope or raise search_timeout_ms"
        )


def _fields(value: Any) -> dict[str, bytes]:
    # A record that expired between being found and being read has no fields at all.
    if value is None:
        return {}
    return {name: as_bytes(item) for name, item in as_pairs(value) if item is not None}


def _unreadable(what: str, value: Any) -> EngineError:
    return EngineError(f"cannot read the server's reply ({what}): {repr(value)[:200]}")
