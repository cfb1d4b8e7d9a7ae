"""What each part of a memory takes on a server, by storing memories with it and without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import valkey

from benchmarks.scale.sizing import DEFAULT_LINKS, Parts
from benchmarks.synthetic import CHUNK, Corpus, load, stored
from betterdb_agent_memory.engines.base import Collection, IndexSchema, RecordWrite, SchemaField
from betterdb_agent_memory.engines.valkey.commands import create_index
from betterdb_agent_memory.memory import record
from tests.servers import ValkeyServer

MEMORIES = 10_240
"""Ten blocks of a vector index, which takes them whole."""

NAME = "layout"
DIMENSIONS = (256, 384, 768, 1536)
CONTENT_BYTES = (50, 400, 2000)
LINKS = (8, 32, 64)
_VECTOR_CLAUSE = 10
"""Arguments of FT.CREATE about the vector: its name, VECTOR HNSW 6, and three pairs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Memories with or without a vector, below an index of these `kinds` of fields.

    `indexed` None is no index; an empty one, an index of a field that no memory has. `links` is HNSW's M.
    """

    dimensions: int = 256
    content_bytes: int | None = None
    has_vector: bool = True
    indexed: tuple[str, ...] | None = None
    links: int | None = None
    memories: int = MEMORIES

    @property
    def name(self) -> str:
        """What tells it from all others."""
        content = "as made" if self.content_bytes is None else str(self.content_bytes)
        index = "none" if self.indexed is None else "+".join(self.indexed) or "empty"
        vector = f"vector {self.dimensions}" if self.has_vector else "no vector"
        links = f", M {self.links}" if self.links else ""
        return f"{self.memories} memories, {vector}, content {content}, index {index}{links}"


def layouts() -> Iterator[Layout]:
    """All that is needed to tell the parts from each other."""
    yield Layout(has_vector=False)
    for indexed in ((), ("tag",), ("number",), ("text",)):
        yield Layout(indexed=indexed)
    # Most words of a small store are new ones: only a larger one tells what a word takes from what a memory does.
    yield Layout(memories=4 * MEMORIES, indexed=())
    yield Layout(memories=4 * MEMORIES, indexed=("text",))
    for size in CONTENT_BYTES:
        yield Layout(content_bytes=size, indexed=())
        yield Layout(content_bytes=size, indexed=("text",))
    for dimensions in DIMENSIONS:
        yield Layout(dimensions)
        yield Layout(dimensions, indexed=("vector",))
    for links in LINKS:
        yield Layout(indexed=("vector",), links=links)
    yield Layout(indexed=("vector", "tag", "number", "text"))


def measure(layout: Layout, now_ms: int) -> dict[str, float]:
    """Bytes of `used_memory` a memory on a server that has nothing else, the mean size of contents, distinct terms."""
    terms = 0.0
    with ValkeyServer() as server, server.blocking_client() as client:
        if layout.indexed is not None:
            client.execute_command(*_create(layout))
            stored(client, NAME)
        # What a server takes once, whatever is stored, as it does for its first hash and its first client.
        load(client, "warm", iter([next(_writes(replace(layout, indexed=None), 1, now_ms))]))
        before = used_bytes(client)
        load(client, NAME, _writes(layout, layout.memories, now_ms))
        if layout.indexed is not None:
            if stored(client, NAME) != layout.memories:
                raise RuntimeError(f"not all memories were indexed: {layout.name}")
            answer: Any = client.execute_command("FT.INFO", f"{NAME}:mem:idx")
            terms = float(answer[answer.index(b"num_terms") + 1])
        used = used_bytes(client) - before
    contents = [len(write.fields[record.CONTENT]) for writes in _writes(layout, CHUNK, now_ms) for write in writes]
    return {"bytes": used / layout.memories, "content_bytes": sum(contents) / len(contents), "terms": terms}


def parts(cells: Mapping[str, Mapping[str, float]]) -> Parts:
    """What each part takes, by the figures of `layouts` by name: differences, and least squares where one grows."""

    def of(layout: Layout) -> Mapping[str, float]:
        return cells[layout.name]

    bare, empty = of(Layout())["bytes"], of(Layout(indexed=()))["bytes"]
    content = of(Layout())["content_bytes"]
    beside = [of(Layout(d))["bytes"] - bare - 4 * (d - 256) for d in DIMENSIONS]
    held = bare - of(Layout(has_vector=False))["bytes"] - 4 * 256 + sum(beside) / len(beside)
    document = empty - bare
    graphs = [
        of(Layout(d, indexed=("vector",)))["bytes"] - of(Layout(d))["bytes"] - document - 4 * d - 8 * DEFAULT_LINKS
        for d in DIMENSIONS
    ]
    texts = [Layout(memories=n) for n in (MEMORIES, 4 * MEMORIES)] + [Layout(content_bytes=c) for c in CONTENT_BYTES]
    found = []
    for layout in texts:
        with_words, without = of(replace(layout, indexed=("text",))), of(replace(layout, indexed=()))
        share = with_words["terms"] / layout.memories
        found.append((1.0, with_words["content_bytes"], share, with_words["bytes"] - without["bytes"]))
    table = np.array(found)
    words, words_of_a_byte, term = np.linalg.lstsq(table[:, :3], table[:, 3], rcond=None)[0]
    return Parts(
        record=bare - content - 4 * 256 - held,
        vector=held,
        document=document,
        graph=sum(graphs) / len(graphs),
        tags=of(Layout(indexed=("tag",)))["bytes"] - empty,
        numbers=of(Layout(indexed=("number",)))["bytes"] - empty,
        words=float(words),
        words_of_a_byte=float(words_of_a_byte),
        term=float(term),
    )


def used_bytes(client: valkey.Valkey) -> int:
    """Bytes in use, but for the buffers of clients, which have just sent much and give it back later."""
    found: Any = client.info("memory")
    return int(found["used_memory"]) - int(found["mem_clients_normal"])


def _create(layout: Layout) -> list[Any]:
    collection = record.memory_collection(NAME)
    kinds = layout.indexed or ()
    shared = tuple(field for field in collection.schema.shared if field.kind in kinds)
    own = tuple(field for field in collection.schema.own if field.kind in kinds)
    if kinds == ():
        shared = (SchemaField("absent", "tag"),)
    schema = IndexSchema(collection.schema.vector_field, shared, own)
    arguments = list(create_index(Collection(collection.key_prefix, collection.index_name, schema), layout.dimensions))
    clause = arguments.index("SCHEMA") + 1
    if "vector" not in kinds:
        del arguments[clause : clause + _VECTOR_CLAUSE]
    elif layout.links is not None:
        arguments[clause + 3] = "8"
        arguments[clause + _VECTOR_CLAUSE : clause + _VECTOR_CLAUSE] = ["M", str(layout.links)]
    return arguments


def _writes(layout: Layout, count: int, now_ms: int) -> Iterator[list[RecordWrite]]:
    for writes in Corpus(layout.dimensions, now_ms).writes(count):
        yield [RecordWrite(write.id, _fields(layout, writes, place)) for place, write in enumerate(writes)]


def _fields(layout: Layout, writes: list[RecordWrite], place: int) -> dict[str, bytes]:
    fields = dict(writes[place].fields)
    if not layout.has_vector:
        del fields[record.VECTOR]
    if (size := layout.content_bytes) is not None:
        content, behind = fields[record.CONTENT], place
        while len(content) < size:
            behind += 1
            content += b" " + writes[behind % len(writes)].fields[record.CONTENT]
        fields[record.CONTENT] = content[:size]
    return fields
