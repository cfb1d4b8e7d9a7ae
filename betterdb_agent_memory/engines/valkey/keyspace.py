"""Every key of a collection, found without the index."""

from __future__ import annotations

from collections.abc import AsyncIterator

from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.limits import is_own


async def own_ids(client: CommandClient, key_prefix: str, *, page_size: int) -> AsyncIterator[list[str]]:
    """Pages of the ids of hashes below `key_prefix`; somebody else's, with a colon, are left out.

    Every key that is there all the time comes at least once. Looks at all keys of the server's database, on a
    cluster of every primary's: one round trip per `page_size` of them. Pages may be empty.
    """
    prefix = key_prefix.encode()
    async for keys in client.scan(key_prefix, page_size=page_size, kind="hash"):
        yield [id for key in keys if (id := _id(key[len(prefix) :])) is not None]


def _id(stored: bytes) -> str | None:
    try:
        id = stored.decode()
    except UnicodeDecodeError:
        return None
    return id if is_own(id) else None
