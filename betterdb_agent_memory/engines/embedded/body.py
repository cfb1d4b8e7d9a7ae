"""The fields of a record as one byte string: byte-exact, in their order, with any name and value.

Each field is the length of its name, the name in UTF-8, the length of its value and the value;
lengths are four bytes, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from betterdb_agent_memory.engines.filters import Fields

_LENGTH = struct.Struct("<I")
_length, _stored_length = _LENGTH.pack, _LENGTH.unpack_from


def pack(fields: Fields, *, without: str | None = None) -> bytes:
    """`fields`, but for one of them, as one byte string."""
    parts = [
        part for name, value in fields.items() if name != without for part in (_named(name), _length(len(value)), value)
    ]
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _named(name: str) -> bytes:
    encoded = name.encode()
    return _length(len(encoded)) + encoded


def unpack(body: bytes) -> dict[str, bytes]:
    """The fields that `pack` took."""
    return {name.decode(): value for name, value in _parts(body)}


def read_field(body: bytes, name: str) -> bytes | None:
    """One field; None when the record lacks it."""
    wanted = name.encode()
    return next((value for stored, value in _parts(body) if stored == wanted), None)


def _parts(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, end = 0, len(body)
    while position < end:
        name = position + _LENGTH.size
        value_length = name + _stored_length(body, position)[0]
        value = value_length + _LENGTH.size
        position = value + _stored_length(body, value_length)[0]
        yield body[name:value_length], body[value:position]
