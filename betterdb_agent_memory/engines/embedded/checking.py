"""What is refused before anything of a batch is stored."""

from __future__ import annotations

from collections.abc import Sequence

from betterdb_agent_memory.engines.base import RecordChange, RecordWrite
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import InvalidInputError


def check_writes(tables: Tables, writes: Sequence[RecordWrite]) -> None:
    """Refuse writes that cannot be stored.

    Raises:
        InvalidInputError: a vector of another length than the collection's, a TTL below one second, or
            a change that `check_changes` refuses.
    """
    for write in writes:
        _check_vector(tables, write.id, write.fields)
        _check_ttl(write.id, write.ttl_seconds)
    check_changes(tables, [write.if_exists for write in writes if write.if_exists is not None])


def check_changes(tables: Tables, changes: Sequence[RecordChange]) -> None:
    """Refuse changes that cannot be made.

    Raises:
        InvalidInputError: a vector of another length than the collection's, a TTL below one second, or
            arithmetic with the vector or a tag.
    """
    texts = {tables.vector_field, *tables.whole_tags, *tables.multiple_tags}
    for change in changes:
        for name in (*change.maxima, *change.increments, *change.raises, *change.newest):
            if name in texts:
                raise InvalidInputError(f"the field {name!r} of {change.id!r} is not a number; it cannot be counted")
        if tables.vector_field in change.copies:
            raise InvalidInputError(f"no field of {change.id!r} is copied to its vector {tables.vector_field!r}")
        if tables.vector_field in change.unions:
            raise InvalidInputError(
                f"the vector {tables.vector_field!r} of {change.id!r} cannot be united with another"
            )
        _check_vector(tables, change.id, change.sets)
        if change.expiry is not None:
            _check_ttl(change.id, change.expiry.ttl_seconds)


def _check_vector(tables: Tables, id: str, fields: Fields) -> None:
    vector = fields.get(tables.vector_field)
    if vector is not None and len(vector) != tables.vector_bytes:
        raise InvalidInputError(
            f"the vector of {id!r} has {len(vector)} bytes, but this collection has "
            f"{tables.dimensions} dimensions: {tables.vector_bytes} bytes of float32"
        )


def _check_ttl(id: str, ttl_seconds: int | None) -> None:
    if ttl_seconds is not None and ttl_seconds <= 0:
        raise InvalidInputError(
            f"ttl_seconds of {id!r} is {ttl_seconds}; give a positive number, or None for no expiry"
        )
