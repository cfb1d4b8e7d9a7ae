"""Plain values beside the records: strings, and maps of a few fields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.limits import checked_ttl
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.engines.values import ExpiresAt, Reply, Stored, ValueBatch, Values
from betterdb_agent_memory.errors import EngineUnavailableError

_T = TypeVar("_T")
_Parser = Callable[[list[Any]], Any]


class ValkeyValues(Values):
    """The `Values` of a server."""

    def __init__(self, client: CommandClient) -> None:
        self._client = client

    def batch(self) -> ValkeyBatch:
        """An empty batch; no I/O."""
        return ValkeyBatch(self._client)

    async def scan_keys(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        """Pages of the keys that begin with `prefix`; looks at every key of the server's database, on a cluster of
        every primary's.
        """
        async for keys in self._client.scan(prefix, page_size=page_size):
            yield [text for key in keys if (text := _text(key)) is not None]


class ValkeyBatch(ValueBatch):
    """Commands with what makes values of their replies."""

    def __init__(self, client: CommandClient) -> None:
        self._client = client
        self._commands: list[Command] = []
        self._replies: list[tuple[Reply[Any], int, _Parser]] = []
        self._writes = False

    def get(self, key: str) -> Reply[bytes | None]:
        """The string, or None."""
        return self._ask(_optional_bytes, ("GET", key))

    def get_with_expiry(self, key: str) -> Reply[Stored | None]:
        """The string and when it expires, or None."""
        return self._ask(_stored, ("GET", key), ("PTTL", key), ("PEXPIRETIME", key))

    def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> Reply[bool]:
        """Store a string; false when `only_if_absent` and the key was there. Replaces a map."""
        command: list[Argument] = ["SET", key, value, *_expiry(ttl_seconds)]
        if only_if_absent:
            command.append("NX")
        return self._tell(lambda replies: replies[0] is not None, tuple(command))

    def exchange(self, key: str, value: bytes, *, ttl_seconds: int | None = None) -> Reply[bytes | None]:
        """Store a string; the one that was there before, or None."""
        return self._tell(_optional_bytes, ("SET", key, value, *_expiry(ttl_seconds), "GET"))

    def delete(self, key: str, *, only_if: bytes | None = None) -> Reply[bool]:
        """Delete a string or a map, or only a string that still is `only_if`; true when it was there."""
        if only_if is None:
            return self._tell(_as_bool, ("DEL", key))
        return self._tell(_as_bool, load_script("delete_value").call(key, [only_if]))

    def expire(self, key: str, ttl_seconds: int, *, only_if: ExpiresAt | None = None) -> Reply[bool]:
        """Let a string or map expire in `ttl_seconds`; false when it is gone or its expiry is no longer as said."""
        ttl = checked_ttl(ttl_seconds)
        if only_if is None:
            return self._tell(_as_bool, ("EXPIRE", key, ttl))
        seen = -1 if only_if.expires_at_ms is None else only_if.expires_at_ms
        return self._tell(_as_bool, load_script("expire_value").call(key, [ttl, seen]))

    def read_map(self, key: str) -> Reply[dict[str, bytes]]:
        """All fields of a map; empty when there is none."""
        return self._ask(lambda replies: reply.parse_map(replies[0]), ("HGETALL", key))

    def read_fields(self, key: str, fields: Sequence[str]) -> Reply[dict[str, bytes]]:
        """Those of `fields` (at least one) that the map has."""
        names = tuple(fields)
        return self._ask(lambda replies: reply.parse_fields(replies[0], names) or {}, ("HMGET", key, *names))

    def write_map(self, key: str, fields: Fields, *, outlive_seconds: int | None = None) -> Reply[None]:
        """Set fields (at least one) of a map, leaving its others alone."""
        parts: list[Argument] = [part for item in fields.items() for part in item]
        if outlive_seconds is None:
            return self._tell(_nothing, ("HSET", key, *parts))
        return self._tell(_nothing, load_script("write_map").call(key, [checked_ttl(outlive_seconds), *parts]))

    def add_field(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Set a field that the map does not have; false, and nothing is set, where it has."""
        return self._tell(_as_bool, load_script("add_field").call(key, [field, value]))

    def persist(self, key: str) -> Reply[bool]:
        """Take the expiry of a string or map away; false when it has none or is not there."""
        return self._tell(_as_bool, ("PERSIST", key))

    def remove_fields(self, key: str, fields: Sequence[str]) -> Reply[int]:
        """Remove fields (at least one) of a map; how many there were. An empty map is gone."""
        return self._tell(_as_int, ("HDEL", key, *fields))

    def remove_field_if(self, key: str, field: str, value: bytes) -> Reply[bool]:
        """Remove a field that still has this value; true when it had."""
        return self._tell(_as_bool, load_script("remove_field").call(key, [field, value]))

    def increment(self, key: str, field: str, amount: int) -> Reply[int]:
        """Add to an integer field of a map, missing counts as 0; the new value."""
        return self._tell(_as_int, ("HINCRBY", key, field, amount))

    def increment_many(self, key: str, amounts: Mapping[str, int]) -> Reply[None]:
        """Add to several integer fields of one map at once: all of them or none."""
        parts: list[Argument] = [part for item in amounts.items() for part in item]
        return self._tell(_nothing, load_script("increment").call(key, parts))

    async def send(self) -> None:
        """Do it all; questions alone enjoy the client's retries, writes are sent at most once."""
        if not self._commands:
            return
        answers = await (run_many if self._writes else _ask_many)(self._client, self._commands)
        # On a cluster one node may be gone while the others did what they were told.
        if all(isinstance(answer, EngineUnavailableError) for answer in answers):
            raise answers[0]
        position = 0
        for pending, count, parse in self._replies:
            mine = answers[position : position + count]
            position += count
            failed = next((answer for answer in mine if isinstance(answer, Exception)), None)
            pending.settle(parse(mine) if failed is None else failed)

    def _ask(self, parse: Callable[[list[Any]], _T], *commands: Command) -> Reply[_T]:
        pending: Reply[_T] = Reply()
        self._commands.extend(commands)
        self._replies.append((pending, len(commands), parse))
        return pending

    def _tell(self, parse: Callable[[list[Any]], _T], command: Command) -> Reply[_T]:
        self._writes = True
        return self._ask(parse, command)


async def _ask_many(client: CommandClient, commands: Sequence[Command]) -> list[Any]:
    return await client.ask_many(commands)


def _expiry(ttl_seconds: int | None) -> Command:
    return () if ttl_seconds is None else ("EX", checked_ttl(ttl_seconds))


def _optional_bytes(replies: list[Any]) -> bytes | None:
    return None if replies[0] is None else reply.as_bytes(replies[0])


def _stored(replies: list[Any]) -> Stored | None:
    value, left, expires_at = replies
    if value is None:
        return None
    left_ms, expires_at_ms = reply.as_int(left), reply.as_int(expires_at)
    if left_ms == -2:
        # It expired between the two commands.
        return None
    return Stored(
        reply.as_bytes(value),
        expires_at_ms=None if expires_at_ms < 0 else expires_at_ms,
        left_ms=None if left_ms < 0 else left_ms,
    )


def _as_bool(replies: list[Any]) -> bool:
    return reply.as_int(replies[0]) > 0


def _as_int(replies: list[Any]) -> int:
    return reply.as_int(replies[0])


def _nothing(_: list[Any]) -> None:
    return None


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
