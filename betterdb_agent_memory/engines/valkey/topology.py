"""The map of a cluster's slots: read from its nodes, corrected by what they answer, read again when it misleads.

The client libraries keep such a map too. Theirs is read through their own connections with their own repetitions, and
valkey-py closes connections in use whenever it reads it anew; one CLUSTER SLOTS through our own is all that it takes.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from betterdb_agent_memory.background import LoopLock
from betterdb_agent_memory.engines.valkey.nodes import Nodes
from betterdb_agent_memory.engines.valkey.slots import Address, SlotMap, parse_open_slots, parse_slots
from betterdb_agent_memory.errors import (
    AuthenticationFailedError,
    ConfigurationError,
    EngineError,
    EngineUnavailableError,
)

READ_SECONDS = 2.0
"""A node that has not told the map in this time is not waited for; another one is asked."""

_YOUNG_SECONDS = 0.5
"""A map of this age is not read again because one slot turned out to have moved."""


class Topology:
    """Who owns which slot, as far as is known. `version` counts up whenever that changes."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._map: SlotMap | None = None
        self._lock = LoopLock()
        self._read_at = 0.0
        self._asked_last: Address | None = None
        # Whoever was named as an owner knows about it.
        self._ask_first: Address | None = None
        self._is_suspect = False
        self.version = 0

    async def current(self) -> SlotMap:
        """The map; one round trip when nobody has read it yet, or it has misled somebody.

        Raises:
            EngineUnavailableError: no node answers.
            AuthenticationFailedError: a node refuses the user, or the user may not read the map.
            ConfigurationError: a server of no cluster.
        """
        if self._map is None or self._is_suspect:
            return await self.read_again()
        return self._map

    def suspect(self) -> None:
        """The map led to a node that is not there: the next one to need it reads it again."""
        self._is_suspect = True

    def suspect_unless_young(self) -> None:
        """A slot has moved, so others probably have: the map is read again, not more often than twice a second."""
        if monotonic() - self._read_at > _YOUNG_SECONDS:
            self._is_suspect = True

    def learn(self, slot: int, owner: Address) -> None:
        """A node said who owns a slot."""
        owner = self._nodes.settings.remap(owner)
        self._ask_first = owner
        if self._map is not None and self._map.owners[slot] != owner:
            self._set(self._map.with_owner(slot, owner))

    async def read_again(self, *, unless_younger_than: float = 0.0) -> SlotMap:
        """The map, read once for all who ask for it at the same time. One round trip."""
        asked_at = monotonic()
        async with self._lock:
            if self._map is not None and self._read_at > asked_at - unless_younger_than:
                return self._map
            began = monotonic()
            read = await self._read()
            self._read_at, self._is_suspect = began, False
            self._set(read)
            await self._nodes.rest((*read.primaries, *self._nodes.settings.seeds))
            return read

    async def open_slots(self, primaries: tuple[Address, ...]) -> frozenset[str]:
        """Slots that are just being handed over, by what these nodes say. One round trip for each."""
        answers = await asyncio.gather(*(self._nodes[node].ask("CLUSTER", "NODES") for node in primaries))
        return frozenset(slot for answer in answers for slot in parse_open_slots(answer))

    def _set(self, slots: SlotMap) -> None:
        if slots != self._map:
            self._map = slots
            self.version += 1

    async def _read(self) -> SlotMap:
        """The map as the next node tells it that can be reached: not always the same one's view, which may be old."""
        known = () if self._map is None else self._map.primaries
        candidates = list(dict.fromkeys((*known, *self._nodes.settings.seeds)))
        if self._asked_last in candidates:
            at = candidates.index(self._asked_last) + 1
            candidates = candidates[at:] + candidates[:at]
        if self._ask_first is not None:
            candidates = list(dict.fromkeys((self._ask_first, *candidates)))
            self._ask_first = None
        reasons: list[str] = []
        for node in candidates:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    answer = await self._nodes[node].ask("CLUSTER", "SLOTS")
            except TimeoutError:
                reasons.append(f"{node}: no answer within {READ_SECONDS:g} s")
                continue
            except AuthenticationFailedError:
                raise
            except EngineUnavailableError as error:
                reasons.append(f"{node}: {error}")
                continue
            except EngineError as error:
                if "cluster support disabled" in str(error):
                    raise ConfigurationError(
                        f"{node} is a server without a cluster: open it with valkey://host:port, or start it with "
                        "--cluster-enabled yes"
                    ) from error
                raise
            self._asked_last = node
            slots = parse_slots(answer, node, self._nodes.settings.remap)
            if slots.primaries:
                return slots
            reasons.append(f"{node}: it knows no slots; it has not joined a cluster yet")
        raise EngineUnavailableError(f"no node of the cluster can be asked: {'; '.join(reasons)}")
