"""Event logs: numbered without gaps, and read by groups in which each part is in one hand at a time."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.event_log import BEGINNING, PARTITIONS, EventLog, LogPosition, Retention
from betterdb_agent_memory.errors import InvalidInputError
from tests.waiting import until

KEEPS = Retention(max_entries=100_000)


@pytest.fixture
def log(engine: Engine, conformance_name: str) -> EventLog:
    return engine.event_log(f"{conformance_name}:log")


def numbered(first: int, last: int) -> list[dict[str, bytes]]:
    return [{"n": b"%d" % n} for n in range(first, last + 1)]


async def numbers(log: EventLog, after: LogPosition = BEGINNING, count: int = 1000) -> list[int]:
    page = await log.read(after, count=count)
    assert page is not None
    return [int(entry.fields["n"]) for entry in page.entries]


async def test_what_is_appended_is_read_in_order_and_byte_for_byte(log: EventLog) -> None:
    opened = await log.open(KEEPS)
    assert opened.last.number == 0
    assert abs(opened.now_ms - opened.begun_ms) < 5000
    odd = {"a b": b"\x00\xff\r\n", "": b"", "ü": "é".encode()}
    positions = await log.append([odd, *numbered(2, 5)])
    assert [position.number for position in positions if position] == [1, 2, 3, 4, 5]
    assert positions == sorted(position for position in positions if position)
    page = await log.read(BEGINNING, count=2)
    assert page is not None
    assert page.missed == 0
    assert page.entries[0].fields == odd
    assert [entry.position for entry in page.entries] == positions[:2]
    assert page.last == positions[-1]
    assert await numbers(log, page.entries[-1].position) == [3, 4, 5]
    assert positions[-1] is not None
    end = await log.read(positions[-1], count=10)
    assert end is not None
    assert (end.entries, end.missed) == ((), 0)


async def test_a_log_that_was_not_opened_takes_nothing(log: EventLog) -> None:
    assert await log.state() is None
    assert await log.append(numbered(1, 2)) == [None, None]
    assert await log.read(BEGINNING, count=1) is None
    assert await log.before(0) is None
    assert await log.state() is None


async def test_the_first_opener_says_what_is_kept_and_dropping_leaves_nothing(engine: Engine, log: EventLog) -> None:
    first = await log.open(Retention(10, max_age_seconds=60))
    await log.append(numbered(1, 3))
    again = await log.open(KEEPS)
    assert again.retention == first.retention == Retention(10, max_age_seconds=60)
    assert (again.begun_ms, again.length) == (first.begun_ms, 3)
    await log.share("g", "a", hold_seconds=60, handled={})
    assert await log.drop()
    assert not await log.drop()
    assert await log.state() is None
    assert await log.groups() == []
    # Whoever thinks that it is there appends nothing.
    assert await log.append(numbered(4, 4)) == [None]
    assert await log.state() is None


async def test_trimmed_entries_are_told_to_who_had_not_read_them(log: EventLog) -> None:
    await log.open(Retention(200))
    positions = await log.append(numbered(1, 5))
    at = positions[2]
    assert at is not None
    await log.append(numbered(6, 1000))
    state = await log.state()
    assert state is not None
    assert 200 <= state.length < 400
    page = await log.read(at, count=1)
    assert page is not None
    first = page.entries[0].position.number
    assert first == 1000 - state.length + 1
    assert page.missed == first - 4
    nothing_missed = await log.read(LogPosition(page.entries[0].position.time_ms, first - 1), count=1)
    assert nothing_missed is not None
    assert nothing_missed.missed == 0
    # From the beginning means from what is there.
    beginning = await log.read(BEGINNING, count=1)
    assert beginning is not None
    assert beginning.missed == 0
    assert await log.before(at.time_ms) is None


async def test_a_log_that_was_begun_anew_says_so_to_its_former_readers(log: EventLog) -> None:
    await log.open(KEEPS)
    *_, last = await log.append(numbered(1, 20))
    assert last is not None
    await log.drop()
    await asyncio.sleep(0.003)
    await log.open(KEEPS)
    empty = await log.read(last, count=10)
    assert empty is not None
    assert (empty.entries, empty.missed) == ((), None)
    await log.append(numbered(1, 2))
    page = await log.read(last, count=10)
    assert page is not None
    assert page.missed is None
    assert [entry.fields["n"] for entry in page.entries] == [b"1", b"2"]


async def test_a_time_leads_to_the_place_behind_which_everything_of_it_is(log: EventLog) -> None:
    opened = await log.open(KEEPS)
    assert await log.before(opened.now_ms + 60_000) == BEGINNING
    [first] = await log.append(numbered(1, 1))
    await asyncio.sleep(0.003)
    [second] = await log.append(numbered(2, 2))
    assert first is not None
    assert second is not None
    assert await log.before(opened.now_ms - 60_000) == BEGINNING
    assert await log.before(first.time_ms) == BEGINNING
    assert await log.before(first.time_ms + 1) == first
    assert await log.before(second.time_ms) == first
    assert await log.before(second.time_ms + 1) == second


async def test_writers_beside_each_other_leave_no_gap(engine: Engine, log: EventLog) -> None:
    await log.open(KEEPS)
    results = await asyncio.gather(*(log.append(numbered(n * 10, n * 10 + 4)) for n in range(10)))
    page = await log.read(BEGINNING, count=1000)
    assert page is not None
    assert [entry.position.number for entry in page.entries] == list(range(1, 51))
    assert sorted(p for positions in results for p in positions if p) == [entry.position for entry in page.entries]


async def test_a_waiting_reader_is_woken_or_looks_again(engine: Engine, log: EventLog) -> None:
    opened = await log.open(KEEPS)
    woken: list[int] = []
    watch = log.watch(lambda: woken.append(1))
    assert log.look_again_seconds <= 1
    if watch is None:
        assert log.look_again_seconds <= 0.2
        return
    # A single connection has none to spare for listening: looking again is what is left.
    single = getattr(getattr(engine, "_client", None), "_turn", None) is not None
    if not single:
        await until(lambda: woken)
        woken.clear()
        await log.append(numbered(1, 1))
        await until(lambda: woken)
    await watch.close()
    assert opened.last.number == 0


async def test_consumers_of_a_group_hold_everything_between_them_and_nothing_twice(log: EventLog) -> None:
    await log.open(KEEPS)

    async def share(consumer: str) -> dict[int, LogPosition]:
        return await log.share("g", consumer, hold_seconds=60, handled={})

    assert set(await share("a")) == set(range(PARTITIONS))
    assert await share("b") == {}
    for _ in range(2):
        held = [await share(name) for name in ("a", "b", "c")]
    assert sorted(partition for some in held for partition in some) == list(range(PARTITIONS))
    assert sorted(map(len, held)) == [5, 5, 6]
    # Whoever has something in its hands keeps all of it.
    await share("d")
    assert await log.share("g", "a", hold_seconds=60, handled={}, may_move=False) == held[0]
    await log.leave("g", "b", {})
    for _ in range(2):
        held = [await share(name) for name in ("a", "c", "d")]
    assert sorted(partition for some in held for partition in some) == list(range(PARTITIONS))
    [group] = await log.groups()
    assert group.consumers == ("a", "c", "d")


async def test_what_a_dead_consumer_held_is_taken_over_where_it_had_stopped(log: EventLog) -> None:
    await log.open(KEEPS)
    one, two, three = (p for p in await log.append(numbered(1, 3)) if p)
    held = await log.share("g", "a", hold_seconds=0.3, handled={}, start=one)
    assert set(held.values()) == {one}
    kept = await log.share("g", "a", hold_seconds=0.3, handled={0: two, 1: three})
    assert (kept[0], kept[1], kept[2]) == (two, three, one)
    taken: dict[int, LogPosition] = {}
    async with asyncio.timeout(30):
        while len(taken) < PARTITIONS:
            taken = await log.share("g", "b", hold_seconds=60, handled={})
            await asyncio.sleep(0.02)
    assert (taken[0], taken[1], taken[2]) == (two, three, one)
    # The dead one comes back: what it has handled by its own account moves nothing that is another's.
    await log.share("g", "a", hold_seconds=60, handled={0: three}, may_move=False)
    [group] = await log.groups()
    assert group.positions[0] == two
    # And what was handled once is not handled anew because of a late word.
    assert (await log.share("g", "b", hold_seconds=60, handled={1: one}))[1] == three


async def test_groups_are_apart_and_forgotten_one_by_one(log: EventLog) -> None:
    await log.open(KEEPS)
    [one] = await log.append(numbered(1, 1))
    assert one is not None
    await log.share("g", "a", hold_seconds=60, handled={})
    await log.share("g", "a", hold_seconds=60, handled=dict.fromkeys(range(PARTITIONS), one))
    assert (await log.share("h", "a", hold_seconds=60, handled={}))[0] == BEGINNING
    assert [group.name for group in await log.groups()] == ["g", "h"]
    assert await log.drop_group("g")
    assert not await log.drop_group("g")
    assert [group.name for group in await log.groups()] == ["h"]
    await log.leave("g", "a", {0: one})
    assert [group.name for group in await log.groups()] == ["h"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 10**9])
async def test_a_share_that_is_held_for_no_time_is_refused(log: EventLog, seconds: float) -> None:
    with pytest.raises(InvalidInputError, match="held for"):
        await log.share("g", "a", hold_seconds=seconds, handled={})
