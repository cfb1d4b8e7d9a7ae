"""Making the memories' own index anew while others search in it, and all memories findable by words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine, IndexState, Outcome, RecordChange, Records, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.generations.migration import model_lease
from betterdb_agent_memory.memory.generations.state import QUIET_SECONDS, STATE_SECONDS
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.results import ReindexResult

_HEARD_SECONDS = QUIET_SECONDS + STATE_SECONDS
_HELD_SECONDS = 2 * STATE_SECONDS
_POLL_SECONDS = 0.1
_SAY_AGAIN_SECONDS = 1.0
_PAGE = 500


class Reindexing:
    """Drops the search index and builds it anew over the memories that are there.

    A server answers from an index that it is still filling, with whatever is in it. So every worker is told
    first: soon, so that it asks more often, then now, so that its searches wait. In a file the new
    index takes the place of the old one in an instant, and nobody has to be told.

    After that every memory gets the field of stems that this store would write for its content (`stored_words`,
    None for none): earlier releases and other packages wrote none, stores of another language others.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        memories: Records,
        models: Models,
        follower: Follower,
        *,
        stored_words: Callable[[str], str | None],
    ) -> None:
        self._engine = engine
        self._name = name
        self._memories = memories
        self._models = models
        self._follower = follower
        self._stored_words = stored_words

    async def run(self, on_progress: ProgressFn | None) -> ReindexResult:
        """See `MemoryStore.reindex`."""
        async with model_lease(self._engine, self._name) as lease:
            layout = await self._models.layout(look=True)
            if (await self._models.state.current()).phase == "finishing":
                raise ConfigurationError("migration.finish() is making the index anew; let it come to its end first")
            found = (await self._memories.inspect()).dimensions
            dimensions = found if found is not None else await layout.main.embedder.probe()
            state = await self._rebuilt(dimensions, lease, on_progress, is_seen_by_others=found is not None)
            total = await self._memories.count(Filter())
            _tell(on_progress, total, total)
            # Not before: an index that is damaged may refuse it.
            worded = await self._write_words(layout, lease, on_progress)
        return ReindexResult(total, state.dimensions or 0, state.unindexed, state.failures, worded)

    async def _write_words(self, layout: Layout, lease: HeldLease, on_progress: ProgressFn | None) -> int:
        """How many memories lacked the words that this store writes, or had others. A page or two of them at a time.

        One whose content is changed meanwhile is left to whoever does that.
        """
        seen = worded = 0
        async for rows in self._memories.scan((record.CONTENT, record.WORDS), page_size=_PAGE):
            lease.check()
            if changes := await off_loop(len(rows), self._wordings, rows):
                outcomes = await self._memories.change_many(changes, fence=lease.fence)
                ids = [one.id for one, done in zip(changes, outcomes, strict=True) if done is Outcome.CHANGED]
                worded += len(ids)
                await self._follower.follow(layout.generation, ids)
            seen += len(rows)
            if on_progress is not None:
                on_progress(Progress("words", seen))
        return worded

    def _wordings(self, rows: Sequence[Row]) -> list[RecordChange]:
        """The changes of those rows whose words are not what this store would write."""
        changes = []
        for row in rows:
            if not record.is_memory(row.fields):
                continue
            content, held = row.fields[record.CONTENT], row.fields.get(record.WORDS)
            text = self._stored_words(content.decode(errors="replace"))
            words = None if text is None else text.encode()
            if words != held:
                expected = {record.CONTENT: content, record.WORDS: held}
                sets = {} if words is None else {record.WORDS: words}
                removes = (record.WORDS,) if words is None else ()
                changes.append(RecordChange(row.id, expected=expected, sets=sets, removes=removes))
        return changes

    async def _rebuilt(
        self, dimensions: int, lease: HeldLease, on_progress: ProgressFn | None, *, is_seen_by_others: bool
    ) -> IndexState:
        # An engine without a network swaps the index in one transaction.
        if not self._engine.round_trips:
            await self._models.index.rebuild(dimensions, fence=lease.fence)
            return await self._memories.inspect()
        total = await self._memories.count(Filter()) if is_seen_by_others else 0
        try:
            if is_seen_by_others:
                await self._models.state.note_rebuilding("soon", system_clock(), lease)
                await asyncio.sleep(_HEARD_SECONDS)
            await self._models.state.note_rebuilding("now", system_clock(), lease)
            if is_seen_by_others:
                await asyncio.sleep(_HELD_SECONDS)
            lease.check()
            await self._models.index.rebuild(dimensions, fence=lease.fence)
            return await self._complete(total, lease, on_progress)
        finally:
            await self._models.state.note_rebuilding("", 0, lease)

    async def _complete(self, total: int, lease: HeldLease, on_progress: ProgressFn | None) -> IndexState:
        polls_until_said = 0
        while (state := await self._memories.inspect()).indexing:
            if not polls_until_said:
                await self._models.state.note_rebuilding("now", system_clock(), lease)
                polls_until_said = round(_SAY_AGAIN_SECONDS / _POLL_SECONDS)
            polls_until_said -= 1
            _tell(on_progress, round(total * state.indexed_fraction), total)
            await asyncio.sleep(_POLL_SECONDS)
        return state


def _tell(on_progress: ProgressFn | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(Progress("indexing", done, total))
