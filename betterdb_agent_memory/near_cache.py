"""Answers in the memory of this process, for a moment: bounded in age, in number and in size. No I/O.

Each is kept under a key, with the subjects that it is about: what is known to have changed is dropped by its subject,
and what is not known to have changed is let go of when it has reached its age.
"""

from __future__ import annotations

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Generic, Literal, TypeAlias, TypeVar

_ValueT = TypeVar("_ValueT")

Why: TypeAlias = Literal["written", "told", "unsure", "room"]
"""Why an answer was dropped: this process wrote, the change feed told of a write, what the feed told was missed, or
others needed the room."""

MAX_REMEMBERED_SUBJECTS: Final = 10_000
"""Of drops that reads under way have to be compared with; beyond it these reads are not kept."""


def elapsed_seconds() -> float:
    """A clock that only moves forward, and that goes on while the machine sleeps where there is one that does."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(frozen=True, slots=True)
class NearCacheStatistics:
    """What a near-cache of this process did: answers that it had and that it had not, and answers that it dropped
    because something was written, was told, or needed the room. `entries` and `bytes` are what it holds.
    """

    hits: int = 0
    misses: int = 0
    dropped: int = 0
    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that is under way: when it began, and which drops lie before it."""

    began_at: float
    drops: int


@dataclass(eq=False, slots=True)
class Kept(Generic[_ValueT]):
    """An answer that is kept until a time, by the cache's clock."""

    key: Hashable
    value: _ValueT
    subjects: tuple[Hashable, ...]
    size_bytes: int
    until: float


@dataclass(slots=True)
class _Drops:
    """Subjects that were dropped while somebody read, each with the number of its latest drop; `number` is the last."""

    number: int = 0
    all_at: int = 0
    subjects: dict[Hashable, int] = field(default_factory=dict)

    def note(self, subjects: Iterable[Hashable]) -> None:
        self.number += 1
        self.subjects.update(dict.fromkeys(subjects, self.number))
        if len(self.subjects) > MAX_REMEMBERED_SUBJECTS:
            self.note_all()

    def note_all(self) -> None:
        self.number += 1
        self.all_at = self.number
        self.subjects.clear()

    def concern(self, reading: Reading, subjects: Iterable[Hashable]) -> bool:
        """Whether one of these subjects was dropped since the reading began."""
        return self.all_at > reading.drops or any(self.subjects.get(one, 0) > reading.drops for one in subjects)


class NearCache(Generic[_ValueT]):
    """Answers by key. None is handed out at `max_age_seconds` after the read that found it had begun, or later.

    The one that was used longest ago leaves first when there are more than `max_entries`, or more than `max_bytes` of
    them. `now_seconds` is a clock that only moves forward. Tasks, event loops and threads may share one; a forked
    child begins with an empty one. `on_dropped` is told of drops, and how many answers were lost to each.
    """

    def __init__(
        self,
        *,
        max_age_seconds: float,
        max_entries: int,
        max_bytes: int,
        now_seconds: Callable[[], float] = elapsed_seconds,
        on_dropped: Callable[[Why, int], None] | None = None,
    ) -> None:
        self.now_seconds = now_seconds
        self._max_age_seconds = max_age_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._on_dropped = on_dropped
        self._hits = self._misses = self._dropped = 0
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._process = os.getpid()
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Kept[_ValueT]] = OrderedDict()
        self._about: dict[Hashable, set[Kept[_ValueT]]] = {}
        self._bytes = 0
        self._under_way = 0
        self._drops = _Drops()

    def find(self, key: Hashable) -> Kept[_ValueT] | None:
        """The answer under `key`, unless it is too old; counted as a hit or a miss."""
        with self._owned():
            kept = self._kept.get(key)
            if kept is not None and not self.is_fresh(kept):
                self._remove(kept)
                kept = None
            if kept is None:
                self._misses += 1
                return None
            self._hits += 1
            self._kept.move_to_end(key)
            return kept

    def is_fresh(self, kept: Kept[_ValueT]) -> bool:
        """Whether an answer that was found may be handed out now: for who has waited for something since."""
        return self.now_seconds() < kept.until

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Around a read whose answer is to be kept, begun before its first request."""
        with self._owned():
            process = self._process
            self._under_way += 1
            reading = Reading(self.now_seconds(), self._drops.number)
        try:
            yield reading
        finally:
            with self._owned():
                # A child has forgotten what its parent was reading.
                if self._process == process and self._under_way:
                    self._under_way -= 1
                    if not self._under_way:
                        self._drops.subjects.clear()

    def keep(
        self,
        reading: Reading,
        key: Hashable,
        value: _ValueT,
        *,
        subjects: Iterable[Hashable],
        size_bytes: int,
        until: float = math.inf,
    ) -> bool:
        """Keep what a read has found, until then at the latest; false if something of it was dropped meanwhile, if it
        is too old by now or too large. Nobody may change `value` any more.
        """
        until = min(until, reading.began_at + self._max_age_seconds)
        kept = Kept(key, value, tuple(subjects), size_bytes, until)
        with self._owned():
            if not self.is_fresh(kept) or size_bytes > self._max_bytes or self._drops.concern(reading, kept.subjects):
                return False
            if (former := self._kept.get(key)) is not None:
                self._remove(former)
            self._kept[key] = kept
            self._bytes += size_bytes
            for subject in kept.subjects:
                self._about.setdefault(subject, set()).add(kept)
            before = len(self._kept)
            while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
                self._remove(next(iter(self._kept.values())))
            self._count("room", before - len(self._kept))
        return True

    def drop(self, subjects: Iterable[Hashable], why: Why) -> None:
        """Forget every answer about one of these, and what reads that are under way find of them."""
        concerned = tuple(subjects)
        with self._owned():
            if self._under_way:
                self._drops.note(concerned)
            stale = {kept for subject in concerned for kept in self._about.get(subject, ())}
            for kept in stale:
                self._remove(kept)
            self._count(why, len(stale))

    def drop_all(self, why: Why) -> None:
        """Forget everything, and what reads that are under way find."""
        with self._owned():
            self._drops.note_all()
            self._count(why, len(self._kept))
            self._kept.clear()
            self._about.clear()
            self._bytes = 0

    def statistics(self) -> NearCacheStatistics:
        """What was had, missed and dropped so far, and what is held now."""
        with self._owned():
            return NearCacheStatistics(self._hits, self._misses, self._dropped, len(self._kept), self._bytes)

    def _owned(self) -> Lock:
        """The lock; a child leaves to its parent what that had, its lock included, which a thread there may hold."""
        if self._process != os.getpid():
            self._begin_empty()
        return self._lock

    def _remove(self, kept: Kept[_ValueT]) -> None:
        del self._kept[kept.key]
        self._bytes -= kept.size_bytes
        for subject in kept.subjects:
            if (others := self._about.get(subject)) is not None:
                others.discard(kept)
                if not others:
                    del self._about[subject]

    def _count(self, why: Why, dropped: int) -> None:
        if dropped:
            self._dropped += dropped
            if self._on_dropped is not None:
                self._on_dropped(why, dropped)
