"""What a line of an export says: pure, lossless both ways (docs/export-import.md).

A field stands under its readable name in its readable form where that form gives back the stored
bytes exactly. What it would not give back, and what we do not know, stands in `fields` as text,
or in `bytes` as base64 where it is no UTF-8. The readable form takes only values that make sense; a
senseless one that a store happens to hold ("very" for an importance) goes there, too.
"""

from __future__ import annotations

import binascii
import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields, leading_number
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import dynamics_fields, record
from betterdb_agent_memory.memory.spelling import joined_names, split_names
from betterdb_agent_memory.memory.times import MAX_TIME_MS

FORMAT: Final = "betterdb-agent-memory"
FORMAT_VERSION: Final = 1

OLD, ID, EXPIRES_AT, LINKS, OTHER_TEXT, OTHER_BYTES = "old", "id", "expires_at", "links", "fields", "bytes"

_SHOWN: Final = 10**20

LATEST_MS: Final = 10**14
"""The latest expiry that every engine takes, in the year 5138."""

_HEAVIEST: Final = 1e300

OLD_BEGINNING: Final = json.dumps({OLD: True})[:-1].encode()
"""What every line of a version begins with that is kept beside the memories, and no other line."""

BEGINNING: Final = json.dumps({"format": FORMAT})[:-1].encode()
"""What every file of ours begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line of a file: where the memories below come from.

    `store` is the name they had, `exported_at` ms since the epoch, `embedder` the name of what made
    their vectors and `dimensions` their length, None where it is not known. `vectors` says whether
    they are in the file, `memories` how many there were when the export began, `filter` which part
    of the store they are (a digest; None for all of it). `superseded` says whether versions that are kept beside the
    memories are in the file.
    """

    store: str
    exported_at: int
    embedder: str | None = None
    dimensions: int | None = None
    vectors: bool = True
    memories: int | None = None
    filter: str | None = None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A memory as a file carries it: all fields of its hash, and when it expires (ms since the epoch).

    `links` have the weights that they had at the time in the file's header. An `old` one is a superseded version, or an
    archived memory, which is kept beside the others.
    """

    id: str
    fields: Fields
    expires_at_ms: int | None = None
    links: tuple[LinkEnd, ...] = ()
    old: bool = False


def encode_header(header: Header) -> bytes:
    """The header as a line."""
    return _line({"format": FORMAT, "version": FORMAT_VERSION, **asdict(header)})


def decode_header(line: bytes) -> Header:
    """The header in a file's first line.

    Raises:
        InvalidInputError: it is no header of ours, or of a later version than we can read.
    """
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InvalidInputError(
            f'this is no export: its first line must be a header {{"format": "{FORMAT}", ...}}, got {line[:80]!r}. '
            "Lines of other programs go in with remember_many"
        )
    if values.get("version") != FORMAT_VERSION:
        raise InvalidInputError(
            f"this export has version {values.get('version')!r:.20} of the format, this release reads "
            f"{FORMAT_VERSION}; use a newer release"
        )
    kinds: dict[str, tuple[type, ...]] = {
        "store": (str,),
        "exported_at": (int,),
        "embedder": (str, type(None)),
        "dimensions": (int, type(None)),
        "vectors": (bool,),
        "memories": (int, type(None)),
        "filter": (str, type(None)),
        "superseded": (bool,),
    }
    known = {name: values[name] for name in kinds if name in values}
    for name, value in known.items():
        if type(value) not in kinds[name]:
            raise InvalidInputError(
                f"{name} in the header of the export is {value!r:.40}, not {kinds[name][0].__name__}"
            )
    try:
        return Header(**known)
    except TypeError:
        raise InvalidInputError("the header of the export lacks store or exported_at") from None


def encode_memory_line(memory: Exported, *, vector: bool = True) -> bytes:
    """A memory as a line; its vector only where asked for."""
    line: dict[str, Any] = {OLD: True, ID: memory.id} if memory.old else {ID: memory.id}
    texts: dict[str, str] = {}
    other: dict[str, str] = {}
    stored = dict(memory.fields)
    held_vector = stored.pop(record.VECTOR, None)
    for field, readable in _READABLE.items():
        value = stored.get(field)
        if value is None:
            continue
        form = readable.form(value)
        if form is not None:
            line[readable.name] = form
            del stored[field]
    for field, value in stored.items():
        try:
            texts[field] = value.decode()
        except UnicodeDecodeError:
            other[field] = b64encode(value).decode()
    links = {end.id: [end.weight, end.since_ms] for end in memory.links}
    beside = {
        OTHER_TEXT: texts or None,
        OTHER_BYTES: other or None,
        EXPIRES_AT: memory.expires_at_ms,
        LINKS: links or None,
    }
    line.update({name: value for name, value in beside.items() if value is not None})
    if vector and held_vector is not None:
        line[record.VECTOR] = b64encode(held_vector).decode()
    return _line(line)


def decode_memory_line(line: bytes) -> Exported:
    """The memory in a line.

    Raises:
        InvalidInputError: it is no memory; the message says why.
    """
    try:
        values = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidInputError(f"a line is one JSON object, got {type(values).__name__}")
    fields: dict[str, bytes] = {}
    for key, value in values.items():
        if key in (OLD, ID, EXPIRES_AT, LINKS, OTHER_TEXT, OTHER_BYTES):
            continue
        if key == record.VECTOR:
            fields[key] = _unpacked(key, value)
            continue
        readable = _BY_NAME.get(key)
        if readable is None:
            known = ", ".join([OLD, ID, *_BY_NAME, EXPIRES_AT, LINKS, OTHER_TEXT, OTHER_BYTES, record.VECTOR])
            raise InvalidInputError(f"{key!r:.60} is no field of an export; known are {known}")
        if value is not None:
            fields[readable.field] = readable.stored(key, value)
    for field, value in _other(OTHER_TEXT, values):
        _add(fields, field, _text_bytes(field, value))
    for field, value in _other(OTHER_BYTES, values):
        _add(fields, field, _unpacked(field, value))
    return Exported(
        record.checked_id(values.get(ID)),
        _whole(fields),
        _expiry(values.get(EXPIRES_AT)),
        _links(values.get(LINKS, {})),
        _is_old(values.get(OLD, False)),
    )


def order_of(fields: Fields) -> int:
    """The number that memories are walked by."""
    return int(leading_number(fields.get(record.CREATED_AT)) or 0)


def _whole(fields: dict[str, bytes]) -> dict[str, bytes]:
    if not record.is_memory(fields):
        raise InvalidInputError(f"a memory needs {record.CONTENT}")
    return fields


def _expiry(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= LATEST_MS:
        raise InvalidInputError(f"expires_at is {_shown(value)}, not milliseconds since the epoch up to {LATEST_MS}")
    return value


def _is_old(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"{OLD} is {_shown(value)}, not true or false")
    return value


def _links(links: object) -> tuple[LinkEnd, ...]:
    if not isinstance(links, dict):
        raise InvalidInputError(f"{LINKS} is {type(links).__name__}, not an object of ids with [weight, since]")
    ends = []
    for id, end in links.items():
        weight, since_ms = end if isinstance(end, list) and len(end) == 2 else (0, None)
        if type(weight) not in (int, float) or not 0 < weight <= _HEAVIEST or type(since_ms) is not int:
            raise InvalidInputError(f"the link to {id!r:.60} is {end!r:.60}, not [weight above 0, since in ms]")
        ends.append(LinkEnd(record.checked_id(id), float(weight), since_ms))
    return tuple(ends)


def _other(key: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    others = values.get(key, {})
    if not isinstance(others, dict):
        raise InvalidInputError(f"{key} is {type(others).__name__}, not an object of fields")
    return list(others.items())


def _add(fields: dict[str, bytes], field: str, value: bytes) -> None:
    if field in fields:
        raise InvalidInputError(f"the field {field!r:.60} is there twice")
    fields[field] = value


@dataclass(frozen=True, slots=True)
class _Readable:
    """How a field of the hash stands in a line.

    `form` is its readable value, None where that would not give back the stored bytes; `stored` the
    bytes of a readable value, or an InvalidInputError naming the key.
    """

    field: str
    name: str
    form: Callable[[bytes], Any]
    stored: Callable[[str, Any], bytes]


def _text(stored: bytes) -> str | None:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return None


def _text_bytes(key: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidInputError(f"{key} is {type(value).__name__}, not a text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{key} holds a lone surrogate, which is not valid Unicode text") from None


@dataclass(frozen=True, slots=True)
class _Number:
    """A number from `least` to `most`, and whether it has to be whole."""

    least: float
    most: float
    whole: bool = False

    def form(self, stored: bytes) -> int | float | None:
        try:
            number = json.loads(stored, parse_constant=_no_number)
            if self._why_not("", number) or json.dumps(number).encode() != stored:
                return None
        except (ValueError, RecursionError):
            return None
        return number  # type: ignore[no-any-return]

    def stored(self, key: str, value: object) -> bytes:
        reason = self._why_not(key, value)
        if reason:
            raise InvalidInputError(reason)
        return json.dumps(value).encode()

    def _why_not(self, key: str, value: object) -> str:
        if not isinstance(value, int | float) or isinstance(value, bool) or value in (math.inf, -math.inf):
            return f"{key} is {value!r:.40}, not a number"
        if self.whole and not isinstance(value, int):
            return f"{key} is {value!r:.40}, not a whole number"
        if not self.least <= value <= self.most:
            return f"{key} is {_shown(value)}, not {self.least:,} to {self.most:,}"
        return ""


def _shown(value: object) -> str:
    """A value for a message. Of a very long number Python would refuse to print the digits."""
    return "a far larger number" if isinstance(value, int) and abs(value) >= _SHOWN else f"{value!r:.40}"


def _tags(stored: bytes) -> list[str] | None:
    text = _text(stored)
    return None if text is None else text.split(TAG_SEPARATOR)


def _tags_bytes(key: str, value: object) -> bytes:
    if not isinstance(value, list):
        raise InvalidInputError(f"{key} is {type(value).__name__}, not a list of texts")
    tags = [_text_bytes("a tag", tag) for tag in value]
    for tag in tags:
        if TAG_SEPARATOR.encode() in tag:
            raise InvalidInputError(f"tag {tag.decode()!r:.60} contains a comma, which separates tags")
    return TAG_SEPARATOR.encode().join(tags)


def _names(stored: bytes) -> list[str] | None:
    text = _text(stored)
    names = None if not text else split_names(text)
    return names if names is not None and joined_names(names) == text else None


def _names_bytes(key: str, value: object) -> bytes:
    if not isinstance(value, list):
        raise InvalidInputError(f"{key} is {type(value).__name__}, not a list of names")
    return joined_names(_text_bytes("a name", name).decode() for name in value).encode()


def _object(stored: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(stored, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _compact(value) == stored else None


def _object_bytes(key: str, value: object) -> bytes:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{key} is {type(value).__name__}, not a JSON object")
    compact = _compact(value)
    if compact is None:
        raise InvalidInputError(f"{key} holds what JSON in UTF-8 cannot say")
    return compact


def _compact(value: dict[str, Any]) -> bytes | None:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:  # among them a lone surrogate
        return None


def _unpacked(key: str, value: object) -> bytes:
    try:
        return b64decode(_text_bytes(key, value), validate=True)
    except binascii.Error as error:
        raise InvalidInputError(f"{key} is no base64: {error}") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n"


_SHARE: Final = _Number(0, 1)
_TIME: Final = _Number(-MAX_TIME_MS, MAX_TIME_MS)
_COUNT: Final = _Number(0, 2**63 - 1, whole=True)
_AMOUNT: Final = _Number(0, 2**53)

_READABLE: Final = {
    field: _Readable(field, name, form, stored)
    for field, name, form, stored in (
        (record.CONTENT, "content", _text, _text_bytes),
        (record.IMPORTANCE, "importance", _SHARE.form, _SHARE.stored),
        (record.TAGS, "tags", _tags, _tags_bytes),
        (record.THREAD, "thread_id", _text, _text_bytes),
        (record.AGENT, "agent_id", _text, _text_bytes),
        (record.NAMESPACE, "namespace", _text, _text_bytes),
        (record.SOURCE, "source", _text, _text_bytes),
        (record.SUBJECT, "subject", _text, _text_bytes),
        (record.DATE, "date", _text, _text_bytes),
        (record.CREATED_AT, "created_at", _TIME.form, _TIME.stored),
        (record.LAST_ACCESSED_AT, "last_accessed_at", _TIME.form, _TIME.stored),
        (record.ACCESS_COUNT, "access_count", _COUNT.form, _COUNT.stored),
        (record.OCCURRED_AT, "occurred_at", _TIME.form, _TIME.stored),
        (record.METADATA, "metadata", _object, _object_bytes),
        (record.VERSION, "version", _COUNT.form, _COUNT.stored),
        (record.DERIVED, "derived", _text, _text_bytes),
        (record.SESSION, "session", _text, _text_bytes),
        (record.TURN, "turn", _COUNT.form, _COUNT.stored),
        (record.SPEAKER, "speaker", _text, _text_bytes),
        (record.KIND, "kind", _text, _text_bytes),
        (record.ENTITIES, "entities", _names, _names_bytes),
        (dynamics_fields.PINNED, "pinned", _SHARE.form, _SHARE.stored),
        (dynamics_fields.STABILITY, "stability", _AMOUNT.form, _AMOUNT.stored),
        (dynamics_fields.WORKING, "working", _AMOUNT.form, _AMOUNT.stored),
        (dynamics_fields.CORE, "core", _AMOUNT.form, _AMOUNT.stored),
        (dynamics_fields.STRENGTH_AT, "strength_at", _TIME.form, _TIME.stored),
        (dynamics_fields.RELIABILITY, "reliability", _SHARE.form, _SHARE.stored),
        (dynamics_fields.RECENT, "recent", _text, _text_bytes),
        (dynamics_fields.USES, "uses", _AMOUNT.form, _AMOUNT.stored),
        (dynamics_fields.SUCCESSES, "successes", _AMOUNT.form, _AMOUNT.stored),
        (dynamics_fields.SUPERSEDES, "supersedes", _names, _names_bytes),
        (dynamics_fields.VALID_FROM, "valid_from", _TIME.form, _TIME.stored),
        (dynamics_fields.VALID_UNTIL, "valid_until", _TIME.form, _TIME.stored),
        (dynamics_fields.SUPERSEDED_BY, "superseded_by", _text, _text_bytes),
        (dynamics_fields.CONTRADICTED_BY, "contradicted_by", _names, _names_bytes),
        (dynamics_fields.ARCHIVED_AT, "archived_at", _TIME.form, _TIME.stored),
    )
}
_BY_NAME: Final = {readable.name: readable for readable in _READABLE.values()}

READABLE_NAMES: Final = tuple(_BY_NAME)
"""The names under which fields stand in a line, in order."""
