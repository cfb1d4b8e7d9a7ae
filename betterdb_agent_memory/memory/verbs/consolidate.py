"""Condensing memories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from betterdb_agent_memory.engines.base import Fence
from betterdb_agent_memory.memory.consolidation.consolidate import Arguments, consolidate
from betterdb_agent_memory.memory.consolidation.facts import (
    ConsolidateFactsResult,
    ConsolidateResult,
    FactExtractor,
    SummarizeFn,
    Undated,
)
from betterdb_agent_memory.memory.consolidation.language_model import LanguageModel
from betterdb_agent_memory.memory.consolidation.request import Mode
from betterdb_agent_memory.memory.consolidation.workshop import Workshop
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.record import NewMemory
from betterdb_agent_memory.memory.requests import (
    exact_filter,
)
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope, checked_tags
from betterdb_agent_memory.memory.searching import itself, lookup_space
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace
from betterdb_agent_memory.memory.where import Where


class ConsolidateVerbs(StoreParts):
    """consolidate, consolidate_facts."""

    async def consolidate(
        self,
        *,
        mode: Mode | None = None,
        summarize: SummarizeFn | LanguageModel | None = None,
        extract_facts: FactExtractor | LanguageModel | None = None,
        older_than_seconds: float | timedelta | None = None,
        max_importance: float | None = None,
        delete_sources: bool | None = None,
        summary_importance: float | None = None,
        fact_importance: float | None = None,
        tags: Sequence[str] | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        ttl: int | timedelta | None = None,
        undated: Undated | None = None,
        day_first: bool | None = None,
        extract_without_candidates: bool | None = None,
        batch_size: int | None = None,
        max_input_chars: int | None = None,
        wait_seconds: float | None = None,
        lease_seconds: float | None = None,
        dry_run: bool = False,
        on_progress: ProgressFn | None = None,
    ) -> ConsolidateResult | ConsolidateFactsResult:
        """Condense memories: one summary in their place, or up-to-date facts beside them.

        `mode` is "summary" or "facts", or follows from the one callback given: `summarize` (async, memories
        to a text) or `extract_facts` (async, memories to facts), or instead a model such as
        "openai:gpt-5-mini" (extra `llm`). At least one criterion says which memories; they are taken oldest
        first, none that was written after the run began, and never summaries or facts, which only
        consolidation itself writes. One run at a time works on a store; another one waits up to
        `wait_seconds` (300). docs/consolidation.md has the whole of it.

        A summary is written first and its sources are deleted then, those that nobody has changed meanwhile;
        a crash in between is repaired by the next run. It expires with its longest-lived source unless
        `ttl` says otherwise. `dry_run` counts and writes nothing; with facts it does call the extractor.
        More than `batch_size` memories (10,000) or `max_input_chars` characters (a model: 100,000) go to the
        callback in several calls. Duplicates among facts are healed in every run, even if the callback then
        fails. Without memories the extractor is asked, for retractions, only if `extract_without_candidates`
        says so. About two round trips per 1,000 memories beside the calls of the callback.

        Raises:
            InvalidInputError: something is refused or says nothing to this mode, or no criterion was given;
                nothing was read.
            ConfigurationError: a model was named that cannot be used, or the store has no embedder.
            ConsolidationError: the callback failed or returned something unusable; nothing was written of it.
            LeaseHeldError: another run did not end in time.
            LeaseLostError: this run stood still for longer than `lease_seconds` (30).
        """
        return await consolidate(
            self._workshop(),
            Arguments(
                mode=mode,
                summarize=summarize,
                extract_facts=extract_facts,
                older_than_seconds=older_than_seconds,
                max_importance=max_importance,
                delete_sources=delete_sources,
                summary_importance=summary_importance,
                fact_importance=fact_importance,
                ttl=ttl,
                undated=undated,
                day_first=day_first,
                extract_without_candidates=extract_without_candidates,
                batch_size=batch_size,
                max_input_chars=max_input_chars,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                dry_run=dry_run,
                on_progress=on_progress,
            ),
            scope=checked_scope(scope, thread_id, agent_id, namespace),
            tags=checked_tags(tags),
            filter=exact_filter(scope, thread_id, agent_id, namespace, tags, where=where),
        )

    async def consolidate_facts(
        self,
        *,
        extract_facts: FactExtractor | LanguageModel,
        older_than_seconds: float | timedelta | None = None,
        max_importance: float | None = None,
        fact_importance: float | None = None,
        tags: Sequence[str] | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        ttl: int | timedelta | None = None,
        undated: Undated | None = None,
        day_first: bool | None = None,
        extract_without_candidates: bool | None = None,
        batch_size: int | None = None,
        max_input_chars: int | None = None,
        wait_seconds: float | None = None,
        lease_seconds: float | None = None,
        dry_run: bool = False,
        on_progress: ProgressFn | None = None,
    ) -> ConsolidateFactsResult:
        """`consolidate(mode="facts", ...)`, the published earlier name."""
        facts = await self.consolidate(
            mode="facts",
            extract_facts=extract_facts,
            older_than_seconds=older_than_seconds,
            max_importance=max_importance,
            fact_importance=fact_importance,
            tags=tags,
            thread_id=thread_id,
            agent_id=agent_id,
            namespace=namespace,
            scope=scope,
            where=where,
            ttl=ttl,
            undated=undated,
            day_first=day_first,
            extract_without_candidates=extract_without_candidates,
            batch_size=batch_size,
            max_input_chars=max_input_chars,
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
            dry_run=dry_run,
            on_progress=on_progress,
        )
        return cast("ConsolidateFactsResult", facts)

    def _workshop(self) -> Workshop:
        return Workshop(
            name=self.name,
            records=self._records,
            values=self._engine.values,
            leases=self._engine.leases,
            watch=self._watch,
            clock=self._clock,
            new_id=self._new_id,
            ready=self._ready_to_write,
            searched=self._searched_records,
            write=self._write_products,
            keep_in_step=self._changed,
            make_room=lambda scope, tags: self._capacity.make_room([(scope, tags)]),
            fact_source=self._fact_source,
            fact_importance=self._fact_importance,
            max_content_bytes=self._max_content_bytes,
        )

    async def _ready_to_write(self) -> None:
        (await self._models.layout()).main.embedder.require("consolidate")

    async def _searched_records(self) -> SearchedRecords | None:
        async def search(space: VectorSpace) -> VectorSpace | None:
            if await space.index.find(space.embedder.dimensions) is None and space.embedder.is_there:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            return await self._searcher.ask(space, lambda: itself(space), None)

        space = await self._searcher.within(lookup_space, search)
        return None if space is None else space.records

    async def _write_products(
        self,
        memories: Sequence[NewMemory],
        *,
        fence: Fence,
        ttl_seconds: int | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        layout = await self._models.layout()
        self._start_background_work()
        await self._writer.write_made(
            memories, layout, fence=fence, ttl_seconds=ttl_seconds, expires_at_ms=expires_at_ms
        )
        self._watch.stored(len(memories))

    async def _changed(self, ids: Sequence[str]) -> None:
        await self._follower.follow((await self._models.layout()).generation, ids)
