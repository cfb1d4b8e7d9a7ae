"""The asynchronous classes without `await`; written by scripts/generate_sync.py, not by hand."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from betterdb_agent_memory import (
    DEFAULT_METRICS_PREFIX,
    DEFAULT_TRACER_NAME,
    MATCH_ALL_MEMORY_QUERY,
    MEMORY_CACHE_TYPE,
    MEMORY_CAPABILITIES,
    AccessCount,
    AddOp,
    AgentMemoryConfig,
    AgentMemoryError,
    AgentMemoryOptions,
    AgentMemoryRecallConfig,
    AuthenticationFailedError,
    CoalescingEmbedder,
    Component,
    ConfigurationError,
    ConsolidateFactsResult,
    ConsolidateResult,
    ConsolidationConfig,
    ConsolidationError,
    CreatedAt,
    DeferredReinforcement,
    DeleteOp,
    Embedder,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EmbeddingError,
    EmbedFn,
    EngineError,
    EngineUnavailableError,
    Explanation,
    ExportResult,
    Fact,
    FactExtractor,
    FactOp,
    FunctionEmbedder,
    Id,
    Importance,
    ImportResult,
    IndexMismatchError,
    IndexMissingError,
    IndexNotReadyError,
    InvalidInputError,
    LanguageModel,
    LastAccessedAt,
    LeaseHeldError,
    LeaseLostError,
    LineError,
    MemoryConfigRefreshConfig,
    MemoryConfigSnapshot,
    MemoryDiscovery,
    MemoryDiscoveryConfig,
    MemoryDraft,
    MemoryExistsError,
    MemoryFilter,
    MemoryHit,
    MemoryItem,
    MemoryListOptions,
    MemoryListResult,
    MemoryMetrics,
    MemoryNotFoundError,
    MemoryOptions,
    MemoryScope,
    MemoryStats,
    MemoryStoreClient,
    MemoryTelemetry,
    MemoryTelemetryOptions,
    MigrationStatus,
    NoopOp,
    OccurredAt,
    OnDuplicate,
    OutcomeUnknownError,
    PartialBatchError,
    Progress,
    ProgressFn,
    RecallWeights,
    ReindexResult,
    RememberResult,
    SearchModuleMissingError,
    SearchTimeoutError,
    Source,
    Subject,
    SummarizeFn,
    Tag,
    UnmatchedTombstoneOp,
    UpdateOp,
    VersionConflictError,
    apply_ops,
    composite_score,
    create_memory_telemetry,
    embedder_from_name,
    recency_decay,
    reconcile,
    similarity_from_distance,
    subject_key,
)
from betterdb_agent_memory.agent_memory import AgentMemory as AsyncAgentMemory
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.live_config import LiveConfig
from betterdb_agent_memory.memory.consolidation.facts import Undated
from betterdb_agent_memory.memory.consolidation.request import Mode
from betterdb_agent_memory.memory.generations.migration import DEFAULT_BATCH
from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration as AsyncEmbeddingMigration
from betterdb_agent_memory.memory.parts import random_id
from betterdb_agent_memory.memory.store import MemoryStore as AsyncMemoryStore
from betterdb_agent_memory.memory.transfer.importing import OnExisting
from betterdb_agent_memory.memory.updating import KEEP, Keep
from betterdb_agent_memory.memory.where import Moment, Where
from betterdb_agent_memory.options import DEFAULT_MAX_CONTENT_BYTES, DEFAULT_NAME, Reinforcement
from betterdb_agent_memory.sync.bridge import Bridged, as_async, call, iterate, wait, with_async_functions

__all__ = [
    "DEFAULT_METRICS_PREFIX",
    "DEFAULT_TRACER_NAME",
    "MATCH_ALL_MEMORY_QUERY",
    "MEMORY_CACHE_TYPE",
    "MEMORY_CAPABILITIES",
    "AccessCount",
    "AddOp",
    "AgentMemory",
    "AgentMemoryConfig",
    "AgentMemoryError",
    "AgentMemoryOptions",
    "AgentMemoryRecallConfig",
    "AuthenticationFailedError",
    "CoalescingEmbedder",
    "Component",
    "ConfigurationError",
    "ConsolidateFactsResult",
    "ConsolidateResult",
    "ConsolidationConfig",
    "ConsolidationError",
    "CreatedAt",
    "DeferredReinforcement",
    "DeleteOp",
    "EmbedFn",
    "Embedder",
    "EmbedderOverloadedError",
    "EmbedderUnavailableError",
    "EmbeddingError",
    "EmbeddingMigration",
    "EngineError",
    "EngineUnavailableError",
    "Explanation",
    "ExportResult",
    "Fact",
    "FactExtractor",
    "FactOp",
    "FunctionEmbedder",
    "Id",
    "ImportResult",
    "Importance",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexNotReadyError",
    "InvalidInputError",
    "LanguageModel",
    "LastAccessedAt",
    "LeaseHeldError",
    "LeaseLostError",
    "LineError",
    "MemoryConfigRefreshConfig",
    "MemoryConfigSnapshot",
    "MemoryDiscovery",
    "MemoryDiscoveryConfig",
    "MemoryDraft",
    "MemoryExistsError",
    "MemoryFilter",
    "MemoryHit",
    "MemoryItem",
    "MemoryListOptions",
    "MemoryListResult",
    "MemoryMetrics",
    "MemoryNotFoundError",
    "MemoryOptions",
    "MemoryScope",
    "MemoryStats",
    "MemoryStore",
    "MemoryStoreClient",
    "MemoryTelemetry",
    "MemoryTelemetryOptions",
    "MigrationStatus",
    "NoopOp",
    "OccurredAt",
    "OnDuplicate",
    "OutcomeUnknownError",
    "PartialBatchError",
    "Progress",
    "ProgressFn",
    "RecallWeights",
    "ReindexResult",
    "RememberResult",
    "SearchModuleMissingError",
    "SearchTimeoutError",
    "Source",
    "Subject",
    "SummarizeFn",
    "Tag",
    "UnmatchedTombstoneOp",
    "UpdateOp",
    "VersionConflictError",
    "apply_ops",
    "composite_score",
    "create_memory_telemetry",
    "embedder_from_name",
    "recency_decay",
    "reconcile",
    "similarity_from_distance",
    "subject_key",
]


class AgentMemory(Bridged):
    """One object that gives a worker its memory: `agent.memory` is the long-term tier.

    Two ways in: `AgentMemory.open(url)` makes everything; `AgentMemory(AgentMemoryOptions(...))` takes
    your own client, as published. Use it with `with`, or call `initialize` and `close`.
    """

    _inner: AsyncAgentMemory

    @property
    def memory(self) -> MemoryStore:
        """The `memory` of the asynchronous object."""
        return MemoryStore._around(self._inner.memory)

    def __init__(self, options: AgentMemoryOptions) -> None:
        self._inner = call(AsyncAgentMemory, with_async_functions(options))

    @classmethod
    def open(
        cls,
        url: str | Path | None = None,
        *,
        name: str = DEFAULT_NAME,
        embedder: Embedder | EmbedFn | Callable[..., Any] | None = None,
        next_embedder: Embedder | EmbedFn | Callable[..., Any] | None = None,
        memory: MemoryOptions | None = None,
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open a server or a file; no I/O happens before the first call.

        `url` is `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`, a file path, or
        `:memory:`; None reads the environment variable BETTERDB_URL, else takes a file in the user's
        data directory. `embedder` defaults to the offline one (extra `local`); `next_embedder` is the
        model that the store is to be moved to (`agent.memory.migration`).

        Differs from a bare `MemoryStore`: recency and importance only break ties, recalled memories are
        written back later and merged, live configuration is re-read every 30 s, and on a server
        the Monitor is told.

        Raises:
            ConfigurationError: the URL is of no known kind, or an extra is missing; the message names it.
        """
        return cls._around(
            call(
                AsyncAgentMemory.open,
                url,
                name=name,
                embedder=as_async(embedder),
                next_embedder=as_async(next_embedder),
                memory=memory,
                clock=clock,
            )
        )

    def initialize(self) -> None:
        """Find or create the index, then announce the store and start re-reading live configuration.

        Raises:
            IndexMismatchError, SearchModuleMissingError, AuthenticationFailedError,
            EngineUnavailableError: what is wrong with the server or the file shows here.
        """
        wait(self._inner.initialize())

    def close(self) -> None:
        """Write what waits, stop background work, and close the engine if this object opened it."""
        wait(self._inner.close())

    def __enter__(self) -> AgentMemory:
        wait(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait(self._inner.__aexit__(kind, error, trace))


class MemoryStore(Bridged):
    """Long-term memory under one name: remember, recall, list, forget.

    `client` is a `valkey.asyncio` or `redis.asyncio` client, or an engine of this library; it stays
    yours and is not closed. `embed_fn` is an async function from text to vector or an
    `Embedder`; without one only calls that embed nothing work. `default_threshold` is the largest
    cosine distance (0 to 2) of a hit: by default what the embedder states, 0.25 for a plain function.
    `weights` default to 0.6 similarity, 0.25 recency, 0.15 importance with a half-life of
    604,800 s; `max_items_per_scope` to no limit. `reinforcement` says when recalled memories
    are touched: "immediate" (before recall returns) or "deferred". `consolidation` sets label and
    importance of facts. `next_embed_fn` is the model that the store is to be moved to: see `migration`.
    `analytics` is accepted as published and means nothing: no usage data is collected, whatever its value.

    Methods may be called from many tasks at once. The index is found or created on first use.

    Raises:
        ConfigurationError: an argument cannot work; the message names it.
    """

    _inner: AsyncMemoryStore

    @property
    def name(self) -> str:
        """The `name` of the asynchronous object."""
        return self._inner.name

    def __init__(
        self,
        *,
        client: MemoryStoreClient | Engine,
        name: str,
        embed_fn: EmbedFn | Embedder | Callable[..., Any] | None = None,
        next_embed_fn: EmbedFn | Embedder | Callable[..., Any] | None = None,
        default_threshold: float | None = None,
        weights: RecallWeights | None = None,
        half_life_seconds: float | None = None,
        max_items_per_scope: int | None = None,
        discovery: bool | MemoryDiscoveryConfig = False,
        config_refresh: bool | MemoryConfigRefreshConfig | None = None,
        consolidation: ConsolidationConfig | None = None,
        telemetry: MemoryTelemetryOptions | None = None,
        analytics: bool = True,
        reinforcement: Reinforcement = "immediate",
        max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._inner = call(
            AsyncMemoryStore,
            client=client,
            name=name,
            embed_fn=as_async(embed_fn),
            next_embed_fn=as_async(next_embed_fn),
            default_threshold=default_threshold,
            weights=weights,
            half_life_seconds=half_life_seconds,
            max_items_per_scope=max_items_per_scope,
            discovery=discovery,
            config_refresh=config_refresh,
            consolidation=consolidation,
            telemetry=telemetry,
            analytics=analytics,
            reinforcement=reinforcement,
            max_content_bytes=max_content_bytes,
            clock=clock,
            new_id=new_id,
        )

    @property
    def live_config(self) -> LiveConfig:
        """The configuration that operators change; what `AgentMemory.config` writes, it reads."""
        return call(lambda: self._inner.live_config)

    def current_config(self) -> MemoryConfigSnapshot:
        """The configuration in force. No round trip."""
        return call(self._inner.current_config)

    def export_to(
        self,
        path: str | Path | BinaryIO,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        vectors: bool = True,
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ExportResult:
        """Write memories to a file of JSON lines, oldest first, as docs/export-import.md describes: lossless.

        All of them, or those of the scope, with all `tags`, that meet `where`. A path (`.gz` compresses)
        is written as `<path>.part` and renamed when complete; after an interruption the same call goes
        on behind the last whole line, unless `resume=False`. A binary stream gets the lines and stays
        open. Every memory that is there all the time is in the file exactly once; what is written or
        forgotten meanwhile may be in it or not. Four round trips and memory for 250 memories at a time.

        Raises:
            InvalidInputError: an argument is of another type.
            ConfigurationError: the file cannot be written, another export is writing it, or the `.part`
                belongs to another one.
            IndexNotReadyError: with vectors, while `migration.finish()` replaces them; no `.part` stays.
            EngineError: what is written stays for the next run.
        """
        return wait(
            self._inner.export_to(
                path,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                tags=tags,
                where=where,
                vectors=vectors,
                resume=resume,
                on_progress=on_progress,
            )
        )

    def import_from(
        self,
        path: str | Path | BinaryIO,
        *,
        on_existing: OnExisting = "skip",
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ImportResult:
        """Store the memories of an export under their ids, with every field and expiry they had.

        A memory that is there already stays as it is, or is replaced with `on_existing="replace"`. One
        that has expired since is left out; a line that is no memory is counted and reported in
        `errors`. Replacing looks at nothing but the id: a line of one namespace replaces a memory of another.
        Vectors are made anew where the file has none, or where they are another embedder's.
        After an interruption the same call on the same file goes on behind its last batch, unless
        `resume=False`. Nothing is evicted: a capacity limit is enforced by the next `remember`. About six
        round trips and one embedding call, if any, for 500 memories.

        Raises:
            InvalidInputError: the file is no export that this release reads, or is cut off.
            ConfigurationError: it cannot be read, or it brings no usable vectors and there is no
                embedder; nothing was written.
            IndexMismatchError: the embedder does not fit the store's index.
            IndexNotReadyError: the model was changed again and again meanwhile, or there is no embedder while
                it is changed.
            EmbeddingError, EngineError: what is done stays done, and the next run goes on.
        """
        return wait(self._inner.import_from(path, on_existing=on_existing, resume=resume, on_progress=on_progress))

    @property
    def migration(self) -> EmbeddingMigration:
        """Changing the embedding model without downtime; the store needs `next_embed_fn` for it."""
        return EmbeddingMigration._around(call(lambda: self._inner.migration))

    def reindex(self, *, on_progress: ProgressFn | None = None) -> ReindexResult:
        """Drop the search index and build it anew over the memories that are there.

        For an index that another client made without our fields (`stats().unindexed_fields`), or one that is
        damaged. No memory is touched. On a server every worker is told first, which takes about 13 s, and the
        searches of all of them wait then until it is done, 30 s at most before they raise
        IndexNotReadyError. Progress is told in memories.

        Raises:
            ConfigurationError: there is no index, and no embedder to tell the length of its vectors.
            LeaseHeldError: another worker is making it anew, or changing the embedding model.
        """
        return wait(self._inner.reindex(on_progress=on_progress))

    def consolidate(
        self,
        *,
        mode: Mode | None = None,
        summarize: SummarizeFn | LanguageModel | Callable[..., Any] | None = None,
        extract_facts: FactExtractor | LanguageModel | Callable[..., Any] | None = None,
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
        return wait(
            self._inner.consolidate(
                mode=mode,
                summarize=as_async(summarize),
                extract_facts=as_async(extract_facts),
                older_than_seconds=older_than_seconds,
                max_importance=max_importance,
                delete_sources=delete_sources,
                summary_importance=summary_importance,
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
        )

    def consolidate_facts(
        self,
        *,
        extract_facts: FactExtractor | LanguageModel | Callable[..., Any],
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
        return wait(
            self._inner.consolidate_facts(
                extract_facts=as_async(extract_facts),
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
        )

    def forget(self, id: str) -> bool:
        """Delete one memory; true when there was one. One round trip."""
        return wait(self._inner.forget(id))

    def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories; true, in order, where there was one. One round trip per 500.

        Raises:
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        return wait(self._inner.forget_many(ids))

    def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags, meeting `where`; returns how many.

        Two round trips per 500.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        return wait(
            self._inner.forget_by_scope(
                thread_id=thread_id, agent_id=agent_id, namespace=namespace, tags=tags, scope=scope, where=where
            )
        )

    def recall(
        self,
        query: str,
        *,
        k: int | None = None,
        threshold: float | None = None,
        tags: Sequence[str] | None = None,
        weights: RecallWeights | None = None,
        reinforce: bool | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        where: Where | None = None,
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """Return the `k` memories that matter most for `query`, best first.

        Only memories whose scope values equal the ones given, byte for byte, and that carry all
        `tags`; what is not given is not asked about. `where` adds conditions (docs/filters.md). `k` is 8 by
        default, at most 2,500; `threshold` and `weights` override the configuration; `reinforce=False`
        leaves the hits untouched; `now` (ms) replaces the clock. One round trip, and one more for
        immediate reinforcement; more only if the index returned memories that are not asked for: those
        of other scopes, or those that a condition excludes which it cannot tell (a negated tag or label).

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            EmbeddingError: the embedder failed.
            EngineError: the server said no, or did not answer in time.
        """
        return wait(
            self._inner.recall(
                query,
                k=k,
                threshold=threshold,
                tags=tags,
                weights=weights,
                reinforce=reinforce,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                where=where,
                now=now,
            )
        )

    def recall_by_vector(
        self,
        vector: VectorLike,
        *,
        k: int | None = None,
        threshold: float | None = None,
        tags: Sequence[str] | None = None,
        weights: RecallWeights | None = None,
        reinforce: bool | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        where: Where | None = None,
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """`recall` for a vector that you have already: no embedder is needed. The same otherwise.

        Raises:
            InvalidInputError: also for a vector that is empty, not finite, all zero, or of another
                length than the stored ones.
        """
        return wait(
            self._inner.recall_by_vector(
                vector,
                k=k,
                threshold=threshold,
                tags=tags,
                weights=weights,
                reinforce=reinforce,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                where=where,
                now=now,
            )
        )

    def get(self, id: str) -> MemoryItem | None:
        """The memory with this id, or None. One round trip; the vector is not read."""
        return wait(self._inner.get(id))

    def get_many(self, ids: Sequence[str]) -> builtins.list[MemoryItem | None]:
        """The memories with these ids, in order, None where there is none. One round trip per 500."""
        return wait(self._inner.get_many(ids))

    def list(self, options: MemoryListOptions | None = None) -> MemoryListResult:
        """A page of memories, newest first, and the exact total of the scope.

        One round trip, with a scope a second one beside it. Before anything was stored the page is empty.
        Without a scope the total is the server's, which may still count memories that have just expired.
        """
        return wait(self._inner.list(options))

    def iterate(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        after: str | None = None,
        page_size: int = 1000,
    ) -> Iterator[MemoryItem]:
        """Every memory of the scope, oldest first, however many there are: `async for item in store.iterate()`.

        A memory that is there from the beginning to the end comes exactly once, whatever others write and forget
        meanwhile. `after=item.cursor` goes on behind a memory, also in another process. About four
        round trips per 1,000 memories, and the memory of one page of `page_size` (at most 10,000).
        """
        return iterate(
            self._inner.iterate(
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                tags=tags,
                scope=scope,
                where=where,
                after=after,
                page_size=page_size,
            )
        )

    def remember(
        self,
        content: str,
        *,
        importance: float | None = None,
        tags: Sequence[str] | None = None,
        source: str | None = None,
        ttl: int | timedelta | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        date: str | None = None,
        occurred_at: Moment | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        on_duplicate: OnDuplicate = "keep",
    ) -> str:
        """Store a memory and return its id.

        `importance` is 0 to 1 (default 0.5); `tags` hold no comma; `ttl` is whole seconds or a
        timedelta, None or 0 for ever. The scope is said by keywords or by `scope=`. `subject` and
        `date` label facts. `occurred_at` is when what it tells happened: milliseconds, a datetime or ISO
        text. `metadata` is any JSON object up to 64 KiB; it is stored, not searched. One round trip, with its
        expiry in the same atomic step; with a capacity limit one more to count.

        `on_duplicate="keep"` stores it under a new random id, or under `id` if that is free.
        `"replace"` overwrites the memory that has `id`. `"merge"` makes the same content in the same thread, agent
        and namespace one memory, under an id that follows from them: if it is there it is reinforced, its importance
        raised to a larger one that is given, its tags united, its expiry moved to a later one, in one atomic
        step however many workers do so; nothing is embedded then. One more round trip. A copy that was
        stored otherwise, under a random id, is not looked for.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            MemoryExistsError: another memory has this `id`; nothing was written.
            EmbeddingError: the embedder failed; nothing was written.
            EngineUnavailableError: no connection; nothing was written.
            OutcomeUnknownError: the connection broke meanwhile; the memory is there whole or not at
                all. `error.ids` holds its id, to look it up with `get`.
        """
        return wait(
            self._inner.remember(
                content,
                importance=importance,
                tags=tags,
                source=source,
                ttl=ttl,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                date=date,
                occurred_at=occurred_at,
                metadata=metadata,
                id=id,
                on_duplicate=on_duplicate,
            )
        )

    def remember_many(
        self,
        memories: Iterable[str | MemoryDraft | Mapping[str, Any]],
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        on_duplicate: OnDuplicate = "keep",
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store many memories; what became of each, in order.

        Each is a text, a `MemoryDraft`, or a mapping with its fields. The scope given here is that of all; a
        draft may say what it leaves open. `on_duplicate` as for `remember`. One call of the embedder
        and one round trip per 500 memories; a capacity limit is enforced after each 500 (so that memories
        of the same call may be evicted), with one round trip for each scope and set of tags among them.

        What is wrong with one memory is in its result and harms no other. After the embedder failed for a whole
        batch, or the server is not to be reached, the rest is rejected with that error and not tried.

        Raises:
            InvalidInputError: `memories` is a text, or `on_duplicate` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        return wait(
            self._inner.remember_many(
                memories,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                on_duplicate=on_duplicate,
                on_progress=on_progress,
            )
        )

    def update(
        self,
        id: str,
        *,
        content: str | Keep = KEEP,
        importance: float | Keep | None = KEEP,
        tags: Sequence[str] | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep | None = KEEP,
        source: str | Keep | None = KEEP,
        subject: str | Keep | None = KEEP,
        date: str | Keep | None = KEEP,
        occurred_at: Moment | Keep | None = KEEP,
        ttl: int | timedelta | Keep | None = KEEP,
        if_version: int | None = None,
    ) -> MemoryItem:
        """Change what is given, leave the rest, and return the memory as it is then.

        None takes a field away (and sets importance to 0.5 and the time to live to for ever); `ttl` counts from
        now. All in one atomic step, which raises the memory's `version` by one if anything differs. `if_version`
        makes it happen only to the version that you have read. A content that is another than the stored one
        is embedded; any other change is not. Two round trips, with `content` three.

        Raises:
            InvalidInputError: a value is refused, or nothing is to be changed.
            MemoryNotFoundError: there is no such memory.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
        """
        return wait(
            self._inner.update(
                id,
                content=content,
                importance=importance,
                tags=tags,
                metadata=metadata,
                source=source,
                subject=subject,
                date=date,
                occurred_at=occurred_at,
                ttl=ttl,
                if_version=if_version,
            )
        )

    def ensure_index(self) -> None:
        """Find the index or create it, so that a misfit shows at start and not at the first recall.

        Up to 4 round trips, and one embedding of the word "probe" when the embedder does not state its
        dimension. Without an embedder an existing index is enough.

        Raises:
            IndexMismatchError: the index exists with another dimension, metric or prefix.
            SearchModuleMissingError: the server has no search module.
        """
        wait(self._inner.ensure_index())

    def stats(self) -> MemoryStats:
        """Counts and health of the store; before anything was stored the counts are 0. Three round trips."""
        return wait(self._inner.stats())

    def refresh_config(self) -> None:
        """Re-read the live configuration now. One round trip; a failed read raises and changes nothing."""
        wait(self._inner.refresh_config())

    def flush(self) -> None:
        """Write deferred reinforcement now. One round trip per 500 memories, none if nothing waits."""
        wait(self._inner.flush())

    def ensure_config_refresh_started(self) -> None:
        """Start re-reading the live configuration if the constructor asked for it, and wait for the first read."""
        wait(self._inner.ensure_config_refresh_started())

    def ensure_discovery_ready(self) -> None:
        """Wait until the store is announced to the Monitor, if the constructor asked for it."""
        wait(self._inner.ensure_discovery_ready())

    def close(self) -> None:
        """Write what waits and stop background work. The client stays open; it is yours."""
        wait(self._inner.close())


class EmbeddingMigration(Bridged):
    """Moves a store to another embedding model without a gap in what recall finds (docs/migration.md).

    The store is made with both embedders: `MemoryStore(embed_fn=old, next_embed_fn=new)`, and so is every
    worker that shall recall with the new one. Then, from any one process:

    1. `start()` opens a generation of new vectors beside the memories; from then on writes go to both.
    2. `run()` fills it. It holds a lease, goes on where a killed run stopped, and may run anywhere.
    3. `switch()` lets every worker with both embedders recall with the new model, within a second.
       `roll_back()` takes that back as often as wanted; `abandon()` drops the generation.
    4. `finish()` puts the new vectors into the memories and rebuilds their index. Until then readers
       in other languages are served as before; afterwards they need the new model, too.

    Workers with the old embedder alone go on as before until `finish`, which refuses them within a second; what
    they write gets its new vector from the next `run()`, `switch()` or from `finish()`.
    """

    _inner: AsyncEmbeddingMigration

    def status(self) -> MigrationStatus:
        """How far it has come. Five round trips."""
        return wait(self._inner.status())

    def start(self) -> MigrationStatus:
        """Open a generation for the next embedder; does nothing when it is open already.

        Raises:
            ConfigurationError: the store has one embedder only, the next one has no name or the present one's, or
                another change of models is under way.
            IndexMismatchError: the memories are embedded with neither.
            LeaseHeldError: another worker is at it.
        """
        return wait(self._inner.start())

    def run(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Fill the generation and bring it up to date with all that was written meanwhile.

        Goes on where a run that was killed stopped; run again later it only catches up. Per `batch_size`
        memories one call of the embedder and about six round trips. At least ten seconds pass between `start` and
        the end of the first run, until every worker has heard of the change. Afterwards the phase is
        `ready` (or as it was when recall was switched already).

        Raises:
            LeaseHeldError: another worker is filling it.
            LeaseLostError: this process stood still for longer than its lease; run it again.
            EmbeddingError: some memories could not be embedded; all others were. It names them.
        """
        return wait(self._inner.run(on_progress=on_progress, batch_size=batch_size))

    def switch(self) -> MigrationStatus:
        """Recall with the next model from now on, on every worker that has it, within a second.

        What was written by others meanwhile is caught up first.

        Raises:
            ConfigurationError: the generation is not filled; `run()` comes first.
        """
        return wait(self._inner.switch())

    def roll_back(self) -> MigrationStatus:
        """Recall with the former model again, on every worker within a second; the generation stays in step.

        Needs neither embedder, and waits for nobody: a `run` under way goes on, a `finish` that still catches up
        stops.

        Raises:
            ConfigurationError: nothing to go back from, or `finish` replaces the memories' vectors by now.
        """
        return wait(self._inner.roll_back())

    def abandon(self) -> MigrationStatus:
        """Give the change up: recall with the former model, and the generation's vectors are deleted.

        Needs neither embedder. Goes on where it was killed.
        """
        return wait(self._inner.abandon())

    def finish(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Make the new vectors the memories' own, rebuild the index, and delete the generation.

        Recall goes on through the generation until all is done. Goes on where it was killed, also in a store that
        has the new embedder only. There is no way back. Per `batch_size` memories about nine round trips.

        Raises:
            ConfigurationError: recall was not switched, or it was rolled back while this still caught up.
            LeaseHeldError, LeaseLostError, EmbeddingError: as `run`.
        """
        return wait(self._inner.finish(on_progress=on_progress, batch_size=batch_size))
