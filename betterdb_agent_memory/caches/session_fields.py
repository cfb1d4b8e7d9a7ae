"""The fields of threads as an engine holds them: which there are, whose they are, and what is left to tidy up."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.caches.keys import session_key, session_prefix
from betterdb_agent_memory.caches.session_index import (
    COUNTERS,
    MARK,
    Counters,
    Entry,
    FieldIndex,
    Known,
    entry_names,
    found_name,
    index_key,
    is_first_owner,
    owns,
    rivals,
    written_name,
)
from betterdb_agent_memory.caches.statistics import stats_key
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.values import Reply, Stored, ValueBatch, Values
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.options import MAX_TTL_SECONDS

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MARGIN_SECONDS = 24 * 3600
"""How much longer than the values that it lists an index lasts."""

FIELDS_TOGETHER = 160
"""Fields that are read or written together: with what is asked about each they fill a round trip, and keep the event
loop for some milliseconds.
"""

_SLACK_SECONDS = MARGIN_SECONDS // 2
"""Of that margin, what must be left where a value is renewed: so far may the clocks of two workers be apart."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is under the key of one field.

    `stored` is None where there is nothing, or nothing that is a text: then `is_there` tells. `claimed` says
    whether it is the thread's, None when no thread has claimed it.
    """

    name: str
    is_there: bool
    stored: Stored | None
    known: Known
    claimed: bool | None


@dataclass(frozen=True, slots=True)
class Survey:
    """The names that may be fields of a thread.

    `scanned` says that the key space was looked through, `strangers` how many keys were met that begin like
    the thread's and belong to other threads. `mark` is what the index gets once all of this is in it.
    """

    index: FieldIndex
    names: Sequence[str]
    scanned: bool = False
    strangers: int = 0
    mark: bytes | None = None


@dataclass(frozen=True, slots=True)
class Writing:
    """What became of fields that were stored."""

    values: Sequence[Reply[bool]]
    others: Sequence[Reply[object]]

    def is_unlisted(self) -> bool:
        """Whether a value was stored that its index may not know of."""
        return any(map(_succeeded, self.values)) and not all(map(_succeeded, self.others))

    def check(self) -> None:
        """Raise the first error there was, one of the values before all others."""
        for reply in (*self.values, *self.others):
            reply.result()


class SessionFields:
    """Reads the fields of threads, and keeps the index of each. `clock` only dates the indexes."""

    def __init__(self, name: str, values: Values, clock: Clock) -> None:
        self._name = name
        self._values = values
        self._clock = clock

    async def survey(self, thread: str, *, scan: bool | None, include_unclaimed: bool = False) -> Survey:
        """The names of a thread's fields: one round trip, and a scan unless the index knows them all.

        `scan` true or false says whether to scan. With `include_unclaimed` it always does, and the names
        that no thread may have claimed are among them.
        """
        batch = self._values.batch()
        indexed = batch.read_map(index_key(self._name, thread))
        counted = batch.read_fields(stats_key(self._name), COUNTERS)
        await batch.send()
        listed = indexed.result()
        index = await off_loop(len(listed), FieldIndex.decoded, listed)
        counters = Counters.decoded(counted.result())
        if scan is None:
            scan = not index.is_complete(counters)
        if not scan and not include_unclaimed:
            return Survey(index, tuple(index.fields))
        names, strangers = await self._scan(thread, index, include_unclaimed)
        # The counters are from before the scan: what others write meanwhile makes the next one necessary.
        names.update(index.fields)
        return Survey(index, await off_loop(len(names), sorted, names), True, strangers, counters.mark)

    async def read(
        self,
        thread: str,
        names: Sequence[str],
        index: FieldIndex | None,
        *,
        with_expiry: bool = False,
        tolerant: bool = False,
    ) -> list[Found]:
        """What is under the keys of fields, in order. One round trip per `FIELDS_TOGETHER`, none for no names.

        The entries of `index` are taken as they are; without one they are read as well. A key that holds no
        text is an error, unless `tolerant`.
        """
        found: list[Found] = []
        for page in pages(names):
            found += await self._read_page(thread, page, index, with_expiry, tolerant)
        return found

    async def _read_page(
        self, thread: str, names: Sequence[str], index: FieldIndex | None, with_expiry: bool, tolerant: bool
    ) -> list[Found]:
        batch = self._values.batch()
        own = index_key(self._name, thread)
        entries = {name: batch.read_fields(own, entry_names(name)) for name in names} if index is None else {}
        stored = [_ask_value(batch, session_key(self._name, thread, name), with_expiry) for name in names]
        claims = self._ask_claims(batch, thread, names)
        await batch.send()
        found = []
        for name, value in zip(names, stored, strict=True):
            known = Known.decoded(entries[name].result(), name) if index is None else index.fields.get(name, Known())
            found.append(_found(thread, name, value, known, claims[name], tolerant=tolerant))
        return found

    def write(
        self, batch: ValueBatch, thread: str, values: Mapping[str, bytes], *, ttl_seconds: int | None, slides: bool
    ) -> Writing:
        """Store fields: into the index, then the values, out of other threads' indexes, into the own one again.

        The first entry is for a writer that dies in between; the second one for somebody who deletes the
        field, or tidies up, between the first one and the value.
        """
        own = index_key(self._name, thread)
        outlive = None if ttl_seconds is None else _outliving(ttl_seconds)
        until = None if outlive is None else self._now_seconds() + outlive
        entries = {name: Entry.written(value, slides=slides, until=until) for name, value in values.items()}
        ahead = {written_name(name): first.raw for name, (first, _) in entries.items()}
        behind = {written_name(name): second.raw for name, (_, second) in entries.items()}
        others: list[Reply[object]] = [batch.write_map(own, ahead, outlive_seconds=outlive)]
        if outlive is None:
            others.append(batch.persist(own))
        stored = [
            batch.set(session_key(self._name, thread, name), value, ttl_seconds=ttl_seconds)
            for name, value in values.items()
        ]
        # Before the second entry: two writers at once may leave two claims, which the value decides, but never none.
        for other, fields in _rivals_by_thread(thread, values).items():
            theirs = [entry for field in fields for entry in entry_names(field)]
            others.append(batch.remove_fields(index_key(self._name, other), theirs))
        others.append(batch.write_map(own, behind, outlive_seconds=outlive))
        return Writing(stored, others)

    def outlast(self, batch: ValueBatch, thread: str, name: str, ttl_seconds: int) -> Reply[object]:
        """Let the index outlast values that are renewed now, of which `name` is one."""
        outlive = _outliving(ttl_seconds)
        entry = Entry.found(self._now_seconds() + outlive)
        return batch.write_map(index_key(self._name, thread), {found_name(name): entry.raw}, outlive_seconds=outlive)

    def outlasts(self, found: Iterable[Found], ttl_seconds: int) -> bool:
        """Whether the index lasts long enough for values that are renewed now, as far as these entries say."""
        until = self._now_seconds() + ttl_seconds + _SLACK_SECONDS
        return any(one.known.lasts(until) for one in found)

    def drop(self, batch: ValueBatch, thread: str, found: Iterable[Found]) -> list[Reply[object]]:
        """Take out of the index what it was seen to say of these fields; what was written since stays."""
        own = index_key(self._name, thread)
        replies: list[Reply[object]] = []
        for one in found:
            for name, entry in zip(entry_names(one.name), (one.known.written, one.known.found), strict=True):
                if entry is not None:
                    replies.append(batch.remove_field_if(own, name, entry.raw))
        return replies

    def take_in(self, batch: ValueBatch, thread: str, survey: Survey, found: Sequence[Found]) -> list[Reply[object]]:
        """Put into the index what a scan has found in addition (`found` are all of `survey.names`, those of the
        thread), and the mark that it is complete.
        """
        own = index_key(self._name, thread)
        new = [one for one in found if one.stored is not None and one.known == Known()]
        lefts = [one.stored.left_ms for one in new if one.stored is not None]
        lasting = [left for left in lefts if left is not None]
        outlive = _outliving(math.ceil(max(lasting, default=0) / 1000))
        until = self._now_seconds() + outlive
        entries = {found_name(one.name): Entry.found(until).raw for one in new}
        if survey.mark is not None:
            entries[MARK] = survey.mark
        if not survey.scanned or not entries or (not new and survey.mark == survey.index.mark):
            return []
        replies: list[Reply[object]] = [batch.write_map(own, entries, outlive_seconds=outlive)]
        if len(lasting) < len(lefts):
            replies.append(batch.persist(own))
        return replies

    def _ask_claims(
        self, batch: ValueBatch, thread: str, names: Iterable[str]
    ) -> dict[str, list[tuple[str, Reply[dict[str, bytes]]]]]:
        """The entries that other threads' indexes have for the keys of these fields, one question per thread."""
        claims: dict[str, list[tuple[str, Reply[dict[str, bytes]]]]] = {name: [] for name in names}
        for other, fields in _rivals_by_thread(thread, claims).items():
            asked = batch.read_fields(index_key(self._name, other), [written_name(field) for field in fields])
            for field, name in fields.items():
                claims[name].append((field, asked))
        return claims

    async def _scan(self, thread: str, index: FieldIndex, include_unclaimed: bool) -> tuple[set[str], int]:
        """The names under the thread's prefix that may be its own, and how many others there are."""
        prefix = session_prefix(self._name, thread)
        names: set[str] = set()
        strangers = 0
        async for keys in self._values.scan_keys(prefix):
            for key in keys:
                name = key[len(prefix) :]
                if include_unclaimed or name in index.fields or is_first_owner(thread, name):
                    names.add(name)
                else:
                    strangers += 1
        return names, strangers

    def _now_seconds(self) -> int:
        return self._clock() // 1000


def pages(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """`FIELDS_TOGETHER` at a time."""
    return (items[start : start + FIELDS_TOGETHER] for start in range(0, len(items), FIELDS_TOGETHER))


def _succeeded(reply: Reply[object]) -> bool:
    try:
        reply.result()
    except EngineError:
        return False
    return True


def _outliving(ttl_seconds: int) -> int:
    return min(ttl_seconds + MARGIN_SECONDS, MAX_TTL_SECONDS)


def _rivals_by_thread(thread: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Of each thread that could own a key of these fields: what the field is called there, and here."""
    by_thread: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        for other, field in rivals(thread, name):
            by_thread[other][field] = name
    return by_thread


def _ask_value(batch: ValueBatch, key: str, with_expiry: bool) -> Reply[Stored | None] | Reply[bytes | None]:
    return batch.get_with_expiry(key) if with_expiry else batch.get(key)


def _found(
    thread: str,
    name: str,
    asked: Reply[Stored | None] | Reply[bytes | None],
    known: Known,
    claims: Iterable[tuple[str, Reply[dict[str, bytes]]]],
    *,
    tolerant: bool,
) -> Found:
    others = [
        Entry.decoded(claim)
        for field, reply in claims
        if (claim := reply.result().get(written_name(field))) is not None
    ]
    try:
        answer = asked.result()
    except EngineError as error:
        if not tolerant:
            raise
        _log.debug("the key of field %r of thread %r holds no text: %s", name, thread, error)
        return Found(name, True, None, known, owns(thread, name, known.written, others, None))
    stored = Stored(answer, None, None) if isinstance(answer, bytes) else answer
    value = None if stored is None else stored.value
    return Found(name, stored is not None, stored, known, owns(thread, name, known.written, others, value))
