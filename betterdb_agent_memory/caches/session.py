"""The session tier: what an agent keeps about a thread while it works, one text per field.

Beside the fields, which any package reads and writes, each thread has an index of its own: reading a
whole thread costs what the thread costs, however many other keys there are.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.keys import session_key, session_prefix
from betterdb_agent_memory.caches.near_fields import NearFields
from betterdb_agent_memory.caches.results import checked_ttl
from betterdb_agent_memory.caches.session_fields import Found, SessionFields, Survey, pages
from betterdb_agent_memory.caches.session_index import (
    INDEXED_READS,
    INDEXED_WRITES,
    MARK,
    MAX_COLONS,
    READS,
    WRITES,
    entry_names,
    index_key,
    is_first_owner,
    rivals,
)
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.values import ExpiresAt, Reply, ValueBatch
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.near_cache import NearCacheStatistics
from betterdb_agent_memory.options import NearCacheOptions

_log = logging.getLogger(__name__)

MAX_NAME_BYTES = 8_192
"""Of a thread's or a field's name, as UTF-8."""

MAX_VALUE_BYTES = 512 * 1024 * 1024
"""Of a value, as UTF-8: what a server takes."""

_URGENT_MS = 5_000
"""A value that expires sooner than this is renewed at once, not with the next flush."""

_GAIN_MS = 1_000
_GAIN_SHARE = 0.1
"""A renewal is worth a write when it gains this much time, or this share of the lifetime if that is less."""


class SessionCache:
    """Texts by thread and field. Values written without a `ttl` of their own slide: reading renews them.

    A thread's or field's name is any text of up to 8,192 bytes, with at most 32 colons in both together, the empty
    one included. Stored under `{name}:session:{thread}:{field}` as in every package. Field `b:f` of
    thread `a` and field `f` of thread `a:b` share a key: it belongs to the thread that wrote it last.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: Engine,
        watch: CacheWatch,
        deferred: DeferredWrites,
        ttl_seconds: int | None,
        clock: Clock = system_clock,
        near: NearCacheOptions | None = None,
    ) -> None:
        self._name = name
        self._values = engine.values
        self._watch = watch
        self._deferred = deferred
        self._ttl_seconds = ttl_seconds
        self._fields = SessionFields(name, engine.values, clock)
        self._near = (
            None
            if near is None
            else NearFields(name, near, on_lookup=watch.session_near_lookup, on_dropped=watch.session_near_dropped)
        )

    async def get(self, thread_id: str, field: str, *, fresh: bool = False) -> str | None:
        """The value, or None. One round trip; two when a sliding value has less than 5 s left; none for what the
        near-cache has. `fresh=True` asks the engine all the same.

        Finds what any program has stored under the key, unless another thread of ours claims it. Bytes
        that are no UTF-8 are replaced by U+FFFD, counted and logged.
        """
        key = self._checked_key(thread_id, field)
        near = None if _checked_fresh(fresh) else self._near
        with self._watch.session_get(key, thread_id, field) as seen:
            known = None if near is None else near.field(thread_id, field)
            if known is not None:
                text = known[field]
            elif near is None:
                text, _ = await self._get(thread_id, field)
            else:
                with near.reading() as reading:
                    text, lives_ms = await self._get(thread_id, field)
                    near.keep_field(reading, thread_id, field, text, lives_ms=lives_ms)
            self._deferred.count(READS)
            self._deferred.count(INDEXED_READS)
            seen.found(text is not None)
            return text

    async def set(self, thread_id: str, field: str, value: str, ttl: int | None = None) -> None:
        """Store a text. `ttl` seconds from now; without one the tier's lifetime, which reads renew. One round trip.

        Raises:
            InvalidInputError: a name or value is no text or too long, or `ttl` is not 1 or more whole seconds.
            OutcomeUnknownError: the connection broke; it may be stored. Set it again.
        """
        key = self._checked_key(thread_id, field)
        own_ttl = checked_ttl("ttl", ttl)
        await self._write(key, thread_id, field, {field: _checked_value(field, value)}, own_ttl)

    async def set_many(self, thread_id: str, values: Mapping[str, str], ttl: int | None = None) -> None:
        """Store several fields of a thread, as `set` does. One round trip per 160; nothing for no fields.

        All are checked before anything is written. They are not stored in one atomic step: after an error,
        those before may be stored.
        """
        if not isinstance(values, Mapping):
            raise InvalidInputError(f"values maps fields to texts, got {type(values).__name__}: {values!r:.80}")
        own_ttl = checked_ttl("ttl", ttl)
        texts = await off_loop(len(values), self._checked_values, thread_id, dict(values))
        if texts:
            await self._write(session_prefix(self._name, thread_id), thread_id, "*", texts, own_ttl)

    async def get_all(
        self, thread_id: str, *, scan: bool | None = None, include_unclaimed: bool = False, fresh: bool = False
    ) -> dict[str, str]:
        """All fields of a thread by name. Two round trips up to 160 fields, one more when there is some tidying up;
        none for what the near-cache has, unless `fresh` or `scan` is true.

        The key space is scanned only where a program without the index has written meanwhile, whichever thread
        it was. `scan=True` always scans, and so finds what was stored with a bare SET; `scan=False`
        never does. Values slide as with `get`. With `include_unclaimed`, which always scans, there are also the
        fields that `destroy_thread` deletes so: those with a further colon that no thread has claimed.
        """
        _checked_thread(thread_id)
        near = None if _checked_fresh(fresh) or scan or include_unclaimed else self._near
        with self._watch.session_get_all(thread_id) as seen:
            known = None if near is None else near.thread(thread_id, scan=scan)
            if known is not None:
                texts = {name: text for name, text in known.items() if text is not None}
            elif near is None:
                texts, _ = await self._get_all(thread_id, scan, include_unclaimed)
            else:
                with near.reading() as reading:
                    texts, lives_ms = await self._get_all(thread_id, scan, include_unclaimed)
                    near.keep_thread(reading, thread_id, texts, scan=scan, lives_ms=lives_ms)
            seen.count(len(texts))
            return texts

    async def scan_fields_by_prefix(
        self, thread_id: str, field_prefix: str, *, scan: bool | None = None
    ) -> dict[str, str]:
        """The fields of a thread whose names begin with `field_prefix`. Renews nothing; costs what `get_all` costs."""
        _checked_thread(thread_id)
        _checked_name("field_prefix", field_prefix)
        survey = await self._fields.survey(thread_id, scan=scan)
        # A scan is worth remembering, which takes all that it has found.
        names = [name for name in survey.names if survey.scanned or name.startswith(field_prefix)]
        present = await self._present(thread_id, survey, names, slide=False)
        wanted = [found for found in present if found.name.startswith(field_prefix)]
        return await off_loop(len(wanted), self._texts, thread_id, wanted)

    async def delete(self, thread_id: str, field: str) -> bool:
        """Delete a field; whether it was there. One round trip, two for names with colons."""
        key = self._checked_key(thread_id, field)
        own = index_key(self._name, thread_id)
        batch = self._values.batch()
        if any(rivals(thread_id, field)):
            [found] = await self._fields.read(thread_id, [field], None, tolerant=True)
            if found.claimed is False:
                return False
        dropped = batch.remove_fields(own, entry_names(field))
        deleted = batch.delete(key)
        try:
            await batch.send()
        finally:
            self._written(thread_id, [field])
        self._deferred.forget(key)
        dropped.result()
        return deleted.result()

    async def destroy_thread(self, thread_id: str, *, include_unclaimed: bool = False) -> int:
        """Delete all fields of a thread, whoever wrote them; how many there were.

        It always scans: a server looks at every key it has, 1,000 per round trip, and then two round trips per 160
        fields. Of keys with a further colon it deletes those that this thread has claimed, and unclaimed fields of
        LangGraph savers; all others count as other threads' and stay. With `include_unclaimed` only those stay
        that another thread has claimed: a field `user:name` of this thread that a published package wrote is
        deleted, and so is what it wrote for a thread called `{thread_id}:user`.
        """
        _checked_thread(thread_id)
        with self._watch.session_destroy_thread(thread_id) as seen:
            survey = await self._fields.survey(thread_id, scan=True, include_unclaimed=include_unclaimed)
            deleted = 0
            for names in pages(survey.names):
                try:
                    deleted += await self._destroy(thread_id, survey, names, include_unclaimed)
                finally:
                    self._written(thread_id, names)
            if survey.index.mark is not None:
                await self._values.remove_fields(index_key(self._name, thread_id), (MARK,))
            if survey.strangers:
                _log.info(
                    "%d keys that begin with %r were left alone when the thread was destroyed: they belong to "
                    "threads whose names begin the same",
                    survey.strangers,
                    session_prefix(self._name, thread_id),
                )
            seen.count(deleted)
            self._watch.thread_gone(thread_id)
            return deleted

    async def touch(self, thread_id: str) -> None:
        """Let every field of a thread live for the tier's lifetime from now, those that live longer excepted.

        Does nothing when the tier has no lifetime. Three round trips, and a scan where `get_all` scans.
        """
        _checked_thread(thread_id)
        with self._watch.session_touch(thread_id) as seen:
            if self._ttl_seconds is None:
                return
            survey = await self._fields.survey(thread_id, scan=None)
            found = await self._fields.read(thread_id, survey.names, survey.index, with_expiry=True)
            own = await off_loop(len(found), _those_of, thread_id, found)
            batch = self._values.batch()
            replies = await off_loop(len(found), self._tidy, batch, thread_id, survey, found, own)
            short = await off_loop(len(own), _shorter_than, own, self._ttl_seconds)
            if short:
                replies.append(self._fields.outlast(batch, thread_id, short[0].name, self._ttl_seconds))
            for page in pages(short):
                replies.extend(self._renew(batch, thread_id, one, self._ttl_seconds) for one in page)
                await _sent(batch, replies)
                batch, replies = self._values.batch(), []
            await _sent(batch, replies)
            seen.count(len(own))

    @property
    def near_cache(self) -> NearCacheStatistics | None:
        """What the near-cache did so far, and holds; None without one. No round trip."""
        return None if self._near is None else self._near.statistics()

    def forget_near(self) -> None:
        """Have the next reads ask the engine. No round trip."""
        if self._near is not None:
            self._near.forget()

    def reset_tracker(self) -> None:
        """Forget which threads were active lately. No round trip."""
        self._watch.threads_reset()

    async def _write(self, key: str, thread: str, label: str, values: Mapping[str, bytes], own_ttl: int | None) -> None:
        ttl_seconds = self._ttl_seconds if own_ttl is None else own_ttl
        with self._watch.session_set(key, thread, label, ttl_seconds) as stored:
            for names in pages(list(values)):
                page = {name: values[name] for name in names}
                await self._write_page(thread, page, ttl_seconds=ttl_seconds, slides=own_ttl is None)
            stored.bytes(sum(map(len, values.values())))
            self._watch.thread_active(thread)

    async def _write_page(
        self, thread: str, values: Mapping[str, bytes], *, ttl_seconds: int | None, slides: bool
    ) -> None:
        batch = self._values.batch()
        writing = self._fields.write(batch, thread, values, ttl_seconds=ttl_seconds, slides=slides)
        try:
            await batch.send()
        finally:
            self._written(thread, values)
        for name in values:
            self._deferred.forget(session_key(self._name, thread, name))
        if writing.is_unlisted():
            # As if a program without the index had written, so that all scan for it.
            self._deferred.count(WRITES, len(values))
        writing.check()
        self._deferred.count(WRITES, len(values))
        self._deferred.count(INDEXED_WRITES, len(values))

    def _written(self, thread: str, fields: Iterable[str]) -> None:
        """After a write, also one that failed: it may have happened."""
        if self._near is not None:
            self._near.written(thread, fields)

    @property
    def _wants_expiries(self) -> bool:
        return self._ttl_seconds is not None or self._near is not None

    async def _get(self, thread: str, field: str) -> tuple[str | None, float]:
        """The value, and for how many ms it may be taken for the present one."""
        [found] = await self._fields.read(thread, [field], None, with_expiry=self._wants_expiries)
        if found.stored is None or found.claimed is False:
            return None, math.inf
        await self._keep(thread, [found], self._values.batch(), [])
        return self._text(thread, found), _lives_ms(found, self._ttl_seconds)

    async def _get_all(self, thread: str, scan: bool | None, include_unclaimed: bool) -> tuple[dict[str, str], float]:
        """All fields, and for how many ms these may be taken for the present ones."""
        survey = await self._fields.survey(thread, scan=scan, include_unclaimed=include_unclaimed)
        present = await self._present(thread, survey, survey.names, include_unclaimed=include_unclaimed)
        texts = await off_loop(len(present), self._texts, thread, present)
        return texts, min((_lives_ms(one, self._ttl_seconds) for one in present), default=math.inf)

    async def _present(
        self,
        thread: str,
        survey: Survey,
        names: Sequence[str],
        *,
        slide: bool = True,
        include_unclaimed: bool = False,
    ) -> list[Found]:
        """The fields of these names that are there and the thread's; renews and tidies up what there is to."""
        with_expiry = survey.scanned or (slide and self._wants_expiries)
        found = await self._fields.read(thread, names, survey.index, with_expiry=with_expiry)
        own = await off_loop(len(found), _those_of, thread, found)
        batch = self._values.batch()
        replies = await off_loop(len(found), self._tidy, batch, thread, survey, found, own)
        await self._keep(thread, own if slide else [], batch, replies)
        return await off_loop(len(found), _unless_claimed, found) if include_unclaimed else own

    async def _keep(self, thread: str, read: Sequence[Found], batch: ValueBatch, replies: list[Reply[object]]) -> None:
        """Renew values that slide, and send that with what is in the batch.

        Best effort: failures are counted and logged.
        """
        ttl_seconds = self._ttl_seconds
        due = [] if ttl_seconds is None else await off_loop(len(read), _due, read, ttl_seconds)
        if due and ttl_seconds is not None:
            if not self._fields.outlasts(read, ttl_seconds):
                replies.append(self._fields.outlast(batch, thread, due[0].name, ttl_seconds))
            for turn, page in enumerate(pages(due)):
                if turn:
                    await asyncio.sleep(0)
                for one in page:
                    if _left_ms(one) < _URGENT_MS:
                        replies.append(self._renew(batch, thread, one, ttl_seconds))
                    else:
                        key = session_key(self._name, thread, one.name)
                        self._deferred.extend(key, ttl_seconds, seen=_expiry(one))
        if not replies:
            return
        try:
            await _sent(batch, replies)
        except AgentMemoryError as error:
            self._watch.background_failed("index")
            _log.warning("thread %r was read, but not renewed or tidied up: %s", thread, error)

    def _tidy(
        self, batch: ValueBatch, thread: str, survey: Survey, found: Sequence[Found], own: Sequence[Found]
    ) -> list[Reply[object]]:
        gone = [one for one in found if not one.is_there or one.claimed is False]
        return self._fields.drop(batch, thread, gone) + self._fields.take_in(batch, thread, survey, own)

    def _renew(self, batch: ValueBatch, thread: str, found: Found, ttl_seconds: int) -> Reply[object]:
        key = session_key(self._name, thread, found.name)
        self._deferred.forget(key)
        return batch.expire(key, ttl_seconds, only_if=_expiry(found))

    async def _destroy(self, thread: str, survey: Survey, names: Sequence[str], include_unclaimed: bool) -> int:
        found = await self._fields.read(thread, names, survey.index, tolerant=True)
        batch = self._values.batch()
        deleted = []
        for one in found:
            # Also where no text is: another kind of value is deleted too.
            if _belongs(thread, one) or (include_unclaimed and one.claimed is None):
                key = session_key(self._name, thread, one.name)
                self._deferred.forget(key)
                deleted.append(batch.delete(key))
        dropped = self._fields.drop(batch, thread, found)
        if not deleted and not dropped:
            return 0
        await batch.send()
        for reply in dropped:
            reply.result()
        return sum(reply.result() for reply in deleted)

    def _texts(self, thread: str, found: Sequence[Found]) -> dict[str, str]:
        return {one.name: self._text(thread, one) for one in found}

    def _text(self, thread: str, found: Found) -> str:
        value = b"" if found.stored is None else found.stored.value
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            self._watch.corrupt("session")
            _log.warning(
                "field %r of thread %r holds bytes that are no UTF-8 (position %d); they are replaced by U+FFFD",
                found.name,
                thread,
                error.start,
            )
            return value.decode(errors="replace")

    def _checked_values(self, thread: str, values: Mapping[str, str]) -> dict[str, bytes]:
        for field in values:
            self._checked_key(thread, field)
        return {field: _checked_value(field, value) for field, value in values.items()}

    def _checked_key(self, thread: str, field: str) -> str:
        _checked_name("thread_id", thread)
        _checked_name("field", field)
        colons = thread.count(":") + field.count(":")
        if colons > MAX_COLONS:
            raise InvalidInputError(
                f"thread_id and field have {colons} colons together, at most {MAX_COLONS} can be told apart: "
                f"{thread!r:.80}, {field!r:.80}; use another separator"
            )
        return session_key(self._name, thread, field)


async def _sent(batch: ValueBatch, replies: Sequence[Reply[object]]) -> None:
    await batch.send()
    for reply in replies:
        reply.result()


def _checked_thread(thread: str) -> None:
    _checked_name("thread_id", thread)


def _checked_name(what: str, name: object) -> None:
    size = len(_encoded(what, name))
    if size > MAX_NAME_BYTES:
        raise InvalidInputError(f"{what} has {size} bytes as UTF-8, at most {MAX_NAME_BYTES} are taken: {name!r:.80}")


def _checked_fresh(fresh: object) -> bool:
    if not isinstance(fresh, bool):
        raise InvalidInputError(f"fresh must be true or false, got {fresh!r:.80}")
    return fresh


def _checked_value(field: str, value: object) -> bytes:
    encoded = _encoded(f"the value of field {field!r:.80}", value)
    if len(encoded) > MAX_VALUE_BYTES:
        raise InvalidInputError(
            f"the value of field {field!r:.80} has {len(encoded)} bytes as UTF-8, at most {MAX_VALUE_BYTES} are taken"
        )
    return encoded


def _encoded(what: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise InvalidInputError(
            f"{what} must be text, got {type(text).__name__}: {text!r:.80}; encode other things, for example as JSON"
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} holds a lone surrogate at position {error.start}, which is not valid Unicode text"
        ) from None


def _belongs(thread: str, found: Found) -> bool:
    """Whether the key is the thread's; one that nobody claims goes to its first owner."""
    return is_first_owner(thread, found.name) if found.claimed is None else found.claimed


def _is_own(thread: str, found: Found) -> bool:
    """Whether it is there, and the thread's."""
    return found.is_there and _belongs(thread, found)


def _those_of(thread: str, found: Sequence[Found]) -> list[Found]:
    return [one for one in found if _is_own(thread, one)]


def _unless_claimed(found: Sequence[Found]) -> list[Found]:
    """What is there, and no other thread's."""
    return [one for one in found if one.is_there and one.claimed is not False]


def _shorter_than(found: Sequence[Found], ttl_seconds: int) -> list[Found]:
    return [one for one in found if _left_ms(one) < ttl_seconds * 1000]


def _due(read: Sequence[Found], ttl_seconds: int) -> list[Found]:
    return [one for one in read if _is_due(one, ttl_seconds)]


def _is_due(found: Found, ttl_seconds: int) -> bool:
    """Whether a read renews it: it was written to slide, by us and nobody since, and there is time to gain."""
    gained_ms = _gained_ms(found, ttl_seconds)
    return gained_ms is not None and gained_ms >= _worth_ms(ttl_seconds)


def _gained_ms(found: Found, ttl_seconds: int) -> float | None:
    """What a renewal gains; None for a value that is not to be renewed."""
    entry, stored = found.known.written, found.stored
    if entry is None or not entry.slides or stored is None or stored.left_ms is None:
        return None
    return ttl_seconds * 1000 - stored.left_ms if entry.describes(stored.value) else None


def _worth_ms(ttl_seconds: int) -> float:
    """What a renewal has to gain."""
    return min(_GAIN_MS, _GAIN_SHARE * ttl_seconds * 1000)


def _lives_ms(found: Found, ttl_seconds: int | None) -> float:
    """For how long after this read another one would find the same and change nothing.

    Never beyond the value's expiry, and while it slides no longer than until a read would renew it: so it lives as
    long as if every read had reached the engine.
    """
    left_ms = _left_ms(found) - 1  # which is told in whole milliseconds
    gained_ms = None if ttl_seconds is None else _gained_ms(found, ttl_seconds)
    if ttl_seconds is None or gained_ms is None:
        return left_ms
    worth_ms = _worth_ms(ttl_seconds)
    return min(left_ms, worth_ms if gained_ms >= worth_ms else worth_ms - max(0, gained_ms))


def _left_ms(found: Found) -> float:
    return float("inf") if found.stored is None or found.stored.left_ms is None else found.stored.left_ms


def _expiry(found: Found) -> ExpiresAt:
    return ExpiresAt(None if found.stored is None else found.stored.expires_at_ms)
