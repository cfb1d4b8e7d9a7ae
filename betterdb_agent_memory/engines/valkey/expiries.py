"""When records expire, on servers old and new."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.command_client import CommandClient

_NO_EXPIRY: Final = -1
"""What PTTL says of a key that has none."""


async def read_expiries(client: CommandClient, keys: Sequence[str]) -> list[int | None]:
    """When each key expires (ms since the epoch); None for never and for no key. One round trip per 500.

    Before Redis 7 a server tells only how long a key has left, which is added to its clock: two more.
    """
    answers = await client.ask_many([("PEXPIRETIME", key) for key in keys])
    if any(isinstance(answer, Exception) and "unknown command" in str(answer).lower() for answer in answers):
        return await _by_time_left(client, keys)
    return [None if (at_ms := _number(answer)) < 0 else at_ms for answer in answers]


async def read_lifetimes(client: CommandClient, keys: Sequence[str]) -> list[float]:
    """How many ms each key has left: infinity for one without an expiry, 0 for no key. One round trip per 500."""
    left_ms = [_number(answer) for answer in await client.ask_many([("PTTL", key) for key in keys])]
    # The server rounds, and looks at its clock now and then.
    return [math.inf if left == _NO_EXPIRY else max(0, left - 1) for left in left_ms]


async def _by_time_left(client: CommandClient, keys: Sequence[str]) -> list[int | None]:
    # The clock beside each key: what comes between the two is a moment, not the whole batch.
    answers = await client.ask_many([command for key in keys for command in (("TIME",), ("PTTL", key))])
    expiries: list[int | None] = []
    for now, left in zip(answers[::2], answers[1::2], strict=True):
        if isinstance(now, Exception):
            raise now
        seconds, microseconds = (reply.as_int(part) for part in now)
        left_ms = _number(left)
        expiries.append(None if left_ms < 0 else seconds * 1000 + microseconds // 1000 + left_ms)
    return expiries


def _number(answer: Any) -> int:
    if isinstance(answer, Exception):
        raise answer
    return reply.as_int(answer)
