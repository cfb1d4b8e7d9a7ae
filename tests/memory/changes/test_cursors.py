"""Consumers of a group, whatever happens to what they hold: nothing is left out, and each memory's order is kept."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.event_log import BEGINNING, LogEntry, LogPosition, fair_share
from betterdb_agent_memory.memory.changes.change import MEMORY
from betterdb_agent_memory.memory.changes.cursors import Cursors, partition_of

PARTITIONS = 16
MEMORIES = [f"m{n}" for n in range(12)]


@dataclass
class Group:
    """What an engine keeps of a group, at once and in one place."""

    positions: dict[int, LogPosition] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), BEGINNING))
    owners: dict[int, str] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)

    def share(self, consumer: str, handled: dict[int, LogPosition], *, may_move: bool) -> dict[int, LogPosition]:
        for n, position in handled.items():
            if self.owners.get(n) == consumer:
                self.positions[n] = max(self.positions[n], position)
        self.alive.add(consumer)
        held = [n for n in range(PARTITIONS) if self.owners.get(n) == consumer]
        free = [n for n in range(PARTITIONS) if self.owners.get(n) not in self.alive]
        if may_move:
            target = fair_share(consumer, sorted(self.alive), PARTITIONS)
            for n in held[target:]:
                del self.owners[n]
            for n in free[: max(0, target - len(held))]:
                self.owners[n] = consumer
        return {n: self.positions[n] for n in range(PARTITIONS) if self.owners.get(n) == consumer}


@dataclass
class Consumer:
    """One that reads pages of a few entries, and can be interrupted after each."""

    name: str
    cursors: Cursors = field(default_factory=Cursors)
    page: list[LogEntry] = field(default_factory=list)

    def share(self, group: Group, *, may_move: bool) -> None:
        self.cursors.hold(group.share(self.name, self.cursors.handled, may_move=may_move))

    def step(self, log: list[LogEntry], size: int) -> LogEntry | None:
        """Hand out the next entry that is ours, or go to the next page."""
        while self.page:
            entry = self.page.pop(0)
            if self.cursors.wants(entry):
                self.cursors.reach(entry.position)
                return entry
            if not self.page:
                self.cursors.reach(entry.position)
        after = self.cursors.begin_page()
        if after is not None:
            self.page = [entry for entry in log if entry.position > after][:size]
        return None


@settings(max_examples=150, deadline=None)
@given(
    memories=st.lists(st.sampled_from(MEMORIES), min_size=20, max_size=60),
    acts=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["step", "step", "share", "beat", "die"])),
        min_size=40,
        max_size=150,
    ),
    size=st.integers(1, 9),
)
def test_nothing_is_left_out_and_order_is_kept(memories: list[str], acts: list[tuple[int, str]], size: int) -> None:
    log = [
        LogEntry(LogPosition(1_000 + number // 3, number), {MEMORY: memory.encode()})
        for number, memory in enumerate(memories, start=1)
    ]
    told: dict[str, list[int]] = defaultdict(list)
    for number, memory in enumerate(memories, start=1):
        told[memory].append(number)
    group, seen = Group(), defaultdict[str, list[int]](list)
    born = 0

    def new() -> Consumer:
        nonlocal born
        born += 1
        return Consumer(f"c{born}")

    def see(entry: LogEntry | None) -> None:
        if entry is not None:
            memory, number = entry.fields[MEMORY].decode(), entry.position.number
            if number not in seen[memory]:
                assert number == told[memory][len(seen[memory])], f"{memory}: {number} came after {seen[memory]}"
                seen[memory].append(number)

    consumers = [new() for _ in range(3)]
    for which, act in acts:
        consumer = consumers[which]
        if act == "step":
            see(consumer.step(log, size))
        elif act == "die":
            group.alive.discard(consumer.name)
            consumers[which] = new()
        else:
            consumer.share(group, may_move=act == "share")
    # All others die, and the last one ends the work.
    last = consumers[0]
    group.alive = {last.name}
    for _ in range(4 * len(log) + 10):
        last.share(group, may_move=True)
        see(last.step(log, size))
    assert {memory: numbers for memory, numbers in seen.items() if numbers} == dict(told)


def test_partitions_are_those_that_the_page_says() -> None:
    assert [partition_of(id.encode()) for id in ("m0", "m1", "ü")] == [9, 15, 5]
