"""A memory and its hash: the only place that knows field names and encodings.

The fields, their order and their encodings are the wire contract with the TypeScript package and
with the published Python package (docs/wire-contract.md). Readers accept both spellings of numbers.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.engines.base import Collection, IndexSchema, Position, SchemaField
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields, leading_number
from betterdb_agent_memory.engines.links import LinkKeys
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.dynamics_fields import (
    CORE,
    DYNAMICS_FIELDS,
    PINNED,
    RECENT,
    RECENT_TIMES,
    RELIABILITY,
    STABILITY,
    STRENGTH_AT,
    SUCCESSES,
    UNCHANGED,
    WORKING,
    MemoryDynamics,
    decode_dynamics,
    decode_times,
    encode_dynamics,
    possible_stability,
)
from betterdb_agent_memory.memory.kinds import DEFAULT_RELIABILITY, KINDS
from betterdb_agent_memory.memory.scoring.base import Candidates, Need
from betterdb_agent_memory.memory.spelling import joined_names, number_text, split_names
from betterdb_agent_memory.memory.times import MAX_TIME_MS
from betterdb_agent_memory.options import is_number

CONTENT = "content"
VECTOR = "vector"
IMPORTANCE = "importance"
CREATED_AT = "created_at"
LAST_ACCESSED_AT = "last_accessed_at"
ACCESS_COUNT = "access_count"
TAGS = "tags"
THREAD = "threadId"
AGENT = "agentId"
NAMESPACE = "namespace"
SOURCE = "source"
SUBJECT = "subject"
DATE = "date"
# Ours: additions that readers in other languages pass over.
OCCURRED_AT = "occurred_at"
METADATA = "metadata"
VERSION = "version"
SESSION = "session"
TURN = "turn"
SPEAKER = "speaker"
WORDS = "words"
"""The stems of the content, where the search engine cannot find them itself: other languages than English."""
KIND = "kind"
ENTITIES = "entities"
"""Whom and what the memory is about: comma-separated names, see `spelling.listed_name`."""
TENANT = "tenant"
"""Whose memory it is, in a pool that many tenants share, and nowhere else."""
DERIVED = "derived"
"""Whether a memory is a product of consolidation: one of the three values below."""

DERIVED_SUMMARY = "summary"
DERIVED_FACT = "fact"
NOT_DERIVED = "none"
"""Marks a plain memory whose source is a label that products of consolidation carry, too."""

SCOPE_FIELDS = (THREAD, AGENT, NAMESPACE)
"""What makes the exact scope of a memory; one that has none of them belongs to everybody."""

MEMORY_SCHEMA = IndexSchema(
    vector_field=VECTOR,
    shared=(
        SchemaField(THREAD, "tag"),
        SchemaField(AGENT, "tag"),
        SchemaField(NAMESPACE, "tag"),
        SchemaField(TAGS, "tag", multiple=True),
        SchemaField(SOURCE, "tag"),
        SchemaField(IMPORTANCE, "number"),
        SchemaField(CREATED_AT, "number", sortable=True),
        SchemaField(LAST_ACCESSED_AT, "number"),
        SchemaField(ACCESS_COUNT, "number"),
        SchemaField(CONTENT, "text"),
    ),
    own=(
        SchemaField(SUBJECT, "tag"),
        SchemaField(OCCURRED_AT, "number"),
        SchemaField(WORDS, "text", holds_stems=True),
        SchemaField(KIND, "tag"),
        SchemaField(ENTITIES, "tag", multiple=True),
    ),
)


def memory_collection(name: str, *, by_tags: bool = False) -> Collection:
    """Where the memories of the store called `name` live; `by_tags` sets scopes apart by their tags, too."""
    return Collection(
        key_prefix=f"{name}:mem:",
        index_name=f"{name}:mem:idx",
        schema=MEMORY_SCHEMA,
        group_fields=(*SCOPE_FIELDS, TAGS) if by_tags else SCOPE_FIELDS,
        group_sets=int(by_tags),
        counts_key=f"{name}:__mem_counts",
        link_keys=LinkKeys(f"{name}:link:"),
    )


ITEM_FIELDS = (
    CONTENT,
    IMPORTANCE,
    TAGS,
    CREATED_AT,
    LAST_ACCESSED_AT,
    ACCESS_COUNT,
    SOURCE,
    THREAD,
    AGENT,
    NAMESPACE,
    SUBJECT,
    DATE,
    OCCURRED_AT,
    METADATA,
    VERSION,
    SESSION,
    TURN,
    SPEAKER,
    KIND,
    ENTITIES,
    *DYNAMICS_FIELDS,
)
"""What reading a memory asks for: everything but the vector."""

OPTIONAL_FIELDS = (
    TAGS,
    THREAD,
    AGENT,
    NAMESPACE,
    SOURCE,
    SUBJECT,
    DATE,
    OCCURRED_AT,
    METADATA,
    DERIVED,
    SESSION,
    TURN,
    SPEAKER,
    WORDS,
    KIND,
    ENTITIES,
    *DYNAMICS_FIELDS,
)
"""Fields that a memory may lack; its version is kept apart, since it outlives what it counts."""

MATCH_ALL_MEMORY_QUERY = f"@{CREATED_AT}:[-inf +inf]"
"""The published query text that finds every memory: each has the field, and a bare `*` is no valid
query everywhere."""

DEFAULT_IMPORTANCE = 0.5
MAX_TTL_SECONDS = 100 * 366 * 24 * 3600
MAX_ID_BYTES = 512
MAX_LABEL_BYTES = 4_096
"""Longest source, subject or date: what RediSearch keeps of a tag."""
MAX_METADATA_BYTES = 65_536
MAX_ENTITIES = 64
MAX_ENTITY_BYTES = 512
_KIND_RELIABILITY: Final = {kind.encode(): profile.reliability for kind, profile in KINDS.items()}
_KIND_STABILITY: Final = {kind.encode(): profile.stability_days for kind, profile in KINDS.items()}
_LONGEST_NUMBER: Final = 20
FIRST_VERSION = 1
"""The version of a memory that was never changed; it is not stored."""


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """A memory as stored. Times are milliseconds since the epoch.

    `created_at` is when it was written, `occurred_at` when what it tells happened. `version` is 1 at
    first and goes up with each change of what the memory says; recalling it changes no version. A turn of
    a conversation has its `session`, its place there (`turn`, from 0) and whoever spoke. `kind` is one of `KINDS`, None
    where nobody said; `entities` are whom and what it is about. A `pinned` memory is neither evicted nor faded out.
    """

    id: str
    content: str
    importance: float
    tags: list[str]
    created_at: int
    last_accessed_at: int
    access_count: int
    source: str | None = None
    subject: str | None = None
    date: str | None = None
    thread_id: str | None = None
    agent_id: str | None = None
    namespace: str | None = None
    occurred_at: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = FIRST_VERSION
    session: str | None = None
    turn: int | None = None
    speaker: str | None = None
    kind: str | None = None
    entities: list[str] = field(default_factory=list)
    pinned: bool = False
    dynamics: MemoryDynamics = UNCHANGED

    @property
    def cursor(self) -> str:
        """Where `iterate(after=...)` goes on after this memory."""
        return f"{self.created_at}:{self.id}"


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A validated memory on its way into the store; `importance` is in 0..1, times in ms, `metadata` is
    its stored text, `derived` None for a plain memory.
    """

    id: str
    content: str
    importance: float
    created_at_ms: int
    tags: tuple[str, ...] = ()
    thread_id: str | None = None
    agent_id: str | None = None
    namespace: str | None = None
    source: str | None = None
    subject: str | None = None
    date: str | None = None
    occurred_at_ms: int | None = None
    metadata: str | None = None
    derived: str | None = None
    session: str | None = None
    turn: int | None = None
    speaker: str | None = None
    words: str | None = None
    kind: str | None = None
    entities: tuple[str, ...] = ()
    dynamics: MemoryDynamics = UNCHANGED


def encode_memory(memory: NewMemory, vector: bytes) -> dict[str, bytes]:
    """The hash of a new memory, in the contract's field order; absent options make no field."""
    now = str(memory.created_at_ms).encode()
    fields = {
        CONTENT: memory.content.encode(),
        VECTOR: vector,
        IMPORTANCE: number_text(memory.importance).encode(),
        CREATED_AT: now,
        LAST_ACCESSED_AT: now,
        ACCESS_COUNT: b"0",
    }
    for name, text in (
        (TAGS, TAG_SEPARATOR.join(memory.tags) if memory.tags else None),
        (THREAD, memory.thread_id),
        (AGENT, memory.agent_id),
        (NAMESPACE, memory.namespace),
        (SOURCE, memory.source),
        (SUBJECT, memory.subject),
        (DATE, memory.date or None),
        (OCCURRED_AT, None if memory.occurred_at_ms is None else str(memory.occurred_at_ms)),
        (METADATA, memory.metadata),
        (DERIVED, memory.derived),
        (SESSION, memory.session),
        (TURN, None if memory.turn is None else str(memory.turn)),
        (SPEAKER, memory.speaker),
        (WORDS, memory.words),
        (KIND, memory.kind),
        (ENTITIES, joined_names(memory.entities) or None),
    ):
        if text is not None:
            fields[name] = text.encode()
    return fields | encode_dynamics(memory.dynamics)


def is_memory(fields: Fields) -> bool:
    """Whether a record is a memory and not a fragment of one."""
    return CONTENT in fields


def decode_memory(id: str, fields: Fields) -> tuple[MemoryItem | None, int]:
    """The memory in a hash, and how many of its fields could not be read.

    A hash without content is no memory: it is what an old client's reinforcement leaves of a
    deleted one. A number that cannot be read counts as 0, text that is not UTF-8 is replaced.
    """
    if not is_memory(fields):
        return None, 1
    try:
        return _plain_memory(id, fields), 0
    except (KeyError, ValueError):
        return _odd_memory(id, fields)


def decode_entities(fields: Fields) -> list[str]:
    """The entities of a memory, as `decode_memory` reads them."""
    return split_names(fields[ENTITIES].decode(errors="replace")) if fields.get(ENTITIES) else []


def _plain_memory(id: str, fields: Fields) -> MemoryItem:
    """A memory as our own kind writes it; raises for any other spelling."""
    importance = float(fields[IMPORTANCE])
    if not math.isfinite(importance):
        raise ValueError(importance)
    stored = fields.get
    tags = stored(TAGS)
    source, subject, date = stored(SOURCE), stored(SUBJECT), stored(DATE)
    thread, agent, namespace = stored(THREAD), stored(AGENT), stored(NAMESPACE)
    occurred_at, metadata, version = stored(OCCURRED_AT), stored(METADATA), stored(VERSION)
    session, turn, speaker = stored(SESSION), stored(TURN), stored(SPEAKER)
    kind, entities = stored(KIND), stored(ENTITIES)
    dynamics, unreadable = decode_dynamics(fields)
    if unreadable:
        raise ValueError(unreadable)
    return MemoryItem(
        id,
        fields[CONTENT].decode(),
        importance,
        tags.decode().split(TAG_SEPARATOR) if tags else [],
        _whole(fields[CREATED_AT]),
        _whole(fields[LAST_ACCESSED_AT]),
        _whole(fields[ACCESS_COUNT]),
        None if source is None else source.decode(),
        None if subject is None else subject.decode(),
        None if date is None else date.decode(),
        None if thread is None else thread.decode(),
        None if agent is None else agent.decode(),
        None if namespace is None else namespace.decode(),
        None if occurred_at is None else int(occurred_at),
        {} if metadata is None else _json_object(metadata),
        FIRST_VERSION if version is None else int(version),
        None if session is None else session.decode(),
        None if turn is None else int(turn),
        None if speaker is None else speaker.decode(),
        None if kind is None else kind.decode(),
        split_names(entities.decode()) if entities else [],
        PINNED in fields,
        dynamics,
    )


def _odd_memory(id: str, fields: Fields) -> tuple[MemoryItem, int]:
    """A memory with fields that are missing or spelt otherwise, and how many could not be read."""
    reader = _Reader(fields)
    tags, entities = reader.text(TAGS), reader.text(ENTITIES)
    dynamics, unreadable = decode_dynamics(fields)
    item = MemoryItem(
        id=id,
        content=reader.text(CONTENT) or "",
        importance=reader.number(IMPORTANCE),
        tags=tags.split(TAG_SEPARATOR) if tags else [],
        created_at=int(reader.number(CREATED_AT)),
        last_accessed_at=int(reader.number(LAST_ACCESSED_AT)),
        access_count=int(reader.number(ACCESS_COUNT)),
        source=reader.text(SOURCE),
        subject=reader.text(SUBJECT),
        date=reader.text(DATE),
        thread_id=reader.text(THREAD),
        agent_id=reader.text(AGENT),
        namespace=reader.text(NAMESPACE),
        occurred_at=int(reader.number(OCCURRED_AT)) if OCCURRED_AT in fields else None,
        metadata=reader.json_object(METADATA),
        version=(int(reader.number(VERSION)) if VERSION in fields else 0) or FIRST_VERSION,
        session=reader.text(SESSION),
        turn=int(reader.number(TURN)) if TURN in fields else None,
        speaker=reader.text(SPEAKER),
        kind=reader.text(KIND),
        entities=split_names(entities) if entities else [],
        pinned=PINNED in fields,
        dynamics=dynamics,
    )
    return item, reader.unreadable + unreadable


def _whole(stored: bytes) -> int:
    """A whole number; raises for one that is longer than a time or a count can be, with which nobody could compute."""
    if len(stored) > _LONGEST_NUMBER:
        raise ValueError(f"too long for a number: {stored!r:.80}")
    return int(stored)


def _json_object(stored: bytes) -> dict[str, Any]:
    value = json.loads(stored)
    if not isinstance(value, dict):
        raise ValueError(f"metadata is no JSON object: {stored!r:.80}")
    return value


def plain_numbers(records: Sequence[Fields]) -> list[tuple[float, int, int]] | None:
    """Importance, and the milliseconds of creation and of last access, of records as our own kind writes them; None
    where one of them is spelt otherwise. A third of the time of `scored_numbers` for a few records.
    """
    try:
        return [
            (float(fields[IMPORTANCE]), _whole(fields[CREATED_AT]), _whole(fields[LAST_ACCESSED_AT]))
            for fields in records
        ]
    except (KeyError, ValueError):
        return None


def scored_numbers(records: Sequence[Fields]) -> NDArray[np.float64]:
    """What scores need of records, without making memories of them: a row each for importance, and for the milliseconds
    of creation and of last access.
    """
    try:
        importance = [float(fields[IMPORTANCE]) for fields in records]
        times = [[int(fields[name]) for fields in records] for name in (CREATED_AT, LAST_ACCESSED_AT)]
        numbers = np.array([importance, *times], dtype=np.float64)
    except (KeyError, ValueError, OverflowError):
        numbers = np.array([[math.nan]])
    if not np.isfinite(numbers).all():
        readers = [_Reader(fields) for fields in records]
        names = (IMPORTANCE, CREATED_AT, LAST_ACCESSED_AT)
        numbers = np.array([[reader.number(name) for reader in readers] for name in names], dtype=np.float64)
    return numbers


def retention_numbers(fields: Fields) -> tuple[float, int, int]:
    """Importance and the milliseconds of last access, as `decode_memory` reads them, and how many of the two could
    not be read.
    """
    reader = _Reader(fields)
    try:
        importance, last_accessed_at = float(fields[IMPORTANCE]), int(fields[LAST_ACCESSED_AT])
    except (KeyError, ValueError):
        importance, last_accessed_at = math.nan, 0
    if math.isfinite(importance):
        return importance, last_accessed_at, 0
    return reader.number(IMPORTANCE), int(reader.number(LAST_ACCESSED_AT)), reader.unreadable


def scoring_candidates(
    records: Sequence[Fields], relevance: NDArray[np.float64], needs: AbstractSet[Need]
) -> Candidates:
    """What a scoring model needs of records, without making memories of them; each has its `relevance`.

    A memory without a stability of its own has its kind's. What cannot be read counts as absent.
    """
    importance, created_at_ms, last_accessed_at_ms = scored_numbers(records)

    def numbers(name: str) -> NDArray[np.float64]:
        try:
            return np.array([int(fields[name]) for fields in records], dtype=np.float64)
        except (KeyError, ValueError, OverflowError):
            return np.array([_Reader(fields).number(name) for fields in records], dtype=np.float64)

    def optional(need: Need, name: str) -> NDArray[np.float64] | None:
        if need not in needs or not any(name in fields for fields in records):
            return None
        found = (leading_number(fields.get(name)) for fields in records)
        return np.array([math.nan if number is None else number for number in found])

    return Candidates(
        relevance=relevance,
        importance=importance,
        created_at_ms=created_at_ms,
        last_accessed_at_ms=last_accessed_at_ms,
        access_count=numbers(ACCESS_COUNT) if "access_count" in needs else np.zeros(len(records)),
        recent_ms=_recent_times(records) if "recent_ms" in needs else None,
        successes=optional("successes", SUCCESSES),
        reliability=_trust(records) if "reliability" in needs else None,
        stability_days=_stabilities(records) if "stability_days" in needs else None,
        working=optional("working", WORKING),
        core=optional("core", CORE),
        strength_at_ms=optional("strength_at_ms", STRENGTH_AT),
    )


def _recent_times(records: Sequence[Fields]) -> NDArray[np.float64] | None:
    """A row of the last access times for each, NaN where there are fewer; None where no record has any."""
    if not any(RECENT in fields for fields in records):
        return None
    times = np.full((len(records), RECENT_TIMES), math.nan)
    for row, fields in zip(times, records, strict=True):
        stored = fields.get(RECENT)
        known = (decode_times(stored) or ()) if stored else ()
        row[: len(known)] = known[-RECENT_TIMES:]
    return times


def _trust(records: Sequence[Fields]) -> NDArray[np.float64] | None:
    """What is left of the reliability of each one's kind, at most 1, NaN where nobody doubted it; None where that is so
    for all.
    """
    if not any(RELIABILITY in fields for fields in records):
        return None
    found = (leading_number(fields.get(RELIABILITY)) for fields in records)
    kinds = (_KIND_RELIABILITY.get(fields.get(KIND, b""), DEFAULT_RELIABILITY) for fields in records)
    return np.array([math.nan if own is None else min(own / kind, 1.0) for own, kind in zip(found, kinds, strict=True)])


def _stabilities(records: Sequence[Fields]) -> NDArray[np.float64] | None:
    """The stability of each in days, or its kind's, NaN where neither is known; None where that is so for all."""
    own = (possible_stability(leading_number(fields.get(STABILITY))) for fields in records)
    found = [days or _KIND_STABILITY.get(fields.get(KIND, b"")) for days, fields in zip(own, records, strict=True)]
    if not any(found):
        return None
    return np.array([math.nan if number is None else number for number in found])


def moments_ms(records: Sequence[Fields]) -> NDArray[np.float64]:
    """When what each record tells happened, in ms, or else when it was written: an array (n,)."""
    readers = [_Reader(fields) for fields in records]
    names = [OCCURRED_AT if OCCURRED_AT in fields else CREATED_AT for fields in records]
    return np.array([reader.number(name) for reader, name in zip(readers, names, strict=True)], dtype=np.float64)


class _Reader:
    """Reads fields and counts those that hold something else than they should."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.unreadable = 0

    def text(self, field: str) -> str | None:
        value = self._fields.get(field)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            self.unreadable += 1
            return value.decode(errors="replace")

    def number(self, field: str) -> float:
        """The leading number, as the other languages read it; 0 when missing or unreadable."""
        value = self._fields.get(field)
        if value is None:
            return 0
        number = leading_number(value)
        if number is None:
            self.unreadable += 1
            return 0
        return number

    def json_object(self, field: str) -> dict[str, Any]:
        """The object, empty when missing or unreadable."""
        value = self._fields.get(field)
        if value is None:
            return {}
        try:
            return _json_object(value)
        except ValueError:
            self.unreadable += 1
            return {}


def has_control_character(text: str) -> bool:
    """Whether one of the 33 control characters of ASCII is in `text`."""
    if text.isascii():
        return not text.isprintable()
    return any(character < " " or character == "\x7f" for character in text)


def checked_id(id: object) -> str:
    """An id that can be part of a key below the store's prefix."""
    if not isinstance(id, str) or not id:
        raise InvalidInputError(f"a memory id must be a non-empty text, got {id!r:.80}")
    if ":" in id:
        raise InvalidInputError(f"memory id {id!r:.80} contains a colon, which separates the parts of a key")
    if has_control_character(id):
        # A search returns the key only up to a NUL.
        raise InvalidInputError(f"memory id {id!r:.80} contains a control character")
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"memory id {id!r:.80} is not valid Unicode text") from None
    if size > MAX_ID_BYTES:
        raise InvalidInputError(f"a memory id may have {MAX_ID_BYTES} bytes, this one has {size:,}")
    return id


def checked_ids(ids: object) -> list[str]:
    """Several ids that can be parts of keys."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInputError(f"ids must be a list of ids, got {type(ids).__name__}: {ids!r:.80}")
    return [checked_id(id) for id in ids]


def checked_label(name: str, label: str | None) -> str | None:
    """A source, subject or date of a length that can be indexed."""
    if label is not None and (size := len(label.encode())) > MAX_LABEL_BYTES:
        raise InvalidInputError(
            f"{name} may have {MAX_LABEL_BYTES:,} bytes, this one has {size:,}; put text into content"
        )
    return label


def checked_entities(entities: Sequence[str] | None) -> tuple[str, ...]:
    """Whom and what a memory is about, each once, in the given order.

    Raises:
        InvalidInputError: it is no list of texts, one is empty or over 512 bytes long, or there are more than 64.
    """
    if entities is None:
        return ()
    if isinstance(entities, str | bytes) or not isinstance(entities, Sequence):
        raise InvalidInputError(f"entities must be a list of names, got {type(entities).__name__}: {entities!r:.80}")
    named = tuple(dict.fromkeys(checked_entity(entity) for entity in entities))
    if len(named) > MAX_ENTITIES:
        raise InvalidInputError(f"a memory has at most {MAX_ENTITIES} entities, this one has {len(named)}")
    return named


def checked_entity(entity: object) -> str:
    """The name of somebody or something, of any characters."""
    if not isinstance(entity, str) or not entity:
        raise InvalidInputError(f"an entity is a name, a text that is not empty; got {entity!r:.80}")
    try:
        size = len(entity.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"entity {entity!r:.80} is not valid Unicode text") from None
    if size > MAX_ENTITY_BYTES:
        raise InvalidInputError(
            f"the name of an entity may have {MAX_ENTITY_BYTES} bytes, {entity[:40]!r}... has {size:,}"
        )
    return entity


def _require_names(metadata: Mapping[Any, Any]) -> None:
    """Names that are no texts would be changed into some, and two might become one."""
    waiting: list[Any] = [metadata]
    looked_at = 0
    while waiting and looked_at <= MAX_METADATA_BYTES:  # what is larger, or holds itself, is refused below
        looked_at += 1
        value = waiting.pop()
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str):
                    raise InvalidInputError(f"the names in metadata must be texts, got {name!r:.80}")
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


def metadata_text(metadata: object) -> str | None:
    """Metadata as it is stored: compact JSON of an object, None for none or an empty one.

    Raises:
        InvalidInputError: it is no mapping from texts to JSON values, or longer than 64 KiB.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata must be a mapping, got {type(metadata).__name__}: {metadata!r:.80}")
    _require_names(metadata)
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:  # a lone surrogate is a ValueError too
        raise InvalidInputError(
            "metadata must be made of JSON values, so texts, finite numbers (no NaN), booleans, None, lists and "
            f"mappings: {error}"
        ) from None
    if size > MAX_METADATA_BYTES:
        raise InvalidInputError(
            f"metadata has {size:,} bytes as JSON, at most {MAX_METADATA_BYTES:,} are accepted; keep large values "
            "elsewhere and store a reference"
        )
    return text if metadata else None


def checked_version(name: str, version: object) -> int:
    """A version number of a memory: a whole number from 1."""
    if isinstance(version, bool) or not isinstance(version, numbers.Integral) or version < FIRST_VERSION:
        raise InvalidInputError(f"{name} must be a whole number from 1, got {version!r:.80}")
    return int(version)


def version_field(version: int) -> bytes | None:
    """What the field holds in a memory of this version; None when it is not there."""
    return None if version == FIRST_VERSION else str(version).encode()


def parse_cursor(cursor: object) -> Position:
    """The place that `MemoryItem.cursor` names."""
    number, separator, id = cursor.partition(":") if isinstance(cursor, str) else ("", "", "")
    try:
        if not separator or not id:
            raise ValueError(cursor)
        position = Position(int(number), id)
        id.encode()  # a lone surrogate is a ValueError, too
        if abs(position.number) > MAX_TIME_MS:
            raise ValueError(cursor)
        return position
    except ValueError:
        raise InvalidInputError(
            f"a cursor is what MemoryItem.cursor gives, like '1750000000000:some-id', not {cursor!r:.80}"
        ) from None


def checked_importance(importance: object) -> float:
    """A finite number in 0..1; None means 0.5. A boolean is refused: it would be stored as text."""
    if importance is None:
        return DEFAULT_IMPORTANCE
    if not is_number(importance):
        raise InvalidInputError(f"importance must be a number from 0 to 1, got {importance!r:.80}")
    if not 0 <= importance <= 1:
        raise InvalidInputError(f"importance must be from 0 to 1, got {importance!r}")
    return float(importance)


def checked_ttl_seconds(ttl: object) -> int | None:
    """Whole seconds; None and 0 mean that the memory never expires (0 as published)."""
    if ttl is None:
        return None
    seconds: object = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(seconds, float) and isinstance(ttl, timedelta) and seconds.is_integer():
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, numbers.Integral):
        raise InvalidInputError(f"ttl must be whole seconds, got {ttl!r:.80}; the server knows no fractions here")
    whole = int(seconds)
    if whole < 0:
        raise InvalidInputError(f"ttl must not be negative, got {whole}; leave it out for a memory that never expires")
    if whole > MAX_TTL_SECONDS:
        raise InvalidInputError(
            f"ttl of {whole:,} seconds is over a hundred years; it is given in seconds, not milliseconds"
        )
    return whole or None
