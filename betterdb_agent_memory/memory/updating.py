"""Changing a memory that is there: what may be changed, and what that means for its record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from betterdb_agent_memory.engines.base import Expected, Expiry, Outcome, RecordChange, Records
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    IndexMismatchError,
    InvalidInputError,
    MemoryNotFoundError,
    VersionConflictError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.drafts import checked_content
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.kinds import MemoryKind, checked_kind
from betterdb_agent_memory.memory.mending import Mender, Removal
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import checked_tags, optional_text
from betterdb_agent_memory.memory.spelling import joined_names, number_text
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.memory.turns import Window, ids_around, window_of
from betterdb_agent_memory.memory.where import Moment
from betterdb_agent_memory.memory.windows import embed_windows, read_around

_ATTEMPTS = 5


class _Unsaid(Enum):
    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = _Unsaid.KEEP
"""The default of `update`'s arguments: the field stays as it is. (None takes it away.)"""

Keep: TypeAlias = Literal[_Unsaid.KEEP]


@dataclass(frozen=True, slots=True)
class Update:
    """A validated change: the content if it is given, other fields to set and to remove, and the expiry."""

    id: str
    content: str | None
    sets: Mapping[str, bytes]
    removes: tuple[str, ...]
    expiry: Expiry | None
    if_version: int | None

    @classmethod
    def validated(
        cls,
        id: object,
        *,
        content: str | Keep | None,
        importance: float | Keep | None,
        tags: Sequence[str] | Keep | None,
        metadata: Mapping[str, Any] | Keep | None,
        source: str | Keep | None,
        subject: str | Keep | None,
        date: str | Keep | None,
        occurred_at: Moment | Keep | None,
        kind: MemoryKind | Keep | None,
        entities: Sequence[str] | Keep | None,
        ttl: int | timedelta | Keep | None,
        if_version: object,
        max_content_bytes: int,
        reserved_sources: Sequence[str],
    ) -> Update:
        """Check everything that could be wrong with a change.

        Raises:
            InvalidInputError: a value is refused, or nothing is to be changed.
        """
        if content is None:
            raise InvalidInputError("a memory cannot lose its content; leave content out, or forget the memory")
        fields = _changed_values(importance, metadata, occurred_at) | _changed_labels(
            tags, source, subject, date, kind, entities
        )
        if record.SOURCE in fields:
            fields[record.DERIVED] = record.NOT_DERIVED if fields[record.SOURCE] in reserved_sources else None
        update = cls(
            id=record.checked_id(id),
            content=None if content is KEEP else checked_content("content", content, max_content_bytes),
            sets={name: text.encode() for name, text in fields.items() if text is not None},
            removes=tuple(name for name, text in fields.items() if text is None),
            expiry=None if ttl is KEEP else Expiry(record.checked_ttl_seconds(ttl)),
            if_version=None if if_version is None else record.checked_version("if_version", if_version),
        )
        if update.content is None and not fields and update.expiry is None:
            raise InvalidInputError("update needs something to change, such as content= or importance=")
        return update

    def change(
        self,
        *,
        vector: bytes | None,
        expected: Expected,
        words: str | None = None,
        stored_version: bytes | None = None,
        pinned: bytes | None = None,
    ) -> RecordChange:
        """The change of the record; `vector` and `words` belong to a content that is new, a vector of None leaves
        all three as they are.

        `stored_version` is how the record spells the version that is asked for, if not as we do. `pinned` is what the
        record has in the field of that name: there the importance of a pinned memory waits for it to be unpinned.
        """
        sets, removes = dict(self.sets), self.removes
        if vector is not None and self.content is not None:
            sets |= {record.CONTENT: self.content.encode(), record.VECTOR: vector}
            if words is None:
                removes = (*removes, record.WORDS)
            else:
                sets[record.WORDS] = words.encode()
        guard: dict[str, bytes | None] = {}
        if record.IMPORTANCE in sets:
            guard[PINNED] = pinned
            if pinned is not None:
                sets[PINNED] = sets.pop(record.IMPORTANCE)
        if self.if_version is not None:
            guard[record.VERSION] = stored_version or record.version_field(self.if_version)
        return RecordChange(
            self.id,
            expected={**expected, **guard},
            sets=sets,
            removes=removes,
            revision_field=record.VERSION,
            expiry=self.expiry,
        )


def _changed_values(
    importance: float | Keep | None, metadata: Mapping[str, Any] | Keep | None, occurred_at: Moment | Keep | None
) -> dict[str, str | None]:
    """What is to be stored of these, None for what is taken away."""
    fields: dict[str, str | None] = {}
    if importance is not KEEP:
        fields[record.IMPORTANCE] = number_text(record.checked_importance(importance))
    if metadata is not KEEP:
        fields[record.METADATA] = record.metadata_text(metadata)
    if occurred_at is not KEEP:
        moment = None if occurred_at is None else checked_time_ms("occurred_at", occurred_at)
        fields[record.OCCURRED_AT] = None if moment is None else str(moment)
    return fields


def _changed_labels(
    tags: Sequence[str] | Keep | None,
    source: str | Keep | None,
    subject: str | Keep | None,
    date: str | Keep | None,
    kind: MemoryKind | Keep | None,
    entities: Sequence[str] | Keep | None,
) -> dict[str, str | None]:
    """The same of these."""
    fields: dict[str, str | None] = {}
    if tags is not KEEP:
        fields[record.TAGS] = TAG_SEPARATOR.join(checked_tags(tags)) or None
    if kind is not KEEP:
        fields[record.KIND] = None if kind is None else checked_kind(kind)
    if entities is not KEEP:
        fields[record.ENTITIES] = joined_names(record.checked_entities(entities)) or None
    for name, text in ((record.SOURCE, source), (record.SUBJECT, subject), (record.DATE, date)):
        if text is not KEEP:
            fields[name] = record.checked_label(name, optional_text(name, text))
    return fields


class Updater:
    """Changes memories in a store; `get` reads one back."""

    def __init__(
        self,
        records: Records,
        models: Models,
        follower: Follower,
        mender: Mender,
        *,
        stored_words: Callable[[str], str | None],
        get: Callable[[str], Awaitable[MemoryItem | None]],
    ) -> None:
        self._records = records
        self._models = models
        self._follower = follower
        self._mender = mender
        self._stored_words = stored_words
        self._get = get

    async def update(self, update: Update) -> MemoryItem:
        """The memory after the change.

        Raises:
            MemoryNotFoundError, VersionConflictError, EmbeddingError: see `MemoryStore.update`.
        """
        with self._mender.removal() as removal:
            try:
                return await self._update(update, removal)
            except (MemoryNotFoundError, VersionConflictError):
                await removal.call_off()
                raise

    async def _update(self, update: Update, removal: Removal) -> MemoryItem:
        layout = await self._models.layout()
        version: int | None = None
        spelling = pinned = None
        for _ in range(_ATTEMPTS):
            try:
                outcome, mixed = await self._once(update, layout, removal, spelling, pinned)
            except (IndexMismatchError, InvalidInputError) as refusal:  # embedded for an index that has gone meanwhile
                layout = await self._models.moved_from(layout, refusal)
                outcome, mixed = await self._once(update, layout, removal, spelling, pinned)
            item = None if outcome is Outcome.MISSING else await self._get(update.id)
            if item is None:
                raise MemoryNotFoundError(
                    f"there is no memory {update.id!r}; it was forgotten, evicted, has expired, or never was"
                )
            if outcome is Outcome.CHANGED:
                await self._follower.follow(layout.generation, [update.id])
                if update.content is not None and ids_around(update.id):
                    await self._mix_neighbours(removal, update.id, mixed, layout)
                return item
            if update.if_version is not None and item.version != update.if_version:
                raise VersionConflictError(
                    f"memory {update.id!r} has version {item.version}, not {update.if_version}: somebody has changed "
                    "it since you read it. Read it again and decide",
                    current=item.version,
                )
            version = item.version
            [fields] = await self._records.read_many([update.id], (record.VERSION, record.CONTENT, PINNED))
            spelling = fields.get(record.VERSION) if fields else None
            pinned = fields.get(PINNED) if fields else None
        raise VersionConflictError(
            f"memory {update.id!r} was changed by others {_ATTEMPTS} times meanwhile; try again", current=version
        )

    async def _once(
        self, update: Update, layout: Layout, removal: Removal, spelling: bytes | None, pinned: bytes | None
    ) -> tuple[Outcome, _Mixed | None]:
        """What became of the change, and what a turn with another content was mixed from."""
        vector: bytes | None = None
        words: str | None = None
        mixed: _Mixed | None = None
        expected: dict[str, bytes | None] = {}
        if update.content is not None:
            around = await read_around(self._records, [update.id], reach=2)
            stored = around[update.id]
            if stored is None or record.CONTENT not in stored:
                return Outcome.MISSING, None
            if stored[record.CONTENT] == update.content.encode():
                expected = {record.CONTENT: stored[record.CONTENT]}
            else:
                around[update.id] = {**stored, record.CONTENT: update.content.encode()}
                mixed = await _mixed(update.id, around, layout)
                vector, words = mixed.vector, self._stored_words(update.content)
                if not removal.fields:
                    await removal.note([update.id])
        with because("updated"):
            [outcome] = await self._records.change_many(
                [update.change(vector=vector, words=words, expected=expected, stored_version=spelling, pinned=pinned)]
            )
        return outcome, mixed

    async def _mix_neighbours(self, removal: Removal, id: str, mixed: _Mixed | None, layout: Layout) -> None:
        known, marks = (None, None) if mixed is None else (mixed.known, {id: mixed.window.mark})
        try:
            if removal.fields:
                await removal.mix(also=[id], layout=layout, known=known, marks=marks)
            else:
                await self._mender.mend([*ids_around(id), id], layout=layout, known=known, marks=marks)
        except AgentMemoryError as error:
            error.add_note(
                f"memory {id!r} has its new content by now, but the vectors of the turns next to it still hold a share "
                "of the former one; set the content once more to have them mixed anew, or leave it to the next call "
                "that forgets, changes or appends turns"
            )
            raise


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The new vector of a memory, the window that it stands for, and the vectors of texts that were made for it."""

    vector: bytes
    window: Window
    known: dict[str, bytes]


async def _mixed(id: str, around: Mapping[str, Fields | None], layout: Layout) -> _Mixed:
    """The vector of memory `id`, with the texts that its neighbours' vectors will need: one embedding call."""
    space = layout.main
    windows = [window_of(one, around) for one in (id, *ids_around(id)) if around.get(one)]
    known: dict[str, bytes] = {}
    dimensions = await space.index.find(space.embedder.dimensions)
    [vector, *_] = await embed_windows(space.embedder, windows, dimensions, known)
    if not isinstance(vector, bytes):
        raise vector
    return _Mixed(vector, windows[0], known)
