"""Plain values beside the records: strings, and maps of a few fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.limits import checked_ttl
from betterdb_agent_memory.engines.valkey.packing import Argument


class ValkeyValues:
    """The `Values` protocol on a server; every verb is one round trip."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        value = await self._client.ask("GET", key)
        return None if value is None else reply.as_bytes(value)

    async def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> bool:
        """Store a value; false when `only_if_absent` and there already was one."""
        command: list[Argument] = ["SET", key, value]
        if ttl_seconds is not None:
            command += ["EX", checked_ttl(ttl_seconds)]
        if only_if_absent:
            command.append("NX")
        return await self._tell(*command) is not None

    async def delete(self, key: str) -> bool:
        """Delete a value or a map; true when there was one."""
        return reply.as_int(await self._tell("DEL", key)) > 0

    async def read_map(self, key: str) -> dict[str, bytes]:
        """All fields of a map; empty when there is none."""
        return reply.parse_map(await self._client.ask("HGETALL", key))

    async def write_map(self, key: str, fields: Fields) -> None:
        """Set fields of a map, leaving its others alone."""
        if fields:
            await self._tell("HSET", key, *(part for item in fields.items() for part in item))

    async def remove_fields(self, key: str, fields: Sequence[str]) -> int:
        """Remove fields of a map; how many there were. An empty map is gone."""
        return reply.as_int(await self._tell("HDEL", key, *fields)) if fields else 0

    async def increment(self, key: str, field: str, amount: int) -> int:
        """Add to an integer field of a map, missing counts as 0; returns the new value.

        Sent at most once.

        Raises:
            OutcomeUnknownError: the connection broke after sending; it may have been added.
        """
        return reply.as_int(await self._tell("HINCRBY", key, field, amount))

    async def _tell(self, *command: Argument) -> Any:
        [outcome] = await self._client.tell_many([command])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
