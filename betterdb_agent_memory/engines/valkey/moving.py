"""Records that become records of another collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from betterdb_agent_memory.engines.base import Collection, Records, RecordWrite
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.engines.valkey.writing import settle

_ATTEMPTS = 5


async def move_many(
    client: ValkeyClient,
    source: Collection,
    target: Collection,
    ids: Mapping[str, str],
    *,
    without: Sequence[str],
    records: tuple[Records, Records],
) -> int:
    """See `Engine.move_many`; `records` are those of `source` and of `target`."""
    together = {
        there: here
        for there, here in ids.items()
        if client.are_together(source.key_prefix + there, target.key_prefix + here)
    }
    commands: list[Command] = [
        ("EVALSHA", load_script("move").digest, "2", source.key_prefix + there, target.key_prefix + here, *without)
        for there, here in together.items()
    ]
    answers = await run_many(client, commands) if commands else []
    settle([*together], answers)
    moved = sum(map(reply.as_int, answers))
    apart = {there: here for there, here in ids.items() if there not in together}
    return moved + (await _copied(*records, apart, without) if apart else 0)


async def _copied(source: Records, target: Records, ids: Mapping[str, str], without: Sequence[str]) -> int:
    """Written here, then deleted there where it still is what was read; otherwise once more."""
    moved = 0
    waiting = dict(ids)
    for _ in range(_ATTEMPTS):
        if not waiting:
            break
        there = [*waiting]
        found, expiries = await source.read_many(there, None), await source.read_expiries(there)
        read = {
            id: (fields, expiry)
            for id, fields, expiry in zip(there, found, expiries, strict=True)
            if fields is not None
        }
        kept = {id: {name: fields[name] for name in fields if name not in without} for id, (fields, _) in read.items()}
        await target.write_many([RecordWrite(waiting[id], kept[id], expires_at_ms=read[id][1]) for id in read])
        deleted = await source.delete_many([*read], expected=[fields for fields, _ in read.values()])
        moved += sum(deleted)
        changed = [id for id, gone in zip(read, deleted, strict=True) if not gone]
        still = await source.read_many(changed, None) if changed else []
        gone = [id for id, fields in zip(changed, still, strict=True) if fields is None]
        # Deleted by somebody meanwhile: then it is not to be here, either.
        await target.delete_many([waiting[id] for id in gone], expected=[kept[id] for id in gone])
        waiting = {id: waiting[id] for id in changed if id not in gone}
    return moved
