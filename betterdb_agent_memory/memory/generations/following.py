"""Keeping the next model's vectors in step with what is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory.generations.generation import Generation

_log = logging.getLogger(__name__)


class Follower:
    """Brings a generation up to date after each write. Best effort, since the memory itself is written by
    then: `on_failure` is told, and the next `migration.run()` makes up for it.
    """

    def __init__(self, store_name: str, *, on_failure: Callable[[], None]) -> None:
        self._store_name = store_name
        self._on_failure = on_failure

    async def follow(self, generation: Generation | None, ids: Sequence[str]) -> None:
        """The vectors of these memories, made, changed or deleted; nothing where no model is being changed."""
        if generation is None or not ids or generation.is_closed():
            return
        try:
            failed = (await generation.sync(ids)).failed
        except AgentMemoryError as error:
            failed = dict.fromkeys(ids, error)
        if failed:
            self._on_failure()
            _log.warning(
                "%d memories of store %s have no vector of the next model yet: %s",
                len(failed),
                self._store_name,
                next(iter(failed.values())),
            )
