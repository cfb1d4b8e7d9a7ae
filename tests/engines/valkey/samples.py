"""A collection as the wire contract has it, and records to put in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

from betterdb_agent_memory.engines.base import Collection, IndexSchema, RecordWrite, SchemaField

SCHEMA = IndexSchema(
    vector_field="vector",
    shared=(
        SchemaField("threadId", "tag"),
        SchemaField("agentId", "tag"),
        SchemaField("namespace", "tag"),
        SchemaField("tags", "tag", multiple=True),
        SchemaField("source", "tag"),
        SchemaField("importance", "number"),
        SchemaField("created_at", "number", sortable=True),
        SchemaField("last_accessed_at", "number"),
        SchemaField("access_count", "number"),
        SchemaField("content", "text"),
    ),
    own=(SchemaField("subject", "tag"),),
)

CREATED_AT_MS = 1_749_308_800_123


def collection(name: str) -> Collection:
    return Collection(f"{name}:mem:", f"{name}:mem:idx", SCHEMA)


def vector(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def record(
    id: str, *, ttl_seconds: int | None = None, expires_at_ms: int | None = None, at: int = 0, **fields: str | bytes
) -> RecordWrite:
    """A whole record, `at` milliseconds after the others."""
    return replace(record_of(id, fields, ttl_seconds=ttl_seconds, at=at), expires_at_ms=expires_at_ms)


def record_of(
    id: str, fields: Mapping[str, str | bytes], *, ttl_seconds: int | None = None, at: int = 0
) -> RecordWrite:
    encoded = {name: value if isinstance(value, bytes) else value.encode() for name, value in fields.items()}
    whole = {
        "content": f"text of {id}".encode(),
        "vector": vector(1, 0, 0, 0),
        "importance": b"0.5",
        "created_at": str(CREATED_AT_MS + at).encode(),
        "last_accessed_at": str(CREATED_AT_MS + at).encode(),
        "access_count": b"0",
    }
    return RecordWrite(id, whole | encoded, ttl_seconds)
