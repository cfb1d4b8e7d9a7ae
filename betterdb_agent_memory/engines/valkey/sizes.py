"""How many bytes commands and replies say, for the counters."""

from __future__ import annotations

from itertools import chain
from typing import Any

from betterdb_agent_memory.engines.valkey.packing import Command


def size_of_command(command: Command) -> int:
    """Bytes of a command's texts; characters for text, numbers for nothing."""
    try:
        return sum(map(len, command))  # type: ignore[arg-type]
    except TypeError:
        return sum([len(argument) for argument in command if not isinstance(argument, int)])


def size_of_reply(reply: Any) -> int:
    """Bytes of all texts in a reply, however deep. About 10 µs for a search of 64 rows, 0.1 µs for a string."""
    kind = type(reply)
    if kind is bytes:
        return len(reply)
    if kind is list:
        if len(reply) > 2 and type(reply[0]) is int and type(reply[2]) is list:
            # A search: a total, then keys and rows in turn.
            try:
                return len(b"".join(reply[1::2])) + len(b"".join(chain.from_iterable(reply[2::2])))
            except TypeError:  # something else is in it
                return sum(map(size_of_reply, reply))
        try:
            # Several times faster than adding up, and most lists of a reply hold nothing but texts, or none.
            return len(b"".join(filter(None, reply)))
        except TypeError:
            return sum(map(size_of_reply, reply))
    if kind is dict:
        return size_of_reply([*reply]) + size_of_reply([*reply.values()])
    return 0
