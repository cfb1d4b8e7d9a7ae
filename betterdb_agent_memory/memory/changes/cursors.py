"""Which changes a consumer of a group hands out, and what it has handled: partitions and positions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from betterdb_agent_memory.engines.event_log import BEGINNING, PARTITIONS, LogEntry, LogPosition
from betterdb_agent_memory.memory.changes.change import MEMORY


def partition_of(memory_id: bytes, partitions: int = PARTITIONS) -> int:
    """The partition with all changes of this memory: CRC-32 of its id in UTF-8, modulo their number."""
    return crc32(memory_id) % partitions


class Cursors:
    """How far a consumer has come in each of the partitions that it holds.

    The log is read in pages, from the least of its positions on; in what is read, entries of others' partitions and
    those that a partition had behind it are passed over. A partition that comes while a page is handed out has to
    wait for the next one: what it had before in this one was not for us.
    """

    def __init__(self) -> None:
        self._handled: dict[int, LogPosition] = {}
        self._told: dict[int, LogPosition] = {}
        self._in_page: set[int] = set()

    def begin_page(self) -> LogPosition | None:
        """The position behind which the next page is to be read; None while nothing is held."""
        self._in_page = set(self._handled)
        return min(self._handled.values(), default=None)

    def reach(self, position: LogPosition) -> None:
        """Everything in the page up to `position` has been handled, or is not for us: entries come in order."""
        for n in self._in_page:
            self._handled[n] = max(self._handled[n], position)

    @property
    def handled(self) -> dict[int, LogPosition]:
        """Of each partition how far it has come, where that is further than the group was told."""
        return {n: position for n, position in self._handled.items() if position > self._told[n]}

    def hold(self, shares: Mapping[int, LogPosition]) -> None:
        """What is held from now on, by the group's account: where it stands is taken from there for what is new."""
        self._handled = {n: max(position, self._handled.get(n, BEGINNING)) for n, position in shares.items()}
        self._told = dict(shares)
        self._in_page &= shares.keys()

    def wants(self, entry: LogEntry) -> bool:
        """Whether this consumer is to hand out an entry."""
        partition = _partition(entry)
        return partition in self._in_page and entry.position > self._handled[partition]


def _partition(entry: LogEntry) -> int:
    return partition_of(entry.fields.get(MEMORY, b""))
