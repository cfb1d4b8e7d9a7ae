"""Every key of a collection, found without the index."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.limits import is_own

_GLOB = re.compile(r"([\\*?\[\]])")


def pattern(prefix: str) -> str:
    """The pattern of SCAN for all keys that begin with `prefix`."""
    return escape_glob(prefix) + "*"


def escape_glob(text: str) -> str:
    r"""`text` so that a pattern means it literally.

    >>> print(escape_glob("a*[b]?"))
    a\*\[b\]\?
    """
    return _GLOB.sub(r"\\\1", text)


async def own_ids(client: ValkeyClient, key_prefix: str, *, page_size: int) -> AsyncIterator[list[str]]:
    """Pages of the ids of hashes below `key_prefix`; somebody else's, with a colon, are left out.

    Every key that is there all the time comes at least once. Looks at all keys of the server's database:
    one round trip per `page_size` of them. Pages may be empty.
    """
    prefix = key_prefix.encode()
    cursor = b"0"
    while True:
        answer = await client.ask("SCAN", cursor, "MATCH", pattern(key_prefix), "COUNT", page_size, "TYPE", "hash")
        cursor, keys = reply.parse_scan(answer)
        yield [id for key in keys if (id := _id(key[len(prefix) :])) is not None]
        if cursor == b"0":
            return


def _id(stored: bytes) -> str | None:
    try:
        id = stored.decode()
    except UnicodeDecodeError:
        return None
    return id if is_own(id) else None
