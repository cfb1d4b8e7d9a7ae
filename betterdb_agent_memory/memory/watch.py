"""What a store reports about itself: spans, metrics, and the counts that `stats` shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.consolidation.facts import ConsolidateFactsResult
from betterdb_agent_memory.memory.near_misses import NearMisses, NearMissLog, is_near_miss, threshold_admitting
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.recalling.ranking import Ranking
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.memory.reinforcement import ReinforcementStatistics
from betterdb_agent_memory.near_cache import Why
from betterdb_agent_memory.options import MemoryTelemetryOptions
from betterdb_agent_memory.telemetry import (
    MAX_CONTENT_CHARACTERS,
    SPAN_CONSOLIDATE,
    SPAN_CONSOLIDATE_FACTS,
    SPAN_RECALL,
    SPAN_REMEMBER,
    SPAN_REMEMBER_MANY,
    Attribute,
    create_memory_telemetry,
    exemplar,
    export_traffic,
)

_log = logging.getLogger(__name__)


class StoreWatch:
    """Counts and measures on behalf of one store."""

    def __init__(self, store_name: str, telemetry: MemoryTelemetryOptions | None) -> None:
        self._store_name = store_name
        self._has_own_label = telemetry is None or telemetry.label is None
        self._label = label = (telemetry.label if telemetry is not None else None) or store_name
        self._registry = telemetry.registry if telemetry is not None else None
        self._key_prefix = memory_collection(store_name).key_prefix
        self._telemetry = create_memory_telemetry(telemetry)
        metrics = self._telemetry.metrics
        self._items = metrics.items.labels(label)
        self._recalls = metrics.recall_total.labels(label)
        self._recalls_with_hits = metrics.recall_hits.labels(label)
        self._recalls_empty = metrics.recall_empty.labels(label)
        self._near_misses = metrics.recall_near_miss.labels(label)
        self._near_miss_log = NearMissLog()
        self._recall_seconds = metrics.recall_latency.labels(label)
        self._embedding_calls = metrics.embedding_calls.labels(label)
        self._evictions = metrics.evictions.labels(label)
        self._consolidations = metrics.consolidations.labels(label)
        self._unmatched_tombstones = metrics.fact_tombstone_unmatched.labels(label)
        self._refills = metrics.recall_refills.labels(label)
        self._inexact = metrics.recall_inexact.labels(label)
        self._unreadable = metrics.unreadable_records.labels(label)
        self._pending = metrics.reinforcements_pending.labels(label)
        self._lost = metrics.reinforcements_lost.labels(label)
        self._changes_read = metrics.changes_read
        self._changes_missed = metrics.changes_missed.labels(label)
        self._near_lookups = metrics.near_cache_lookups
        self._near_dropped = metrics.near_cache_dropped
        self._warned_of_near_miss = False
        self._warned_of_unindexed = False
        self._lost_reported = 0
        self.unreadable_count = 0
        self.refill_count = 0
        self.background_failure_count = 0

    def export_traffic(self, engine: Engine) -> None:
        """Show what the store exchanges with its server beside its own metrics."""
        if self._has_own_label:
            export_traffic(engine, self._store_name, engine.traffic, self._registry)

    @contextmanager
    def remembering(
        self, content: str, importance: float, ttl_seconds: int | None
    ) -> Iterator[Callable[[str, bool], None]]:
        """The span of one remember; what it yields is told the memory's id, and whether one was added."""
        attributes = self._about("upsert_memory") | {"memory.importance": importance}
        if ttl_seconds is not None:
            attributes["memory.ttl"] = ttl_seconds
        if self._telemetry.capture_content:
            attributes["memory.content"] = content[:MAX_CONTENT_CHARACTERS]
        with self._telemetry.span(SPAN_REMEMBER, attributes) as span:

            def remembered(id: str, added: bool) -> None:
                span.set_attribute("cache.key", self._key_prefix + id)
                span.set_attribute("gen_ai.memory.record.id", id)
                if added:
                    self._items.inc()

            yield remembered

    @contextmanager
    def remembering_many(self, count: int) -> Iterator[None]:
        """The span of one batch of memories."""
        attributes = self._about("upsert_memory") | {"memory.count": count, "gen_ai.memory.record.count": count}
        with self._telemetry.span(SPAN_REMEMBER_MANY, attributes):
            yield

    def stored(self, count: int) -> None:
        """Memories that a batch added."""
        self._items.inc(count)

    @contextmanager
    def recalling(self, k: int, query: str | None = None) -> Iterator[Span]:
        """The span and the duration of one recall, by a text or by a vector."""
        started = time.perf_counter()
        attributes = self._about("search_memory") | {"recall.k": k}
        if query is not None and self._telemetry.capture_content:
            attributes["gen_ai.memory.query.text"] = query[:MAX_CONTENT_CHARACTERS]
        with self._telemetry.span(SPAN_RECALL, attributes) as span:
            yield span
            self._recalls.inc()
            self._recall_seconds.observe(time.perf_counter() - started, exemplar(span))

    def recalled(self, span: Span, ranking: Ranking, *, nearest_distance: float | None, threshold: float) -> None:
        """What a recall found."""
        span.set_attribute("recall.candidate_count", ranking.related)
        span.set_attribute("recall.result_count", len(ranking.hits))
        span.set_attribute("gen_ai.memory.record.count", len(ranking.hits))
        span.set_attribute("recall.exact", ranking.exact)
        if not ranking.exact:
            self._inexact.inc()
        if ranking.hits:
            span.set_attribute("cache.matched_key", self._key_prefix + ranking.hits[0].item.id)
        self.unreadable(ranking.unreadable)
        (self._recalls_with_hits if ranking.hits else self._recalls_empty).inc()
        if ranking.hits or nearest_distance is None:
            return
        if is_near_miss(nearest_distance, threshold):
            span.set_attribute("recall.zero_hits_near_threshold", True)
            span.set_attribute("recall.nearest_distance", nearest_distance)
            self._near_misses.inc()
            self._near_miss_log.note(nearest_distance)
            self._warn_of_near_miss(nearest_distance, threshold)

    def recalled_near(self, span: Span, hits: Sequence[MemoryHit]) -> None:
        """What a recall was given from the memory of this process."""
        span.set_attribute("recall.near", True)
        span.set_attribute("recall.result_count", len(hits))
        span.set_attribute("gen_ai.memory.record.count", len(hits))
        if hits:
            span.set_attribute("cache.matched_key", self._key_prefix + hits[0].item.id)
        (self._recalls_with_hits if hits else self._recalls_empty).inc()

    def near_lookup(self, is_hit: bool) -> None:
        """A recall was looked for in the memory of this process."""
        self._near_lookups.labels(self._label, "hit" if is_hit else "miss").inc()

    def near_dropped(self, why: Why, count: int) -> None:
        """Answers in the memory of this process were dropped."""
        self._near_dropped.labels(self._label, why).inc(count)

    def near_misses(self) -> NearMisses:
        """Recalls that nearly found something."""
        return self._near_miss_log.summary()

    @contextmanager
    def consolidating(self) -> Iterator[Span]:
        """The span of one summary run."""
        with self._telemetry.span(SPAN_CONSOLIDATE, self._about()) as span:
            yield span

    @contextmanager
    def consolidating_facts(self) -> Iterator[Span]:
        """The span of one facts run."""
        with self._telemetry.span(SPAN_CONSOLIDATE_FACTS, self._about()) as span:
            yield span

    def consolidated(self, span: Span, candidates: int, created: int, deleted: int) -> None:
        """What a summary run did; one without candidates is not counted, as published."""
        span.set_attribute("consolidate.candidates", candidates)
        span.set_attribute("consolidate.created", created)
        span.set_attribute("consolidate.deleted", deleted)
        if candidates:
            self._consolidations.inc()

    def consolidated_facts(self, span: Span, result: ConsolidateFactsResult) -> None:
        """What a facts run did; one without candidates is not counted, as published."""
        span.set_attribute("consolidate_facts.candidates", result.candidates)
        span.set_attribute("consolidate_facts.facts", result.facts)
        span.set_attribute("consolidate_facts.unmatched_tombstones", len(result.unmatched_tombstones))
        span.set_attribute("consolidate_facts.created", len(result.created))
        span.set_attribute("consolidate_facts.deleted", result.deleted)
        self._unmatched_tombstones.inc(len(result.unmatched_tombstones))
        if result.candidates:
            self._consolidations.inc()

    def embedding_called(self) -> None:
        """One paid call of the embedder."""
        self._embedding_calls.inc()

    def forgotten(self, count: int) -> None:
        """Memories that were deleted on request."""
        self._items.dec(count)

    def evicted(self, count: int) -> None:
        """Memories that left because their scope was full."""
        self._items.dec(count)
        self._evictions.inc(count)

    def change_read(self, kind: str) -> None:
        """A change was handed to a reader of the feed."""
        self._changes_read.labels(self._label, kind).inc()

    def changes_missed(self, count: int | None) -> None:
        """Changes were gone before a reader came to them; None, which counts as one, where nobody can tell how many."""
        self._changes_missed.inc(1 if count is None else count)

    def refilled(self, count: int) -> None:
        """Extra searches that a recall needed."""
        self.refill_count += count
        self._refills.inc(count)

    def unindexed(self, fields: Sequence[str]) -> None:
        """A question about fields that the index lacks."""
        if not self._warned_of_unindexed:
            self._warned_of_unindexed = True
            _log.warning(
                "the search index of store %s was made without %s, so a condition on it is applied after the search: "
                "the answer is right, but every memory of the scope may be read for it. reindex() makes the index anew "
                "with all fields (searches wait meanwhile). This is said once; stats().unindexed_fields lists them.",
                self._store_name,
                " and ".join(fields),
            )

    def unreadable(self, count: int) -> None:
        """Records or fields that could not be read."""
        if count:
            self.unreadable_count += count
            self._unreadable.inc(count)

    def background_failed(self, work: str) -> None:
        """Best-effort work that failed: `eviction`, `config_refresh`, `discovery`, `reinforcement`,
        `generation`, `window`, `near_cache`.
        """
        self.background_failure_count += 1
        self._telemetry.metrics.background_failures.labels(self._label, work).inc()

    def config_ignored(self, field: str) -> None:
        """A value of the live configuration that cannot be used; `field` is one of the few known ones."""
        self._telemetry.metrics.config_values_ignored.labels(self._label, field).inc()

    def reinforcements(self, statistics: ReinforcementStatistics) -> None:
        """How reinforcement stands."""
        self._pending.set(statistics.pending)
        self._lost.inc(statistics.lost - self._lost_reported)
        self._lost_reported = statistics.lost

    def _about(self, operation: str | None = None) -> dict[str, Attribute]:
        """What every span says: the store, by the Monitor's name and by the GenAI convention's."""
        about: dict[str, Attribute] = {"cache.name": self._store_name, "gen_ai.memory.store.id": self._store_name}
        if operation is not None:
            about["gen_ai.operation.name"] = operation
        return about

    def _warn_of_near_miss(self, distance: float, threshold: float) -> None:
        if not self._warned_of_near_miss:
            self._warned_of_near_miss = True
            _log.warning(
                "a recall on store %s found nothing within distance %.3f while the nearest memory was at %.3f. If that "
                "one was meant, a threshold of %.2f admits it: threshold= of the call, MemoryOptions(threshold=) or "
                "default_threshold= of the store, or agent.config.set(threshold=) for all workers (recall.threshold in "
                "%s:__mem_config). What else that lets in, `calibrate` of the store or of betterdb-memory measures on "
                "your own memories. This is said once; stats().near_misses and recall_near_miss_total count on.",
                self._store_name,
                threshold,
                distance,
                threshold_admitting(distance),
                self._store_name,
            )
