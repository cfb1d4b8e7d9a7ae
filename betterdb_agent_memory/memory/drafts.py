"""What a caller wants remembered, and the checks it passes before anything is paid for."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

from betterdb_agent_memory.engines.base import Expiry, Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields, Filter
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError, MemoryExistsError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import SUPERSEDES, UNCHANGED, MemoryDynamics
from betterdb_agent_memory.memory.kinds import KINDS, MemoryKind, checked_kind
from betterdb_agent_memory.memory.record import NewMemory
from betterdb_agent_memory.memory.reinforcement import accessed_at
from betterdb_agent_memory.memory.scope import (
    MemoryScope,
    checked_scope,
    checked_tags,
    optional_text,
    require_text,
    scope_filter,
)
from betterdb_agent_memory.memory.spelling import joined_names, number_text
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.memory.where import Moment

CONTENT_IDS = 8
"""Ids that are tried for one content: each but the last one was taken by a memory whose content was changed."""

MAX_CONTRADICTED = 64
"""Memories that a draft may say to contradict."""

OnDuplicate: TypeAlias = Literal["keep", "merge", "replace"]
"""What happens when a memory is there already: see `MemoryStore.remember`."""


@dataclass(frozen=True, slots=True)
class MemoryDraft:
    """A memory to be remembered; the fields mean what they mean for `MemoryStore.remember`."""

    content: str
    importance: float | None = None
    tags: Sequence[str] | None = None
    source: str | None = None
    ttl: int | timedelta | None = None
    thread_id: str | None = None
    agent_id: str | None = None
    namespace: str | None = None
    subject: str | None = None
    date: str | None = None
    occurred_at: Moment | None = None
    metadata: Mapping[str, Any] | None = None
    id: str | None = None
    kind: MemoryKind | None = None
    entities: Sequence[str] | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    contradicts: str | Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class RememberResult:
    """What became of one memory of a batch, in the order they were given.

    `stored`: it has been written under `id` (a full scope may have evicted it since). `merged`: the same memory
    was there under `id` already and has been reinforced. `rejected`: it was not written, and `error` says
    why (with an `OutcomeUnknownError` it is there whole or not at all, under `id`). Of the others only one has an
    `error` that could not tell the memories that it `contradicts`: do so with `contradict`.
    """

    outcome: Literal["stored", "merged", "rejected"]
    id: str | None
    error: AgentMemoryError | None = None


@dataclass(frozen=True, slots=True)
class PreparedMemory:
    """A validated memory and how it is to be written.

    `scope` is what a capacity limit counts. `attempt` counts the ids that a merge found taken by another content.
    With `keeps_times` a merge is among the times of access that the memory keeps. It speaks against the memories whose
    ids are in `contradicts`.
    """

    memory: NewMemory
    scope: MemoryScope
    ttl_seconds: int | None
    on_duplicate: OnDuplicate
    has_own_id: bool
    states_importance: bool
    attempt: int = 0
    keeps_times: bool = False
    contradicts: tuple[str, ...] = ()

    @property
    def has_content_id(self) -> bool:
        """Whether its id follows from its content, so that another one will do where that is taken."""
        return self.on_duplicate == "merge" and not self.has_own_id

    def write(self, vector: bytes) -> RecordWrite:
        """The record, and what happens where its id exists."""
        fields = record.encode_memory(self.memory, vector)
        id = self.memory.id
        if self.on_duplicate == "merge":
            return RecordWrite(id, fields, self.ttl_seconds, if_exists=self.merge())
        if self.on_duplicate == "replace" and self.has_own_id:
            return RecordWrite(id, fields, self.ttl_seconds, if_exists=self._replacement(fields))
        if self.has_own_id:
            never = RecordChange(id, expected={record.CONTENT: None})
            return RecordWrite(id, fields, self.ttl_seconds, if_exists=never)
        return RecordWrite(id, fields, self.ttl_seconds, is_new=True)

    def _replacement(self, fields: Fields) -> RecordChange:
        """The record made anew, with the version of the one that was there and one more: whoever has read
        that one must not take this for it. What that one had superseded stays known, to be forgotten with it.
        """
        return RecordChange(
            self.memory.id,
            sets=fields,
            removes=tuple(name for name in record.OPTIONAL_FIELDS if name not in fields and name != SUPERSEDES),
            revision_field=record.VERSION,
            expiry=Expiry(self.ttl_seconds),
        )

    def merge(self) -> RecordChange:
        """What remembering the same thing once more does to the memory that is there."""
        memory = self.memory
        return RecordChange(
            memory.id,
            maxima={record.LAST_ACCESSED_AT: memory.created_at_ms},
            increments={record.ACCESS_COUNT: 1},
            newest=accessed_at((memory.created_at_ms,) if self.keeps_times else ()),
            expected={
                record.CONTENT: memory.content.encode(),
                record.THREAD: _encoded(memory.thread_id),
                record.AGENT: _encoded(memory.agent_id),
                record.NAMESPACE: _encoded(memory.namespace),
            },
            raises=({record.IMPORTANCE: number_text(memory.importance).encode()} if self.states_importance else {}),
            unions={
                field: joined.encode()
                for field, joined in (
                    (record.TAGS, TAG_SEPARATOR.join(memory.tags)),
                    (record.ENTITIES, joined_names(memory.entities)),
                )
                if joined
            },
            revision_field=record.VERSION,
            expiry=Expiry(self.ttl_seconds, only_later=True),
        )

    def elsewhere(self) -> PreparedMemory:
        """The same under the next id that its content gives, since another content has taken this one; after
        eight of them under a random one.
        """
        attempt = self.attempt + 1
        id = content_id(self.memory, attempt) if attempt < CONTENT_IDS else str(uuid.uuid4())
        return replace(self, attempt=attempt, memory=replace(self.memory, id=id))

    def outcome(self, outcome: Outcome) -> RememberResult:
        """What the caller is told about a write that ended so."""
        match outcome:
            case Outcome.WRITTEN:
                return RememberResult("stored", self.memory.id)
            case Outcome.CHANGED:
                return RememberResult("stored" if self.on_duplicate == "replace" else "merged", self.memory.id)
        return self.rejected(
            MemoryExistsError(
                f"there is another memory with the id {self.memory.id!r}; choose another id, pass "
                "on_duplicate='replace' to overwrite it, or change it with update()"
            )
        )

    def rejected(self, error: AgentMemoryError) -> RememberResult:
        """It was not written."""
        return RememberResult("rejected", self.memory.id, error)


def _contradicted(given: object, id: str | None) -> tuple[str, ...]:
    """The ids of the memories that a memory speaks against, each once; `id` is its own where it says one."""
    if given is None:
        return ()
    ids = tuple(dict.fromkeys([record.checked_id(given)] if isinstance(given, str) else record.checked_ids(given)))
    if len(ids) > MAX_CONTRADICTED:
        raise InvalidInputError(
            f"a memory may contradict {MAX_CONTRADICTED} others at once, not {len(ids)}; use contradict() for the rest"
        )
    if id in ids:
        raise InvalidInputError(f"memory {id!r} cannot contradict itself")
    return ids


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def content_id(memory: NewMemory, attempt: int = 0) -> str:
    """The id of the one memory with this content in this thread, agent and namespace.

    The first 32 hexadecimal digits of the SHA-256 of the JSON array of the three scope values and the
    content (UTF-8, no blanks); another attempt is appended to the array.
    """
    parts: list[object] = [memory.thread_id, memory.agent_id, memory.namespace, memory.content]
    if attempt:
        parts.append(attempt)
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def checked_on_duplicate(on_duplicate: object) -> OnDuplicate:
    """One of the three words."""
    for known in get_args(OnDuplicate):
        if on_duplicate == known:
            word: OnDuplicate = known
            return word
    raise InvalidInputError(f"on_duplicate is one of {', '.join(get_args(OnDuplicate))}, got {on_duplicate!r:.80}")


def checked_content(name: str, text: object, max_bytes: int) -> str:
    """Text that fits into the store."""
    content = require_text(name, text)
    size = len(content) if content.isascii() else len(content.encode())
    if size > max_bytes:
        raise InvalidInputError(
            f"{name} has {size:,} bytes, the store accepts {max_bytes:,}; split it into several memories, or raise "
            "max_content_bytes"
        )
    return content


_DRAFT_FIELDS = dict.fromkeys(field.name for field in fields(MemoryDraft))


def as_draft(given: object) -> MemoryDraft:
    """A draft, a text, or a mapping with the fields of a draft.

    Raises:
        InvalidInputError: it is something else, or names a field that does not exist.
    """
    if isinstance(given, MemoryDraft):
        return given
    if isinstance(given, str):
        return MemoryDraft(given)
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"a memory is given as text, as MemoryDraft or as a mapping, not as {type(given).__name__}: {given!r:.80}"
        )
    unknown = [name for name in given if name not in _DRAFT_FIELDS]
    if unknown:
        raise InvalidInputError(f"a memory has no field {unknown[0]!r:.80}; known are {', '.join(_DRAFT_FIELDS)}")
    if "content" not in given:
        raise InvalidInputError("a memory needs content")
    return MemoryDraft(**given)


def _scope_of(draft: MemoryDraft, scope: MemoryScope | None) -> MemoryScope:
    if scope is not None and draft.thread_id is None and draft.agent_id is None and draft.namespace is None:
        return scope
    for name in ("thread_id", "agent_id", "namespace"):
        of_all, own = getattr(scope, name, None), getattr(draft, name)
        if of_all is not None and own is not None and of_all != own:
            raise InvalidInputError(f"the memory says {name} {own!r:.80}, the call says {of_all!r:.80} for all")
    return checked_scope(scope, draft.thread_id, draft.agent_id, draft.namespace)


def _validity(draft: MemoryDraft) -> MemoryDynamics:
    if draft.valid_from is None and draft.valid_until is None:
        return UNCHANGED
    begins_ms, ends_ms = [
        None if moment is None else checked_time_ms(name, moment)
        for name, moment in (("valid_from", draft.valid_from), ("valid_until", draft.valid_until))
    ]
    if begins_ms is not None and ends_ms is not None and begins_ms >= ends_ms:
        raise InvalidInputError(
            f"the memory would be valid from {draft.valid_from!r} until {draft.valid_until!r}, which is never; "
            "valid_until is the first moment at which it is not valid any more"
        )
    return MemoryDynamics(valid_from=begins_ms, valid_until=ends_ms)


@lru_cache(maxsize=128)
def _filter_of(scope: MemoryScope, tags: tuple[str, ...]) -> Filter:
    """What finds the memory by all that says whose it is; nearly all memories of a batch have the same."""
    return scope_filter(scope, tags)


def prepare(
    draft: MemoryDraft,
    *,
    new_id: Callable[[], str],
    now_ms: int,
    on_duplicate: OnDuplicate,
    max_content_bytes: int,
    reserved_sources: Sequence[str],
    stored_words: Callable[[str], str | None],
    scope: MemoryScope | None = None,
    keeps_times: bool = False,
) -> PreparedMemory:
    """Check everything that could be wrong with a draft, and complete it.

    `reserved_sources` are labels that consolidation gives its own products: a plain memory that carries
    one is marked, so that it is never taken for a product. `stored_words` gives the stems that are stored beside a
    content, None where the engine finds its words by itself. `scope` is that of all, checked. `keeps_times` says that
    the store keeps the times of access.
    """
    said = _scope_of(draft, scope)
    kind = None if draft.kind is None else checked_kind(draft.kind)
    source = record.checked_label("source", optional_text("source", draft.source))
    content = checked_content("content", draft.content, max_content_bytes)
    memory = NewMemory(
        id=record.checked_id(new_id() if draft.id is None else draft.id),
        content=content,
        importance=(
            KINDS[kind].importance
            if kind is not None and draft.importance is None
            else record.checked_importance(draft.importance)
        ),
        created_at_ms=now_ms,
        tags=checked_tags(draft.tags),
        thread_id=said.thread_id,
        agent_id=said.agent_id,
        namespace=said.namespace,
        source=source,
        subject=record.checked_label("subject", optional_text("subject", draft.subject)),
        date=record.checked_label("date", optional_text("date", draft.date)),
        occurred_at_ms=None if draft.occurred_at is None else checked_time_ms("occurred_at", draft.occurred_at),
        metadata=record.metadata_text(draft.metadata),
        derived=record.NOT_DERIVED if source in reserved_sources else None,
        words=stored_words(content),
        kind=kind,
        entities=record.checked_entities(draft.entities),
        dynamics=_validity(draft),
    )
    if on_duplicate == "merge" and draft.id is None:
        memory = replace(memory, id=content_id(memory))
    _filter_of(said, memory.tags)  # refuses a scope that no filter could name
    return PreparedMemory(
        memory=memory,
        scope=said,
        ttl_seconds=record.checked_ttl_seconds(draft.ttl),
        on_duplicate=on_duplicate,
        has_own_id=draft.id is not None,
        states_importance=draft.importance is not None,
        keeps_times=keeps_times,
        contradicts=_contradicted(draft.contradicts, draft.id),
    )
