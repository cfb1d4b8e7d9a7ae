"""How many bytes commands and replies say, for the counters."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory.engines.valkey.packing import Command


def size_of_command(command: Command) -> int:
    """Bytes of a command's texts; characters for text, numbers for nothing."""
    try:
        return sum(map(len, command))  # type: ignore[arg-type]
    except TypeError:
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
            # A search answers with keys and lists in turn: half of the calls are spared.
            return sum([len(item) if type(item) is bytes else size_of_reply(item) for item in reply])
    if kind is dict:
        return size_of_reply([*reply]) + size_of_reply([*reply.values()])
    return 0
