"""How many bytes commands and replies say, for the counters."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory.engines.valkey.packing import Command


def size_of_command(command: Command) -> int:
    """Bytes of a command's texts; characters for text, numbers for nothing."""
    return sum([len(argument) for argument in command if not isinstance(argument, int)])


def size_of_reply(reply: Any) -> int:
    """Bytes of all texts in a reply, however deep. About 30 µs for a search of 64 rows, 0.1 µs for a string."""
    kind = type(reply)
    if kind is bytes:
        return len(reply)
    if kind is list:
        try:
            # Several times faster than adding up, and most lists of a reply hold nothing but texts.
            return len(b"".join(reply))
        except TypeError:
            return sum(map(size_of_reply, reply))
    if kind is dict:
        return size_of_reply([*reply]) + size_of_reply([*reply.values()])
    return 0
