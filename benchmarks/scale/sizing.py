"""From what one memory takes to servers for a billion: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

DEFAULT_LINKS = 16
"""HNSW's M where FT.CREATE does not say it, as ours does not."""

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes of a memory on a server beside those that follow from its size.

    `record` is the hash and its key, `vector` what a vector takes beyond 4 bytes a dimension, `document` the index's
    entry, `graph` what the graph takes beyond vectors and 8 bytes a link, `words` and `words_of_a_byte` the index of
    words of a memory and of a byte of its content, `term` a word that no memory had before.
    """

    record: float
    vector: float
    document: float
    graph: float
    tags: float
    numbers: float
    words: float
    words_of_a_byte: float
    term: float

    def of_memory(
        self, dimensions: int, content_bytes: float, *, links: int = DEFAULT_LINKS, terms_a_memory: float = 0.0
    ) -> dict[str, float]:
        """Bytes by what they are for; their sum is what one more memory takes.

        `terms_a_memory` are the distinct words of a store through its memories.
        """
        return {
            "hash: key, names, small fields": self.record,
            "hash: content": content_bytes,
            "hash: vector": 4 * dimensions + self.vector,
            "index: entry of the memory": self.document,
            "index: vector": 4 * dimensions,
            "index: graph": self.graph + 8 * links,
            "index: tags": self.tags,
            "index: numbers": self.numbers,
            "index: words": self.words + self.words_of_a_byte * content_bytes,
            "index: words met first": self.term * terms_a_memory,
        }

    def bytes_of(
        self, dimensions: int, content_bytes: float, *, links: int = DEFAULT_LINKS, terms_a_memory: float = 0.0
    ) -> float:
        """The sum of `of_memory`."""
        return sum(self.of_memory(dimensions, content_bytes, links=links, terms_a_memory=terms_a_memory).values())

    def rounded(self) -> Parts:
        """The same as whole numbers, or hundredths where they are factors."""
        digits = {"words_of_a_byte": 2}
        return Parts(**{one.name: round(getattr(self, one.name), digits.get(one.name)) for one in fields(self)})


def middle(first: float, last: float) -> float:
    """How many memories an index has when its logarithm is the mean of those from `first` to `last`."""
    area = last * (math.log(last) - 1) - (first * (math.log(first) - 1) if first else 0.0)
    return math.exp(area / (last - first))


@dataclass(frozen=True, slots=True)
class Growing:
    """Milliseconds of something that grows with the logarithm of the memories in one index, as a graph's walks do."""

    at_one: float
    per_e: float

    @staticmethod
    def through(points: Sequence[tuple[float, float]]) -> Growing:
        """The least squares through (memories, ms); one point alone stays level."""
        logs = [math.log(memories) for memories, _ in points]
        mean_log, mean = sum(logs) / len(logs), sum(ms for _, ms in points) / len(points)
        spread = sum((log - mean_log) ** 2 for log in logs)
        slope = sum((log - mean_log) * (ms - mean) for log, (_, ms) in zip(logs, points, strict=True))
        per_e = slope / spread if spread else 0.0
        return Growing(mean - per_e * mean_log, per_e)

    def at(self, memories: float) -> float:
        """Milliseconds with so many in the index."""
        return self.at_one + self.per_e * math.log(memories)

    def total(self, memories: float) -> float:
        """Milliseconds of all from the first to the last of so many: the integral of `at`."""
        return memories * (self.at(memories) - self.per_e)


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary: its memory in bytes, the part that data may fill, cores that work at it (one, for RediSearch).

    The rest is for copies of pages while a fork saves, for replication, and for fragmentation.
    """

    memory_bytes: float
    usable: float = 0.6

    def holds(self, bytes_of_memory: float) -> int:
        """Memories of this size."""
        return int(self.memory_bytes * self.usable // bytes_of_memory)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Primaries for so many memories in stores of `store_memories` each, times of one server's core.

    `writes_a_second` is what all shards together do when they do nothing else.
    """

    memories: int
    store_memories: int
    stores: int
    shards: int
    bytes: float
    build_seconds: float
    writes_a_second: float


def fleet(
    memories: int,
    bytes_of_memory: float,
    shard: Shard,
    write: Growing,
    *,
    store_memories: int | None = None,
) -> Fleet:
    """How many shards, and what they do; `store_memories` None is one store a shard, filling it.

    Stores are whole and lie on one shard each, so a shard may have room left that no store fits in. All shards are
    built at the same time, each by one thread.

    Raises:
        ValueError: a store does not fit a shard.
    """
    room = shard.holds(bytes_of_memory)
    if store_memories is None:
        shards = math.ceil(memories / room)
        store_memories = math.ceil(memories / shards)
    if store_memories > room:
        raise ValueError(f"a store of {store_memories:,} memories does not fit a shard, which holds {room:,}")
    stores = math.ceil(memories / store_memories)
    stores_of_a_shard = room // store_memories
    shards = math.ceil(stores / stores_of_a_shard)
    busiest = math.ceil(stores / shards)
    return Fleet(
        memories,
        store_memories,
        stores,
        shards,
        memories * bytes_of_memory,
        busiest * write.total(store_memories) / 1000,
        shards * 1000 / write.at(store_memories),
    )
