"""Hearing of changed keys on a cluster: on each node that owns some of them, wherever they go."""

from __future__ import annotations

import asyncio
import logging

from betterdb_agent_memory.background import end_if_cancelled
from betterdb_agent_memory.engines.valkey.nodes import Settings
from betterdb_agent_memory.engines.valkey.slots import Address, slot_of
from betterdb_agent_memory.engines.valkey.topology import Topology
from betterdb_agent_memory.engines.valkey.watching import Listener, connection_maker
from betterdb_agent_memory.engines.watching import Tell
from betterdb_agent_memory.errors import AgentMemoryError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
"""After this time the map of the slots is read anew: a slot that moves away is told to nobody who only listens."""

_NOTICE_SECONDS = 0.5
"""How soon it is noticed that somebody else has learned of a change of the map."""


class ClusterListener:
    """Hears which keys of a cluster change, with one connection for each node that owns some of them."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self._topology = topology
        self._settings = settings
        self._listeners: dict[Address, Listener] = {}

    async def listen(self, keys: frozenset[str], tell: Tell) -> None:
        """Tell of changes of `keys` until cancelled; follows their slots from node to node.

        Returns when every node refuses. Tells of all keys whenever listening begins, since a change may
        have been missed until then.
        """
        while True:
            version, owned = self._topology.version, await self._owned(keys)
            listening = [asyncio.create_task(self._listener(node).listen(mine, tell)) for node, mine in owned.items()]
            try:
                if await self._is_over(listening, version):
                    return
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)
            end_if_cancelled()

    async def _owned(self, keys: frozenset[str]) -> dict[Address, frozenset[str]]:
        """The keys of each node; none while no map can be had."""
        try:
            owners = (await self._topology.current()).owners
        except AgentMemoryError as error:
            _log.debug("the map of the cluster cannot be read: %s", error)
            return {}
        owned: dict[Address, set[str]] = {}
        for key in keys:
            if (owner := owners[slot_of(key)]) is not None:
                owned.setdefault(owner, set()).add(key)
        return {node: frozenset(mine) for node, mine in owned.items()}

    def _listener(self, node: Address) -> Listener:
        listener = self._listeners.get(node)
        if listener is None:
            listener = self._listeners[node] = Listener(connection_maker(self._settings.pool(node)), database=0)
        return listener

    async def _is_over(self, listening: list[asyncio.Task[None]], version: int) -> bool:
        """Wait until the keys may have other owners: false; true where every node has refused."""
        clock = asyncio.get_running_loop().time
        looked_at = clock()
        while True:
            if listening:
                done, pending = await asyncio.wait(listening, timeout=_NOTICE_SECONDS)
                for task in done:
                    task.result()
                if not pending:
                    return True
            else:
                await asyncio.sleep(_NOTICE_SECONDS)
            if clock() - looked_at > _LOOK_SECONDS or not listening:
                looked_at = clock()
                try:
                    await self._topology.read_again(unless_younger_than=_NOTICE_SECONDS)
                except AgentMemoryError as error:
                    _log.debug("the map of the cluster cannot be read: %s", error)
            if self._topology.version != version:
                return False
