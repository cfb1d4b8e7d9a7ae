"""Plain values beside the records: strings and maps, each with an expiry if it has one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import apsw

from betterdb_agent_memory.engines.embedded.changes import expiry_ms
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.keys import (
    exists,
    expire_key,
    is_map,
    live_fields,
    live_string,
    page_of_keys,
    persist_key,
    put_fields,
    put_string,
    remove_key,
    sweep_values,
    take_fields,
    total_of,
)
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import ExpiresAt, Reply, Stored, ValueBatch, Values
from betterdb_agent_memory.errors import EngineError, InvalidInputError

_SWEPT_PER_WRITE = 64
_T = TypeVar("_T")
_Job = Callable[[apsw.Connection, int], _T]


class EmbeddedValues(Values):
    """Strings and maps in one key space: a key holds either a string or a map."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    def batch(self) -> EmbeddedBatch:
        """An empty batch; no I/O."""
        return EmbeddedBatch(self._database, self._now_ms)

    async def scan_keys(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        """Pages of the keys that begin with `prefix`, in order; reads nothing else."""
        for table in ("value", "map_field"):
            after: str | None = None
            while True:
                page = await self._database.read(
                    lambda connection, table=table, after=after: page_of_keys(  # type: ignore[misc]
                        connection, table, prefix, after, page_size, self._now_ms()
                    )
                )
                yield page
                if len(page) < page_size:
                    break
                after = page[-1]


class EmbeddedBatch(ValueBatch):
    """Jobs that run in one transaction: all that is read is of one moment, all that is written is durable at once."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._jobs: list[tuple[Reply[Any], _Job[Any]]] = []
        self._writes = False

    def get(self, key: str) -> Reply[bytes | None]:
        """The string, or None."""

        def read(connection: apsw.Connection, now_ms: int) -> bytes | None:
            found = _string(connection, key, now_ms)
            return None if found is None else found[0]

        return self._ask(read)

    def get_with_expiry(self, key: str) -> Reply[Stored | None]:
        """The string and when it expires, or None."""

        def read(connection: apsw.Connection, now_ms: int) -> Stored | None:
            found = _string(connection, key, now_ms)
            if found is None:
                return None
            value, expires_at_ms = found
            return Stored(value, expires_at_ms, None if expires_at_ms is None else expires_at_ms - now_ms)

        return self._ask(read)

    def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> Reply[bool]:
        """Store a string; false when `only_if_absent` and the key was there. Replaces a map."""
        _check_ttl(key, ttl_seconds)

        def store(connection: apsw.Connection, now_ms: int) -> bool:
            sweep_values(connection, now_ms, at_most=_SWEPT_PER_WRITE)
            if only_if_absent and exists(connection, key, now_ms):
                return False
            put_string(connection, key, value, expiry_ms(ttl_seconds, now_ms))
            return True

        return self._tell(store)

    def exchange(self, key: str, value: bytes, *, ttl_seconds: int | None = None) -> Reply[bytes | None]:
        """Store a string; the one that was there before, or None."""
        _check_ttl(key, ttl_seconds)

        def store(connection: apsw.Connection, now_ms: int) -> bytes | None:
            found = _string(connection, key, now_ms)
            put_string(connection, key, value, expiry_ms(ttl_seconds, now_ms))
            return None if found is None else found[0]

        return self._tell(store)

    def delete(self, key: str, *, only_if: bytes | None = None) -> Reply[bool]:
        """Delete a string or a map, or only a string that still is `only_if`; true when it was there."""

        def remove(connection: apsw.Connection, now_ms: int) -> bool:
            if only_if is not None:
                found = live_string(connection, key, now_ms)
                if found is None or found[0] != only_if:
                    return False
            existed = exists(connection, key, now_ms)
            remove_key(connection, key)
            note_erasure(connection)
            return existed

        return self._tell(remove)

    def expire(self, key: str, ttl_seconds: int, *, only_if: ExpiresAt | None = None) -> Reply[bool]:
        """Let a string or map expire in `ttl_seconds`; false when it is gone or its expiry is no longer as said."""
        _check_ttl(key, ttl_seconds)

        def move(connection: apsw.Connection, now_ms: int) -> bool:
            return expire_key(connection, key, now_ms + ttl_seconds * 1000, now_ms, only_if=only_if)

        return self._tell(move)

    def read_map(self, key: str) -> Reply[dict[str, bytes]]:
        """All fields of a map; empty when there is none."""
        return self._ask(lambda connection, now_ms: _fields(connection, key, now_ms))

    def read_fields(self, key: str, fields: Sequence[str]) -> Reply[dict[str, bytes]]:
        """Those of `fields` (at least one) that the map has."""
        names = tuple(fields)
        return self._ask(lambda connection, now_ms: _fields(connection, key, now_ms, names))

    def write_map(self, key: str, fields: Fields, *, outlive_seconds: int | None = None) -> Reply[None]:
        """Set fields (at least one) of a map, leaving its others alone."""
        _check_ttl(key, outlive_seconds)

        def write(connection: apsw.Connection, now_ms: int) -> None:
            sweep_values(connection, now_ms, at_most=_SWEPT_PER_WRITE)
            _refuse_string(connection, key, now_ms)
            put_fields(connection, key, fields, now_ms, at_least_until_ms=expiry_ms(outlive_seconds, now_ms))

        return self._tell(write)

    def add_field(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Set a field that the map does not have; false, and nothing is set, where it has."""

        def add(connection: apsw.Connection, now_ms: int) -> bool:
            _refuse_string(connection, key, now_ms)
            if _fields(connection, key, now_ms, (field,)):
                return False
            put_fields(connection, key, {field: value}, now_ms)
            return True

        return self._tell(add)

    def persist(self, key: str) -> Reply[bool]:
        """Take the expiry of a string or map away; false when it has none or is not there."""
        return self._tell(lambda connection, now_ms: persist_key(connection, key, now_ms))

    def remove_fields(self, key: str, fields: Sequence[str]) -> Reply[int]:
        """Remove fields (at least one) of a map; how many there were. A map without fields is gone."""

        def remove(connection: apsw.Connection, now_ms: int) -> int:
            _refuse_string(connection, key, now_ms)
            return take_fields(connection, key, fields)

        return self._tell(remove)

    def remove_field_if(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Remove a field that still has this value; true when it had."""

        def remove(connection: apsw.Connection, now_ms: int) -> bool:
            if _fields(connection, key, now_ms, (field,)).get(field) != value:
                return False
            return take_fields(connection, key, (field,)) > 0

        return self._tell(remove)

    def increment(self, key: str, field: str, amount: int) -> Reply[int]:
        """Add to an integer field of a map, missing counts as 0; the new value."""

        def add(connection: apsw.Connection, now_ms: int) -> int:
            total = total_of(_fields(connection, key, now_ms, (field,)), key, field) + amount
            put_fields(connection, key, {field: b"%d" % total}, now_ms)
            return total

        return self._tell(add)

    def increment_many(self, key: str, amounts: Mapping[str, int]) -> Reply[None]:
        """Add to several integer fields of one map at once: all of them or none."""

        def add(connection: apsw.Connection, now_ms: int) -> None:
            stored = _fields(connection, key, now_ms, tuple(amounts))
            totals = {field: total_of(stored, key, field) + amount for field, amount in amounts.items()}
            put_fields(connection, key, {field: b"%d" % total for field, total in totals.items()}, now_ms)

        return self._tell(add)

    async def send(self) -> None:
        """Do it all, in one transaction; one that fails takes no other with it."""
        if self._jobs:
            await (self._database.write if self._writes else self._database.read)(self._run)

    def _run(self, connection: apsw.Connection) -> None:
        now_ms = self._now_ms()
        for pending, job in self._jobs:
            # Every job looks before it writes, so that one which is refused has written nothing.
            try:
                pending.settle(job(connection, now_ms))
            except EngineError as error:
                pending.settle(error)

    def _ask(self, job: _Job[_T]) -> Reply[_T]:
        pending: Reply[_T] = Reply()
        self._jobs.append((pending, job))
        return pending

    def _tell(self, job: _Job[_T]) -> Reply[_T]:
        self._writes = True
        return self._ask(job)


def _check_ttl(key: str, ttl_seconds: int | None) -> None:
    if ttl_seconds is not None and (type(ttl_seconds) is not int or ttl_seconds <= 0):
        raise InvalidInputError(
            f"ttl_seconds of {key!r} is {ttl_seconds!r}; give a positive number of whole seconds, or None"
        )


def _string(connection: apsw.Connection, key: str, now_ms: int) -> tuple[bytes, int | None] | None:
    """A string and when it expires, or None; a map is refused, as a server does."""
    found = live_string(connection, key, now_ms)
    if found is None and is_map(connection, key, now_ms):
        raise EngineError(f"the key {key!r} holds a map, not a string")
    return found


def _fields(connection: apsw.Connection, key: str, now_ms: int, names: Sequence[str] | None = None) -> dict[str, bytes]:
    """The fields of a map, all of them or those named; a string is refused, as a server does."""
    found = live_fields(connection, key, now_ms, names)
    if not found:
        _refuse_string(connection, key, now_ms)
    return found


def _refuse_string(connection: apsw.Connection, key: str, now_ms: int) -> None:
    if live_string(connection, key, now_ms) is not None:
        raise EngineError(f"the key {key!r} holds a string, not a map")
