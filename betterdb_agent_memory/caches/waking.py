"""An engine that says when it is used, so that background work can begin with the first call and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.delegating import DelegatingEngine
from betterdb_agent_memory.engines.values import ValueBatch, Values


class WakingEngine(DelegatingEngine):
    """`engine`, with `on_use` called whenever plain values are about to be read or written."""

    def __init__(self, engine: Engine, on_use: Callable[[], None]) -> None:
        super().__init__(engine)
        self._values = _WakingValues(engine.values, on_use)

    @property
    def values(self) -> Values:
        """Plain values."""
        return self._values


class _WakingValues(Values):
    def __init__(self, values: Values, on_use: Callable[[], None]) -> None:
        self._values = values
        self._on_use = on_use

    def batch(self) -> ValueBatch:
        self._on_use()
        return self._values.batch()

    def scan_keys(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        self._on_use()
        return self._values.scan_keys(prefix, page_size=page_size)
