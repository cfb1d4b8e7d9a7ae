"""Recalled hits as a near-cache keeps them: what they are about, how large they are, and handed out as copies. Pure."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from operator import attrgetter
from typing import Any, Final, TypeAlias

from betterdb_agent_memory.engines.filters import Equals, Fields, Filter
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import SCOPE_FIELDS, MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope

Triple: TypeAlias = tuple[bytes | None, bytes | None, bytes | None]
"""Thread, agent and namespace. Of a memory: as stored, None for one that it lacks. Of a question: None where any will
do."""

_ANSWER_BYTES: Final = 1_200
_HIT_BYTES: Final = 1_100
"""What an answer and each of its hits take, measured, beside what varies: texts, tags and metadata."""


_ITEM: Final = attrgetter(*(one.name for one in fields(MemoryItem)))
_REST: Final = attrgetter(*(one.name for one in fields(MemoryHit) if one.name != "item"))
"""What a memory, and a hit beside it, are made of: in a third of the time of `dataclasses.replace`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """All that a recall's hits depend on but the memories: the question, the filter, and the settings in force.

    `settings` are those of the call or else of the live configuration, without a time; `space` is the model and the
    index that answer.
    """

    question: str | tuple[bytes, str]
    filter: Filter
    k: int
    reranks: bool
    settings: Hashable
    space: tuple[Hashable, ...]

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        texts = (self.question,) if isinstance(self.question, str) else self.question
        return _ANSWER_BYTES + sum(map(sys.getsizeof, texts))


def scope_asked(filter: Filter) -> Triple:
    """The thread, agent and namespace that a memory must have to pass."""
    required = {clause.field: clause.value.encode() for clause in filter.clauses if isinstance(clause, Equals)}
    thread, agent, namespace = (required.get(name) for name in SCOPE_FIELDS)
    return thread, agent, namespace


def scope_stored(stored: Fields) -> Triple:
    """The thread, agent and namespace of a record."""
    thread, agent, namespace = (stored.get(name) for name in SCOPE_FIELDS)
    return thread, agent, namespace


def scope_said(scope: MemoryScope) -> Triple:
    """The thread, agent and namespace of a memory's scope."""
    said = (scope.thread_id, scope.agent_id, scope.namespace)
    thread, agent, namespace = (None if value is None else value.encode() for value in said)
    return thread, agent, namespace


def subjects_of_answer(filter: Filter, hits: Sequence[MemoryHit]) -> list[Hashable]:
    """What an answer is about: the scope that was asked for, and each memory that it gives."""
    return [("scope", scope_asked(filter)), *subjects_of_ids(hit.item.id for hit in hits)]


def subjects_of_ids(ids: Iterable[str]) -> Iterator[Hashable]:
    """Answers that give one of these memories: others do not change when it is deleted."""
    return (("id", id) for id in ids)


def subjects_of_scope(scope: Triple) -> Iterator[Hashable]:
    """Answers that a memory of this scope could be in: up to eight scopes that may have been asked for."""
    for asked in product(*({None, value} for value in scope)):
        yield "scope", asked


def copies(hits: Iterable[MemoryHit]) -> list[MemoryHit]:
    """The same hits with tags and metadata of their own: whoever gets them may change those."""
    return [MemoryHit(MemoryItem(*map(_own, _ITEM(hit.item))), *_REST(hit)) for hit in hits]


def to_keep(hits: Iterable[MemoryHit]) -> tuple[list[MemoryHit], int]:
    """Copies of the hits, and about how many bytes of memory they take."""
    own = copies(hits)
    return own, size_of(own)


def size_of(hits: Iterable[MemoryHit]) -> int:
    """About how many bytes of memory these hits take."""
    return sum(_HIT_BYTES + _size(hit.item.content) + _size(hit.item.tags) + _size(hit.item.metadata) for hit in hits)


def _own(value: Any) -> Any:
    """The same JSON value, with lists and mappings of its own."""
    kind = type(value)
    if kind is list:
        return [_own(inner) for inner in value]
    return {key: _own(inner) for key, inner in value.items()} if kind is dict else value


def _size(value: Any) -> int:
    """Of a JSON value, with all that is in it."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(_size(key) + _size(inner) for key, inner in value.items())
    return size + sum(map(_size, value)) if isinstance(value, list) else size
