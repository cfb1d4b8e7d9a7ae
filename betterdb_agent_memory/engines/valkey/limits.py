"""What is refused before it reaches the server."""

from __future__ import annotations

from betterdb_agent_memory.errors import InvalidInputError

MAX_TTL_SECONDS = 10**10
"""Some 300 years; a server refuses far larger ones only after the record was written."""


def checked_ttl(ttl_seconds: int) -> int:
    """`ttl_seconds` if it is a whole number of seconds that a server accepts."""
    if type(ttl_seconds) is not int or not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidInputError(f"a time to live is 1 to {MAX_TTL_SECONDS} whole seconds, not {ttl_seconds!r}")
    return ttl_seconds
