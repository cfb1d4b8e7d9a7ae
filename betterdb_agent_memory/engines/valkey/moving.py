"""Records that become records of another collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from betterdb_agent_memory.engines.base import Collection
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.engines.valkey.writing import settle
from betterdb_agent_memory.errors import ConfigurationError


async def move_many(
    client: CommandClient, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str]
) -> int:
    """See `Engine.move_many`."""
    keys = {there: (source.key_prefix + there, target.key_prefix + here) for there, here in ids.items()}
    for pair in keys.values():
        if not client.are_together(*pair):
            raise ConfigurationError(
                f"{pair[0]} and {pair[1]} lie in two slots of the cluster, so nothing can move from one to the other "
                "in one step; give both names the same hash tag"
            )
    digest = load_script("move").digest
    commands: list[Command] = [("EVALSHA", digest, "2", *pair, *without) for pair in keys.values()]
    answers = await run_many(client, commands) if commands else []
    settle([*keys], answers)
    return sum(map(reply.as_int, answers))
