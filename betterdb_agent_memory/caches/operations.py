"""What is said about one operation of a cache tier: a span, a duration, and how it ended."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Literal, Self, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, set_span_in_context
from prometheus_client import Counter, Histogram

from betterdb_agent_memory.telemetry import MAX_CONTENT_CHARACTERS, Attribute, CacheTelemetry, exemplar, failed

CheckedTier: TypeAlias = Literal["llm", "tool"]


class Operation:
    """One operation: `with watch.tool_store(...) as operation:`.

    Its span has no status when it succeeds, and ends as ERROR with one exception event and `error.type`
    when the block raises. Its duration is observed when it succeeds.
    """

    __slots__ = ("_attached", "_attributes", "_name", "_recording", "_seconds", "_span", "_started", "_telemetry")

    _span: Span

    def __init__(
        self, telemetry: CacheTelemetry, name: str, attributes: dict[str, Attribute], seconds: Histogram | None = None
    ) -> None:
        self._telemetry = telemetry
        self._name = name
        self._attributes = attributes
        self._seconds = seconds
        self._attached: object = None
        self._recording = False
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        span = self._span = self._telemetry.tracer.start_span(self._name, attributes=self._attributes)
        self._recording = span.is_recording()
        # Without an SDK there is nothing that a span below could belong to.
        if self._recording or span.get_span_context().is_valid:
            self._attached = otel_context.attach(set_span_in_context(span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._attached is not None:
            otel_context.detach(self._attached)  # type: ignore[arg-type]
        if error is None and self._seconds is not None:
            duration = time.perf_counter() - self._started
            self._seconds.observe(duration, exemplar(self._span) if self._recording else None)
        if self._recording:
            if error is not None:
                failed(self._span, error, capture_content=self._telemetry.capture_content)
            self._span.end()

    def content(self, text: str) -> None:
        """An answer, as attribute `cache.content`; only when the user asked for content."""
        if self._recording and self._telemetry.capture_content:
            self._span.set_attribute("cache.content", text[:MAX_CONTENT_CHARACTERS])

    def _tell(self, name: str, value: Attribute) -> None:
        if self._recording:
            self._span.set_attribute(name, value)


class Stored(Operation):
    """A value that is written."""

    __slots__ = ("_bytes",)

    def __init__(
        self,
        telemetry: CacheTelemetry,
        name: str,
        attributes: dict[str, Attribute],
        seconds: Histogram,
        stored_bytes: Counter,
    ) -> None:
        super().__init__(telemetry, name, attributes, seconds)
        self._bytes = stored_bytes

    def bytes(self, count: int) -> None:
        """How long the stored value is; call it once the value is stored."""
        self._bytes.inc(count)
        self._tell("cache.bytes", count)


class Checks:
    """Counts the checks of one cache: hits, misses, unreadable entries and what was saved."""

    def __init__(self, name: str, telemetry: CacheTelemetry) -> None:
        self._name = name
        self._telemetry = telemetry
        self._requests: dict[tuple[str, str, str], Counter] = {}
        self.corrupt_count = 0

    def answered(self, tier: CheckedTier, subject: str, result: Literal["hit", "miss"]) -> None:
        """One check about a tool, or a model, which is no label."""
        tool = self._telemetry.tool_names.bounded(subject) if tier == "tool" else ""
        counter = self._requests.get((tier, tool, result))
        if counter is None:
            counter = self._telemetry.metrics.requests.labels(self._name, tier, result, tool)
            self._requests[tier, tool, result] = counter
        counter.inc()

    def saved(self, tier: CheckedTier, subject: str, dollars: float) -> None:
        """What a hit saved. An entry of another writer may hold any number."""
        if not math.isfinite(dollars) or dollars <= 0:
            return
        model = self._telemetry.models.bounded(subject) if tier == "llm" else ""
        tool = self._telemetry.tool_names.bounded(subject) if tier == "tool" else ""
        self._telemetry.metrics.cost_saved.labels(self._name, tier, model, tool).inc(dollars)

    def corrupt(self, tier: str) -> None:
        """A stored entry that could not be read."""
        self.corrupt_count += 1
        self._telemetry.metrics.corrupt_entries.labels(self._name, tier).inc()


class Check(Operation):
    """A question that hits or misses; call exactly one of `hit`, `miss` and `corrupt`."""

    __slots__ = ("_checks", "_subject", "_tier")

    def __init__(
        self,
        telemetry: CacheTelemetry,
        name: str,
        attributes: dict[str, Attribute],
        seconds: Histogram,
        checks: Checks,
        tier: CheckedTier,
        subject: str,
    ) -> None:
        super().__init__(telemetry, name, attributes, seconds)
        self._checks = checks
        self._tier: CheckedTier = tier
        self._subject = subject

    def hit(self, *, cost_saved: float | None = None, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """An answer was found that once cost `cost_saved` dollars and these tokens."""
        self._checks.answered(self._tier, self._subject, "hit")
        if cost_saved is not None:
            self._checks.saved(self._tier, self._subject, cost_saved)
        if self._recording:
            self._span.set_attribute("cache.hit", True)
            if input_tokens or output_tokens:
                # Not gen_ai.usage: what is summed up there was paid for once more.
                self._span.set_attribute("cache.saved_input_tokens", input_tokens)
                self._span.set_attribute("cache.saved_output_tokens", output_tokens)

    def miss(self) -> None:
        """Nothing was found."""
        self._checks.answered(self._tier, self._subject, "miss")
        self._tell("cache.hit", False)

    def corrupt(self) -> None:
        """What was found could not be read: a miss that is counted once more as corrupt."""
        self.miss()
        self._checks.corrupt(self._tier)
        self._tell("cache.corrupt", True)


class SessionRead(Operation):
    """One field of a session that is read."""

    __slots__ = ()

    def found(self, value: bool) -> None:
        """Whether the field was there."""
        self._tell("cache.hit", value)


class Counted(Operation):
    """An operation on many keys."""

    __slots__ = ("_attribute",)

    def __init__(self, telemetry: CacheTelemetry, name: str, attributes: dict[str, Attribute], counted_as: str) -> None:
        super().__init__(telemetry, name, attributes)
        self._attribute = counted_as

    def count(self, keys: int) -> None:
        """How many there were."""
        self._tell(self._attribute, keys)
