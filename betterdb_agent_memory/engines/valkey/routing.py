"""Where on a cluster a command goes, and what a node means that will not take it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.slots import Address
from betterdb_agent_memory.errors import EngineUnavailableError, OutcomeUnknownError

_KEYLESS = frozenset(
    {"ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "FLUSHALL", "FLUSHDB", "FT._LIST", "INFO"}
    | {"LATENCY", "MODULE", "PING", "ROLE", "SCRIPT", "TIME"}
)
_KEY_BEHIND = {"EVAL": 3, "EVALSHA": 3, "FCALL": 3, "XGROUP": 2, "XINFO": 2, "OBJECT": 2, "MEMORY": 2}
_REDIRECTED = re.compile(r"(?:(MOVED|ASK) )?(\d+) (.*):(\d+)$")


def name_of(command: Command) -> str:
    """The name of a command."""
    head = command[0]
    return (head.decode() if isinstance(head, bytes) else str(head)).upper()


def key_of(command: Command) -> Argument | None:
    """The first key of a command, or the index of a search; None for a command about a node."""
    name = name_of(command)
    if name in _KEYLESS or len(command) < 2:
        return None
    if name in ("XREAD", "XREADGROUP"):
        words = [str(word).upper() for word in command]
        return command[words.index("STREAMS") + 1]
    if name in ("EVAL", "EVALSHA", "FCALL") and str(command[2]) == "0":
        return None
    return command[_KEY_BEHIND.get(name, 1)]


def is_search(command: Command) -> bool:
    """Whether a command names a search index, which some servers place like a key and others have everywhere."""
    name = name_of(command)
    return name.startswith("FT.") and name not in _KEYLESS


def companions(commands: Sequence[Command]) -> list[int | None]:
    """For each command the one by whose key it is placed: itself, or what it is asked beside.

    A command about a node goes with the next one that has a key, or else with the last: the clock is asked before an
    expiry, the number of keys after a search. None where none has one.
    """
    keyed = [index for index, command in enumerate(commands) if key_of(command) is not None]
    if not keyed:
        return [None] * len(commands)
    placed: list[int | None] = []
    following = 0
    for index in range(len(commands)):
        while following < len(keyed) and keyed[following] < index:
            following += 1
        placed.append(keyed[min(following, len(keyed) - 1)])
    return placed


class Moved(NamedTuple):
    """The slot belongs to another node: the command has not run there and goes to `owner`."""

    slot: int
    owner: Address


class Asked(NamedTuple):
    """The slot is being handed over and the key is not here any more: this command alone goes to `owner`."""

    owner: Address


class Later(Enum):
    """The command has not run, and may once the cluster is well again."""

    NOT_DONE = "not done"
    """Said by a node: it is loading, a replica, misses slots, or the keys of the command are apart for a moment."""
    NOT_SENT = "not sent"
    """No connection."""


_LATER_CLASSES = frozenset({"ClusterDownError", "TryAgainError", "BusyLoadingError", "ReadOnlyError"})
_LATER_TEXTS = ("CLUSTERDOWN", "TRYAGAIN", "LOADING", "READONLY", "MASTERDOWN")


def verdict(reply: Any, node: Address) -> Moved | Asked | Later | None:
    """What a reply of `node` says about trying again; None for an answer, and for a failure that stays one."""
    if not isinstance(reply, Exception) or isinstance(reply, OutcomeUnknownError):
        return None
    cause = reply.__cause__ or reply
    names = {cls.__name__ for cls in type(cause).__mro__}
    text = str(cause)
    redirected = _REDIRECTED.match(text)
    if redirected is not None and (redirected[1] or names & {"MovedError", "AskError"}):
        # A node that is told no host for another one says the port alone.
        owner = Address(redirected[3].strip("[]") or node.host, int(redirected[4]))
        is_moved = redirected[1] == "MOVED" or "MovedError" in names
        return Moved(int(redirected[2]), owner) if is_moved else Asked(owner)
    if names & _LATER_CLASSES or text.startswith(_LATER_TEXTS):
        return Later.NOT_DONE
    # Nor what belongs to an event loop that has ended: it will not come back.
    is_unreachable = isinstance(reply, EngineUnavailableError) and not names & {"TimeoutError", "RuntimeError"}
    return Later.NOT_SENT if is_unreachable else None
