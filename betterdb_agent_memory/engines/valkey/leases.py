"""Who may do long work, by the server's clock."""

from __future__ import annotations

from betterdb_agent_memory.engines.base import Fence
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.beside import is_crossing
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.limits import MAX_TTL_SECONDS
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.errors import InvalidInputError


async def refuse_late(client: CommandClient, fence: Fence) -> None:
    """Nothing while nobody else has taken the lease of `fence`: for what cannot be one step with that. One round trip.

    Raises:
        LeaseLostError: somebody has.
    """
    if reply.as_int(await client.ask("HGET", fence.key, "token") or 0) != fence.token:
        raise fence.lost()


class ValkeyLeases:
    """The `Leases` protocol on a server; every verb is one round trip.

    A lasting key stays for ever, with its last token in it. A verb whose answer was lost (OutcomeUnknownError)
    can be repeated: the holder gets its own token again.
    """

    def __init__(self, client: CommandClient) -> None:
        self._client = client

    async def acquire(self, key: str, owner: str, *, ttl_seconds: float, lasting: bool = True) -> int | None:
        """The fencing token, or None while somebody else holds the lease. The holder gets its own again."""
        return await self._run(key, "acquire" if lasting else "borrow", owner, ttl_seconds) or None

    async def renew(self, key: str, owner: str, *, ttl_seconds: float) -> bool:
        """Hold on for `ttl_seconds` from now; false when the lease is no longer the owner's."""
        return await self._run(key, "renew", owner, ttl_seconds) > 0

    async def release(self, key: str, owner: str) -> bool:
        """Give the lease back; false when it is no longer the owner's."""
        return await self._run(key, "release", owner, 1) > 0

    async def write_map(self, fence: Fence, key: str, fields: Fields) -> None:
        """Set fields (at least one) of the map `key`, unless somebody else has taken the lease of `fence` since.

        One round trip; two, of which the first looks at the lease, where they are of two slots of a cluster.

        Raises:
            LeaseLostError: somebody has; nothing was written.
        """
        pairs = [part for pair in fields.items() for part in pair]
        if self._client.are_together(key, fence.key):
            script = load_script("write_fenced_map")
            command = script.call(key, [str(fence.token), *pairs], beside=[fence.key])
            [outcome] = await run_many(self._client, [command])
            if not is_crossing(outcome):
                if isinstance(outcome, Exception):
                    raise outcome
                if reply.as_int(outcome) == 0:
                    raise fence.lost()
                return
        await refuse_late(self._client, fence)
        [outcome] = await run_many(self._client, [("HSET", key, *pairs)])
        if isinstance(outcome, Exception):
            raise outcome

    async def _run(self, key: str, verb: str, owner: str, ttl_seconds: float) -> int:
        if not 0.001 <= ttl_seconds <= MAX_TTL_SECONDS:
            raise InvalidInputError(f"a lease lasts 0.001 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds!r}")
        [outcome] = await run_many(
            self._client, [load_script("lease").call(key, [verb, owner, int(ttl_seconds * 1000)])]
        )
        if isinstance(outcome, Exception):
            raise outcome
        return reply.as_int(outcome)
