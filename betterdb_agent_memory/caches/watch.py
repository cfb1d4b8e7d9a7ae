"""What the cache tiers report about themselves: spans and metrics, every name as published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from betterdb_agent_memory.caches.operations import Check, CheckedTier, Checks, Counted, SessionRead, Stored
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.near_cache import Why
from betterdb_agent_memory.options import TelemetryOptions
from betterdb_agent_memory.telemetry import (
    SPAN_LLM_CHECK,
    SPAN_LLM_CLEAR,
    SPAN_LLM_INVALIDATE_BY_MODEL,
    SPAN_LLM_STORE,
    SPAN_LLM_STORE_MULTIPART,
    SPAN_SESSION_DESTROY_THREAD,
    SPAN_SESSION_GET,
    SPAN_SESSION_GET_ALL,
    SPAN_SESSION_SET,
    SPAN_SESSION_TOUCH,
    SPAN_TOOL_CHECK,
    SPAN_TOOL_INVALIDATE_BY_TOOL,
    SPAN_TOOL_STORE,
    Attribute,
    create_cache_telemetry,
    export_traffic,
)

MAX_ACTIVE_SESSIONS = 10_000
"""Threads that the gauge of active sessions tells apart, as published."""
Role: TypeAlias = Literal["leader", "follower", "takeover", "alone"]
"""What a caller of get_or_call did about a miss: called, waited, called in a dead leader's place, or
called on its own since no lease could be had."""


class CacheWatch:
    """Counts and measures on behalf of the tiers of one cache. Safe to share among tasks; no I/O.

    Keys and names of models, tools, threads and fields are published span attributes; no attribute holds
    a prompt, an argument or an answer unless `TelemetryOptions.capture_content` is set.
    """

    def __init__(self, name: str, telemetry: TelemetryOptions | None = None) -> None:
        self._name = name
        self._has_own_label = telemetry is None or telemetry.label is None
        self._label = label = (telemetry.label if telemetry is not None else None) or name
        self._registry = telemetry.registry if telemetry is not None else None
        self._telemetry = create_cache_telemetry(telemetry)
        metrics = self._telemetry.metrics
        self._spans = self._telemetry.span_names
        self._seconds = {
            (tier, operation): metrics.operation_duration.labels(label, tier, operation)
            for tier, operations in _OPERATIONS.items()
            for operation in operations
        }
        self._stored_bytes = {tier: metrics.stored_bytes.labels(label, tier) for tier in _OPERATIONS}
        self._checks = Checks(label, self._telemetry)
        self._active_sessions = metrics.active_sessions.labels(label)
        self._threads: OrderedDict[str, None] = OrderedDict()
        self.background_failure_count = 0
        # A counter that begins at 1 shows no increase, so those that alarms watch begin at 0.
        for tier in ("llm", "tool", "session", "embedding"):
            metrics.corrupt_entries.labels(label, tier)
        for role in get_args(Role):
            metrics.single_flight.labels(label, role)
        metrics.config_refresh_failed.labels(label)
        metrics.discovery_write_failed.labels(label)

    def export_traffic(self, engine: Engine) -> None:
        """Show what the cache exchanges with its server beside its own metrics."""
        if self._has_own_label:
            export_traffic(engine, self._name, engine.traffic, self._registry)

    @property
    def corrupt_count(self) -> int:
        """Stored entries that this process could not read."""
        return self._checks.corrupt_count

    def llm_check(self, key: str, model: str) -> Check:
        """A look-up of an answer of a model."""
        attributes = self._about_model(model, key)
        # The convention's word for an answer that is had without inference; such a span reports no usage.
        attributes["gen_ai.operation.name"] = "fetch_response"
        return self._check(SPAN_LLM_CHECK, attributes, "llm", model)

    def llm_store(self, key: str, model: str, ttl_seconds: int | None) -> Stored:
        """An answer that is stored; None for no expiry."""
        attributes = self._about_model(model, key)
        attributes["cache.ttl"] = -1 if ttl_seconds is None else ttl_seconds
        return self._stored(SPAN_LLM_STORE, attributes, "llm")

    def llm_store_multipart(self, key: str, model: str, ttl_seconds: int | None, blocks: int) -> Stored:
        """An answer of several blocks that is stored. `cache.ttl` is 0 for no expiry here, as published."""
        attributes: dict[str, Attribute] = {
            "cache.key": key,
            "cache.name": self._name,
            "gen_ai.request.model": model,
            "cache.ttl": ttl_seconds or 0,
            "cache.blocks": blocks,
        }
        return self._stored(SPAN_LLM_STORE_MULTIPART, attributes, "llm")

    def llm_invalidate_by_model(self, model: str) -> Counted:
        """All answers of one model that are deleted."""
        return self._counted(SPAN_LLM_INVALIDATE_BY_MODEL, self._about_model(model), "cache.deleted_count")

    def llm_clear(self) -> Counted:
        """All answers that are deleted."""
        return self._counted(SPAN_LLM_CLEAR, {"cache.name": self._name}, "cache.deleted_count")

    def tool_check(self, key: str, tool: str) -> Check:
        """A look-up of a tool's result."""
        return self._check(SPAN_TOOL_CHECK, self._about_tool(tool, key), "tool", tool)

    def tool_store(self, key: str, tool: str, ttl_seconds: int | None) -> Stored:
        """A tool's result that is stored; None for no expiry."""
        attributes = self._about_tool(tool, key)
        attributes["cache.ttl"] = -1 if ttl_seconds is None else ttl_seconds
        return self._stored(SPAN_TOOL_STORE, attributes, "tool")

    def tool_invalidate_by_tool(self, tool: str) -> Counted:
        """All results of one tool that are deleted."""
        return self._counted(SPAN_TOOL_INVALIDATE_BY_TOOL, self._about_tool(tool), "cache.deleted_count")

    def session_get(self, key: str, thread: str, field: str) -> SessionRead:
        """A field that is read."""
        attributes = self._about_field(key, thread, field)
        return SessionRead(self._telemetry, SPAN_SESSION_GET, attributes, self._seconds["session", "get"])

    def session_near_lookup(self, is_hit: bool) -> None:
        """A read of a session was looked for in the memory of this process."""
        self._telemetry.metrics.near_cache_lookups.labels(self._label, "hit" if is_hit else "miss").inc()

    def session_near_dropped(self, why: Why, count: int) -> None:
        """What was read of sessions and was in the memory of this process was dropped."""
        self._telemetry.metrics.near_cache_dropped.labels(self._label, why).inc(count)

    def session_set(self, key: str, thread: str, field: str, ttl_seconds: int | None) -> Stored:
        """A field that is written; None for no expiry. Report `bytes`, then `thread_active`."""
        attributes = self._about_field(key, thread, field)
        attributes["cache.ttl"] = -1 if ttl_seconds is None else ttl_seconds
        return self._stored(SPAN_SESSION_SET, attributes, "session", "set")

    def session_get_all(self, thread: str) -> Counted:
        """All fields of a thread that are read; `count` the fields."""
        return self._counted(SPAN_SESSION_GET_ALL, self._about_thread(thread), "cache.field_count")

    def session_destroy_thread(self, thread: str) -> Counted:
        """A thread that is deleted; `count` the fields, then call `thread_gone`."""
        return self._counted(SPAN_SESSION_DESTROY_THREAD, self._about_thread(thread), "cache.deleted_count")

    def session_touch(self, thread: str) -> Counted:
        """A thread that is kept alive; `count` the fields."""
        return self._counted(SPAN_SESSION_TOUCH, self._about_thread(thread), "cache.touched_count_approx")

    def thread_active(self, thread: str) -> None:
        """A thread was written to: the gauge holds the 10,000 that were written to last."""
        if thread in self._threads:
            self._threads.move_to_end(thread)
            return
        self._threads[thread] = None
        if len(self._threads) > MAX_ACTIVE_SESSIONS:
            self._threads.popitem(last=False)
        else:
            self._active_sessions.inc()

    def thread_gone(self, thread: str) -> None:
        """A thread was deleted."""
        if thread in self._threads:
            del self._threads[thread]
            self._active_sessions.dec()

    def threads_reset(self) -> None:
        """All threads are forgotten: the cache was flushed, or is closed."""
        self._active_sessions.dec(len(self._threads))
        self._threads.clear()

    def embedding_lookup(self, *, hits: int, misses: int) -> None:
        """Texts that were looked up in the embedding cache."""
        lookups = self._telemetry.metrics.embedding_lookups
        if hits:
            lookups.labels(self._label, "hit").inc(hits)
        if misses:
            lookups.labels(self._label, "miss").inc(misses)

    def single_flight(self, role: Role) -> None:
        """What a caller of get_or_call did about a miss."""
        self._telemetry.metrics.single_flight.labels(self._label, role).inc()

    def ignored_parameters(self, parameters: Iterable[str]) -> None:
        """Parameters of one request to a language model that its shared key leaves out."""
        for parameter in parameters:
            label = self._telemetry.parameters.bounded(parameter)
            self._telemetry.metrics.ignored_parameters.labels(self._label, label).inc()

    def corrupt(self, tier: str) -> None:
        """A stored entry of `llm`, `tool`, `session` or `embedding` that could not be read."""
        self._checks.corrupt(tier)

    def background_failed(self, work: str) -> None:
        """Best-effort work that failed: `statistics` (and renewed expiries), `policies`, `discovery`, `index` (of a
        session), `corrupt` (an unreadable entry that stayed), `embedding`, `llm_check`, `llm_store`, `refresh`,
        `single_flight`.

        `policies` and `discovery` are counted in the published metrics as well.
        """
        self.background_failure_count += 1
        metrics = self._telemetry.metrics
        metrics.background_failures.labels(self._label, work).inc()
        if work == "policies":
            metrics.config_refresh_failed.labels(self._label).inc()
        elif work == "discovery":
            metrics.discovery_write_failed.labels(self._label).inc()

    def _check(self, span: str, attributes: dict[str, Attribute], tier: CheckedTier, subject: str) -> Check:
        seconds = self._seconds[tier, "check"]
        return Check(self._telemetry, span, attributes, seconds, self._checks, tier, subject)

    def _stored(self, span: str, attributes: dict[str, Attribute], tier: str, operation: str = "store") -> Stored:
        return Stored(self._telemetry, span, attributes, self._seconds[tier, operation], self._stored_bytes[tier])

    def _counted(self, span: str, attributes: dict[str, Attribute], counted_as: str) -> Counted:
        return Counted(self._telemetry, self._spans.get(span, span), attributes, counted_as)

    def _about_model(self, model: str, key: str | None = None) -> dict[str, Attribute]:
        about: dict[str, Attribute] = {
            "cache.name": self._name,
            "cache.model": model,
            "gen_ai.request.model": model,
        }
        if key is not None:
            about["cache.key"] = key
        return about

    def _about_tool(self, tool: str, key: str | None = None) -> dict[str, Attribute]:
        about: dict[str, Attribute] = {"cache.name": self._name, "cache.tool_name": tool, "gen_ai.tool.name": tool}
        if key is not None:
            about["cache.key"] = key
        return about

    def _about_thread(self, thread: str) -> dict[str, Attribute]:
        return {"cache.name": self._name, "cache.thread_id": thread, "gen_ai.conversation.id": thread}

    def _about_field(self, key: str, thread: str, field: str) -> dict[str, Attribute]:
        return self._about_thread(thread) | {"cache.key": key, "cache.field": field}


_OPERATIONS: Final = {"llm": ("check", "store"), "tool": ("check", "store"), "session": ("get", "set")}
