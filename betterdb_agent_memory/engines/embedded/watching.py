"""Seeing what any process changed in the file: what is watched is read once a second and compared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

import apsw

from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.keys import live_fields, live_string
from betterdb_agent_memory.engines.watching import Tell
from betterdb_agent_memory.errors import EngineError

_log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
"""A look at two maps takes 0.1 ms of a thread, hardly more than PRAGMA data_version alone, which would also
answer to every memory that is written."""

_Content: TypeAlias = dict[str, object]


class Looking:
    """Compares what there is with what there was."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def listen(self, keys: frozenset[str], tell: Tell) -> None:
        """Tell of changes of `keys` until cancelled. A file that cannot be read now is looked at again later."""
        seen: _Content | None = None
        while True:
            try:
                found = await self._database.read(lambda connection: self._content(connection, keys))
            except EngineError as error:
                _log.debug("the file could not be looked at for changes: %s", error)
            else:
                changed = keys if seen is None else {key for key in keys if found[key] != seen[key]}
                seen = found
                if changed:
                    tell(changed)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    def _content(self, connection: apsw.Connection, keys: frozenset[str]) -> _Content:
        now_ms = self._now_ms()
        return {key: (live_fields(connection, key, now_ms), live_string(connection, key, now_ms)) for key in keys}
