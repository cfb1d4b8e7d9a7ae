"""Which node of a cluster answers for a key: hash slots, hash tags, and the map of slots. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from valkey.crc import key_slot

from betterdb_agent_memory.engines.valkey.packing import Argument
from betterdb_agent_memory.errors import EngineError

SLOTS = 16_384
"""Hash slots of every cluster."""


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Remap = Callable[[Address], Address]
"""From an address that the cluster states to one that this program can reach."""


def slot_of(key: Argument) -> int:
    """The hash slot of a key: of its hash tag, where it has one."""
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode()))


def hash_tag(text: str) -> str | None:
    """What stands between the first `{` and the next `}`, by which alone a cluster places a key; None without one.

    >>> hash_tag("{acme}:mem:1"), hash_tag("{}x"), hash_tag("acme")
    ('acme', None, None)
    """
    _, opening, rest = text.partition("{")
    tag, closing, _ = rest.partition("}")
    return tag if opening and closing and tag else None


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The primary of every slot, None where none is known."""

    owners: tuple[Address | None, ...] = (None,) * SLOTS
    primaries: tuple[Address, ...] = field(init=False, compare=False)
    """Every primary with a slot, by its first one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "primaries", tuple(owner for owner in dict.fromkeys(self.owners) if owner))

    def with_owner(self, slot: int, owner: Address) -> SlotMap:
        """The map after a node said who owns a slot."""
        return SlotMap((*self.owners[:slot], owner, *self.owners[slot + 1 :]))


def parse_slots(answer: Any, asked: Address, remap: Remap) -> SlotMap:
    """The map that CLUSTER SLOTS tells, as bytes or, of drivers that decode, text or a dictionary of theirs.

    A node that does not know its own host leaves it out: it is the one that was `asked`.
    """
    if not isinstance(answer, Sequence):
        raise EngineError(f"cannot read what {asked} says of the cluster's slots: {type(answer).__name__}")
    owners: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_ in answer:
        host = _text(primary[0])
        # `?` is a node that has not been given a host name yet.
        known = asked.host if host in ("", "?") else host
        owner = remap(Address(known, int(primary[1])))
        owners[int(first) : int(last) + 1] = [owner] * (int(last) + 1 - int(first))
    return SlotMap(tuple(owners))


def parse_open_slots(answer: Any) -> frozenset[str]:
    """The slots that a node is handing over or taking in, by its answer to CLUSTER NODES."""
    if isinstance(answer, Mapping):
        raise EngineError("cannot read a list of nodes that is no text")
    own = next((line for line in _text(answer).splitlines() if "myself" in line), "")
    return frozenset(part for part in own.split()[8:] if part.startswith("["))


def _text(value: Any) -> str:
    return "" if value is None else value.decode() if isinstance(value, bytes) else str(value)
