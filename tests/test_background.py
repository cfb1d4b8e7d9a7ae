"""Work that several tasks ask for at once, and the end of a task that writes."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory.background import LoopLock, Together, end_between_writes


class Work:
    """Counts its calls; each ends when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        await self.may_end.wait()
        return number


async def test_what_is_asked_at_once_is_done_for_all() -> None:
    together: Together[int] = Together()
    work = Work()
    asking = [asyncio.create_task(together.once("key", work)) for _ in range(20)]
    other = asyncio.create_task(together.once("other key", work))
    await asyncio.sleep(0)
    assert work.calls == 2
    work.may_end.set()
    # The first began alone; all who came while it was under way share what began after them.
    assert await asyncio.gather(*asking) == [1] + [3] * 19
    assert await other == 2
    assert await together.once("key", work) == 4


async def test_an_answer_never_began_before_it_was_asked_for() -> None:
    together: Together[int] = Together()
    written: list[int] = []

    async def look() -> int:
        seen = len(written)
        await asyncio.sleep(0.01)
        return seen

    first = asyncio.create_task(together.once("key", look))
    await asyncio.sleep(0.001)
    written.append(1)
    assert await asyncio.gather(*(together.once("key", look) for _ in range(5))) == [1] * 5
    assert await first == 0


async def test_one_who_stops_waiting_takes_nothing_from_the_others() -> None:
    together: Together[int] = Together()
    work = Work()
    first, second, third, fourth = (asyncio.create_task(together.once("key", work)) for _ in range(4))
    await asyncio.sleep(0)
    second.cancel()  # it was to do it for the two behind it
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.may_end.set()
    assert await third == 2
    assert await fourth in (2, 3)
    assert first.cancelled()
    assert second.cancelled()


async def test_a_failure_is_that_of_all_who_asked() -> None:
    together: Together[int] = Together()

    async def fail() -> int:
        await asyncio.sleep(0.001)
        raise ValueError("no answer")

    outcomes = await asyncio.gather(*(together.once("key", fail) for _ in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no answer"] * 3
    with pytest.raises(ValueError, match="no answer"):
        await together.once("key", fail)


async def test_a_task_that_writes_ends_behind_the_write_that_is_under_way() -> None:
    writing = LoopLock()
    written: list[str] = []

    async def write() -> None:
        for what in ("begun", "not begun"):
            async with writing:
                await asyncio.sleep(0.01)
                written.append(what)
            await asyncio.sleep(10)

    task = asyncio.create_task(write())
    await asyncio.sleep(0)
    await end_between_writes(task, writing)
    assert (written, task.cancelled()) == (["begun"], True)
    for ended in (task, None):
        await end_between_writes(ended, writing)
