"""What other workers write is seen soon: the change feed, followed for a near-cache."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from betterdb_agent_memory.background import end_if_cancelled
from betterdb_agent_memory.engines.event_log import EventLog, LogPosition
from betterdb_agent_memory.errors import AgentMemoryError, ChangesMissedError
from betterdb_agent_memory.memory.changes.change import Change
from betterdb_agent_memory.memory.changes.reading import Asked, follow
from betterdb_agent_memory.memory.near.answers import scope_said, subjects_of_ids, subjects_of_scope
from betterdb_agent_memory.near_cache import NearCache

_log = logging.getLogger(__name__)

DELETIONS: Final = frozenset({"forgotten", "evicted"})
"""Kinds of changes after which only answers that give the memory are others."""

_PAUSE_SECONDS: Final = 1.0
"""Between a feed that could not be read and the next attempt."""


class ToldOfChanges:
    """Follows the change feed of a store from now on, and drops answers that a change concerns. No answer waits for it.

    Where it fails, or falls so far behind that changes are gone before they were read, all answers are dropped, and
    `on_failure` is told; meanwhile each lives no longer than its bound, as without the feed.
    """

    def __init__(self, log: EventLog, store: str, near: NearCache[Any], *, on_failure: Callable[[], None]) -> None:
        self._log = log
        self._store = store
        self._near = near
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._process = os.getpid()

    def start(self) -> None:
        """Begin, in the running loop; nothing where it goes on already, in this loop or in another that runs."""
        if self._process != os.getpid():
            self._process, self._task = os.getpid(), None  # the parent's
        task = self._task
        if task is None or task.done() or not task.get_loop().is_running():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """End; returns when nothing runs any more."""
        task, self._task = self._task, None
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        """Runs until the feed is switched off; the next recall that finds it on starts it anew."""
        has_warned = False
        while True:
            try:
                state = await self._log.state()
                if state is None:
                    return
                has_warned = False
                start = state.last if state.last.number else LogPosition(state.begun_ms, 0)
                asked = Asked(self._store, lambda change, _: change.kind != "reinforced", self._missed)
                async for change in follow(self._log, start, asked):
                    self._drop(change)
            except ChangesMissedError as gap:
                self._near.drop_all("unsure")  # switched off, or too far behind
                _log.debug("near answers of store %s are dropped: %s", self._store, gap)
            except AgentMemoryError as error:
                self._near.drop_all("unsure")
                self._on_failure()
                level = logging.DEBUG if has_warned else logging.WARNING
                has_warned = True
                _log.log(level, "near answers of store %s are not told of changes for now: %s", self._store, error)
                await asyncio.sleep(_PAUSE_SECONDS)
            end_if_cancelled()

    def _missed(self, count: int | None) -> None:
        if count is not None:
            self._on_failure()

    def _drop(self, change: Change) -> None:
        subjects = [*subjects_of_ids([change.memory_id])]
        if change.kind not in DELETIONS:
            subjects += subjects_of_scope(scope_said(change.scope))
        self._near.drop(subjects, "told")
