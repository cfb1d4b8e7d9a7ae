"""Which changes a consumer of a group hands out, and what it has handled: partitions and positions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from betterdb_agent_memory.engines.event_log import BEGINNING, PARTITIONS, LogEntry, LogPosition
from betterdb_agent_memory.memory.changes.change import MEMORY


def partition_of(memory_id: bytes, partitions: int = PARTITIONS) -> int:
    """The partition with all changes of this memory: CRC-32 of its id in UTF-8, modulo their number."""
    return crc32(memory_id) % partitions


class Cursors:
    """How far a consumer has come in each of the partitions that it holds.

    The log is read from the least of its positions on; in what is read, entries of others' partitions and those that
    a partition had behind it are passed over.
    """

    def __init__(self) -> None:
        self._handled: dict[int, LogPosition] = {}
        self._told: dict[int, LogPosition] = {}

    @property
    def least(self) -> LogPosition | None:
        """Where to read on; None while nothing is held."""
        return min(self._handled.values(), default=None)

    @property
    def handled(self) -> dict[int, LogPosition]:
        """Of each partition how far it has come, where that is further than the group was told."""
        return {n: position for n, position in self._handled.items() if position > self._told[n]}

    @property
    def is_told(self) -> bool:
        """Whether the group knows all that was handled."""
        return self._handled == self._told

    def hold(self, shares: Mapping[int, LogPosition]) -> None:
        """What is held from now on, by the group's account: where it stands is taken from there for what is new."""
        self._handled = {n: max(position, self._handled.get(n, BEGINNING)) for n, position in shares.items()}
        self._told = dict(shares)

    def lose(self) -> None:
        """Nothing is held any more."""
        self._handled, self._told = {}, {}

    def wants(self, entry: LogEntry) -> bool:
        """Whether this consumer is to hand out an entry."""
        position = self._handled.get(_partition(entry))
        return position is not None and entry.position > position

    def handle(self, entry: LogEntry) -> None:
        """An entry has been handled, and with it all that its partition had before it."""
        partition = _partition(entry)
        if partition in self._handled:
            self._handled[partition] = max(self._handled[partition], entry.position)

    def pass_over(self, end: LogPosition) -> None:
        """Everything up to `end` has been read and handled, or is no concern of this consumer."""
        self._handled = {n: max(position, end) for n, position in self._handled.items()}


def mine(cursors: Cursors, entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Those of the entries that this consumer is to hand out, in order."""
    return [entry for entry in entries if cursors.wants(entry)]


def _partition(entry: LogEntry) -> int:
    return partition_of(entry.fields.get(MEMORY, b""))
