"""What a `RecordChange` makes of a record. Pure: no file, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from betterdb_agent_memory.engines.base import Expected, Expiry, RecordChange
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields, leading_number

LATEST_MS = 2**63 - 1

_INTEGER = re.compile(rb"\s*([+-]?\d+)")
_WHOLE = re.compile(rb"[+-]?\d+")


@dataclass(slots=True)
class Record:
    """A record while it is being changed.

    `touched` are the fields that are other than before; `differs` says that a set, a removal, a raise
    or a union is among the reasons.
    """

    fields: dict[str, bytes]
    expires_at_ms: int | None
    touched: set[str] = field(default_factory=set)
    differs: bool = False

    def put(self, name: str, value: bytes) -> bool:
        """Set a field; whether that made a difference."""
        if self.fields.get(name) == value:
            return False
        self.fields[name] = value
        self.touched.add(name)
        return True

    def take(self, name: str) -> bool:
        """Take a field away; whether it was there."""
        if self.fields.pop(name, None) is None:
            return False
        self.touched.add(name)
        return True


def holds(fields: Fields, expected: Expected) -> bool:
    """Whether a record has exactly the `expected` values."""
    for name, value in expected.items():  # noqa: SIM110 - mostly there are none: no generator
        if fields.get(name) != value:
            return False
    return True


def apply(change: RecordChange, record: Record, now_ms: int) -> bool:
    """Change `record` by `change`; false, and nothing done, when it holds other values than expected, or nothing that
    could be copied.
    """
    copied = {name: record.fields.get(source) for name, source in change.copies.items()} if change.copies else {}
    if not holds(record.fields, change.expected) or None in copied.values():
        return False
    if change.sets or change.removes:
        _set_and_take(change, record)
    for name, least in change.maxima.items():
        if least > leading_integer(record.fields.get(name)):
            record.put(name, b"%d" % least)
    for name, amount in change.increments.items():
        record.put(name, b"%d" % (leading_integer(record.fields.get(name)) + amount))
    if change.raises or change.unions:
        _raise_and_unite(change, record)
    if copied or change.newest:
        _copy_and_keep(change, copied, record)
    former_ms = record.expires_at_ms
    if change.expiry is not None:
        record.expires_at_ms = _expiry(change.expiry, former_ms, now_ms)
    if change.revision_field is not None and (record.differs or record.expires_at_ms != former_ms):
        revision = leading_integer(record.fields.get(change.revision_field), default=1) + 1
        record.put(change.revision_field, b"%d" % revision)
    return True


def _set_and_take(change: RecordChange, record: Record) -> None:
    for name, value in change.sets.items():
        record.differs |= record.put(name, value)
    for name in change.removes:
        record.differs |= record.take(name)


def _raise_and_unite(change: RecordChange, record: Record) -> None:
    for name, value in change.raises.items():
        record.differs |= _raise(record, name, value)
    for name, values in change.unions.items():
        record.differs |= _unite(record, name, values)


def _copy_and_keep(change: RecordChange, copied: Mapping[str, bytes | None], record: Record) -> None:
    for name, value in copied.items():
        record.differs |= record.put(name, value or b"")
    for name, (numbers, most) in change.newest.items():
        record.put(name, _newest(record.fields.get(name), numbers, most))


def _newest(stored: bytes | None, numbers: tuple[int, ...], most: int) -> bytes:
    texts = stored.split(TAG_SEPARATOR.encode()) if stored else []
    there = [int(text) for text in texts if _WHOLE.fullmatch(text)]
    return b",".join(b"%d" % number for number in sorted([*there, *numbers])[-most:])


def leading_integer(stored: bytes | None, *, default: int = 0) -> int:
    """The integer that `stored` begins with; `default` where it begins with none."""
    match = _INTEGER.match(stored or b"")
    return int(match[1]) if match else default


def expiry_ms(ttl_seconds: int | None, now_ms: int) -> int | None:
    """When something stored now expires."""
    return None if ttl_seconds is None else min(now_ms + ttl_seconds * 1000, LATEST_MS)


def _raise(record: Record, name: str, value: bytes) -> bool:
    wanted, stored = leading_number(value), leading_number(record.fields.get(name))
    if wanted is None or (stored is not None and stored >= wanted):
        return False
    return record.put(name, value)


def _unite(record: Record, name: str, values: bytes) -> bool:
    separator = TAG_SEPARATOR.encode()
    stored = record.fields.get(name)
    united = dict.fromkeys(stored.split(separator) if stored else ())
    before = len(united)
    united.update(dict.fromkeys(value for value in values.split(separator) if value))
    if len(united) == before:
        return False
    added = list(united)[before:]
    return record.put(name, separator.join(([stored] if stored else []) + added))


def _expiry(expiry: Expiry, present_ms: int | None, now_ms: int) -> int | None:
    wanted_ms = expiry_ms(expiry.ttl_seconds, now_ms)
    if not expiry.only_later:
        return wanted_ms
    return None if wanted_ms is None or present_ms is None else max(wanted_ms, present_ms)
