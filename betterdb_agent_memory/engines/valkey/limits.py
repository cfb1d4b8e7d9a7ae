"""What is refused before it reaches the server."""

from __future__ import annotations

from betterdb_agent_memory.engines.base import RecordChange, RecordWrite
from betterdb_agent_memory.errors import InvalidInputError

MAX_TTL_SECONDS = 10**10
"""Some 300 years; a server refuses far larger ones only after the record was written."""

MAX_EXPIRY_MS = 10**14
"""The year 5138."""


MAX_POSITION = 2**53
"""Up to here every whole number is a number of its own to a server."""


def checked_ttl(ttl_seconds: int) -> int:
    """`ttl_seconds` if it is a whole number of seconds that a server accepts."""
    if type(ttl_seconds) is not int or not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidInputError(f"a time to live is 1 to {MAX_TTL_SECONDS} whole seconds, not {ttl_seconds!r}")
    return ttl_seconds


def checked_expiry(expires_at_ms: int) -> int:
    """`expires_at_ms` if it is a time that a server accepts."""
    if type(expires_at_ms) is not int or not 0 <= expires_at_ms <= MAX_EXPIRY_MS:
        raise InvalidInputError(
            f"an expiry is 0 to {MAX_EXPIRY_MS} whole milliseconds since the epoch, not {expires_at_ms!r}"
        )
    return expires_at_ms


def check_write(write: RecordWrite) -> None:
    """Refuse a record that cannot be stored."""
    if not is_own(write.id):
        raise InvalidInputError(f"a record id is not empty and has no colon, unlike {write.id!r}")
    if not write.fields:
        raise InvalidInputError(f"record {write.id!r} has no fields")
    if write.ttl_seconds is not None and write.expires_at_ms is not None:
        raise InvalidInputError(f"record {write.id!r} has both a time to live and a time to expire at")
    if write.ttl_seconds is not None:
        checked_ttl(write.ttl_seconds)
    if write.expires_at_ms is not None:
        checked_expiry(write.expires_at_ms)
    if write.if_exists is not None and write.if_exists.id != write.id:
        raise InvalidInputError(f"record {write.id!r} cannot be written as a change of {write.if_exists.id!r}")
    if write.if_exists is not None:
        check_change(write.if_exists)


def check_change(change: RecordChange) -> None:
    """Refuse a change that cannot be made."""
    if change.expiry is not None and change.expiry.ttl_seconds is not None:
        checked_ttl(change.expiry.ttl_seconds)


def is_own(id: str) -> bool:
    """Whether `id` can be one of our records': with a colon the key would be somebody else's."""
    return bool(id) and ":" not in id
