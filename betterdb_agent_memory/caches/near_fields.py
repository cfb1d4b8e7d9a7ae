"""The near-cache of sessions: what was read of threads, in the memory of this process, for a moment. No I/O."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session_index import rivals
from betterdb_agent_memory.near_cache import NearCache, NearCacheStatistics, Reading, Why
from betterdb_agent_memory.options import NearCacheOptions

Texts: TypeAlias = Mapping[str, str | None]
"""Fields by name; None for one that is not there."""

_ENTRY_BYTES: Final = 750
_FIELD_BYTES: Final = 160
"""What an entry and each of its fields take, measured, beside names and texts."""


class NearFields:
    """Fields and whole threads that were read lately, by what was asked.

    A write to a field concerns its key, its thread, and every other thread that could own the key.
    """

    def __init__(
        self,
        name: str,
        options: NearCacheOptions,
        *,
        on_lookup: Callable[[bool], None],
        on_dropped: Callable[[Why, int], None],
    ) -> None:
        self._name = name
        self._on_lookup = on_lookup
        self._read: NearCache[Texts] = NearCache(
            max_age_seconds=options.max_age_seconds,
            max_entries=options.max_entries,
            max_bytes=options.max_bytes,
            now_seconds=options.now_seconds,
            on_dropped=on_dropped,
        )

    def field(self, thread: str, field: str) -> Texts | None:
        """What was read of one field, None where it has to be read."""
        return self._found(("field", thread, field))

    def thread(self, thread: str, *, scan: bool | None) -> Texts | None:
        """All fields of a thread as they were read with this `scan`, None where they have to be read."""
        return self._found(("thread", thread, scan))

    def reading(self) -> AbstractContextManager[Reading]:
        """Around a read that is to be kept."""
        return self._read.reading()

    def keep_field(self, reading: Reading, thread: str, field: str, text: str | None, *, lives_ms: float) -> None:
        """Keep what was read of a field, for so long after the read began at most."""
        key, subjects = ("field", thread, field), [("key", session_key(self._name, thread, field))]
        self._keep(reading, key, {field: text}, subjects, lives_ms)

    def keep_thread(
        self, reading: Reading, thread: str, texts: Mapping[str, str], *, scan: bool | None, lives_ms: float
    ) -> None:
        """Keep all fields of a thread, for so long after the read began at most."""
        self._keep(reading, ("thread", thread, scan), dict(texts), [("thread", thread)], lives_ms)

    def written(self, thread: str, fields: Iterable[str]) -> None:
        """These fields of the thread were stored or deleted, or may have been."""
        self._read.drop(self._concerned(thread, fields), "written")

    def forget(self) -> None:
        """Everything may have been deleted."""
        self._read.drop_all("written")

    def statistics(self) -> NearCacheStatistics:
        """What it did so far, and holds."""
        return self._read.statistics()

    def _found(self, key: Hashable) -> Texts | None:
        kept = self._read.find(key)
        self._on_lookup(kept is not None)
        return None if kept is None else kept.value

    def _keep(
        self, reading: Reading, key: Hashable, texts: Texts, subjects: Iterable[Hashable], lives_ms: float
    ) -> None:
        size = sum(_FIELD_BYTES + sys.getsizeof(name) + sys.getsizeof(text) for name, text in texts.items())
        until = reading.began_at + lives_ms / 1000
        self._read.keep(reading, key, texts, subjects=subjects, size_bytes=_ENTRY_BYTES + size, until=until)

    def _concerned(self, thread: str, fields: Iterable[str]) -> Iterator[Hashable]:
        yield "thread", thread
        for field in fields:
            yield "key", session_key(self._name, thread, field)
            for other, _ in rivals(thread, field):
                yield "thread", other
