"""The keys of a cluster below a prefix, each at least once, also while slots move from node to node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from betterdb_agent_memory.engines.valkey.nodes import Nodes
from betterdb_agent_memory.engines.valkey.patience import Patience
from betterdb_agent_memory.engines.valkey.patterns import scan_command
from betterdb_agent_memory.engines.valkey.reply import parse_scan
from betterdb_agent_memory.engines.valkey.slots import Address, SlotMap, hash_tag, slot_of
from betterdb_agent_memory.engines.valkey.topology import Topology
from betterdb_agent_memory.errors import EngineUnavailableError

_MOST_ROUNDS = 20


class ClusterScan:
    """One listing of the keys that begin with `prefix`, of one `kind` or of all.

    It goes round until a round has begun and ended with the same map, and twice where slots are being handed over: a
    key that moves during one round, perhaps from a node that is still to be looked at to one that has been, stays where
    it is during another.
    """

    def __init__(self, topology: Topology, nodes: Nodes, prefix: str, page_size: int, kind: str | None) -> None:
        self._topology = topology
        self._nodes = nodes
        self._prefix = prefix
        self._page_size = page_size
        self._kind = kind

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """Pages of keys, some twice; pages may be empty.

        Raises:
            EngineUnavailableError: a node could not be reached for ten seconds, or slots move all the time.
        """
        patience = Patience()
        was_open: frozenset[str] = frozenset()
        is_first = True
        for _ in range(_MOST_ROUNDS):
            try:
                before = await self._topology.current()
                if is_first:
                    was_open = await self._topology.open_slots(before.primaries)
                async for keys in self._round(before, is_anywhere=bool(was_open)):
                    yield keys
                after = await self._topology.read_again()
                is_open = await self._topology.open_slots(after.primaries)
            except EngineUnavailableError:
                self._topology.suspect()
                if not await patience.pause():
                    raise
                continue
            if after == before and is_open <= was_open and not (is_first and was_open):
                return
            was_open, is_first = was_open | is_open, False
        raise EngineUnavailableError("the cluster moves slots all the time: its keys cannot be listed; try again later")

    async def _round(self, slots: SlotMap, *, is_anywhere: bool) -> AsyncIterator[list[bytes]]:
        """The keys of every primary, or of the one that has the prefix's slot, unless this may be moving."""
        nodes: Iterable[Address | None] = slots.primaries
        if hash_tag(self._prefix) is not None and not is_anywhere:
            nodes = [slots.owners[slot_of(self._prefix)]]
        for node in nodes:
            if node is None:
                raise EngineUnavailableError(f"no node owns the slot of {self._prefix!r}")
            cursor = b"0"
            while True:
                command = scan_command(cursor, self._prefix, self._page_size, self._kind)
                cursor, keys = parse_scan(await self._nodes[node].ask(*command))
                yield keys
                if cursor == b"0":
                    break
