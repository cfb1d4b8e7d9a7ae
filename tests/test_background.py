"""Work that several tasks ask for at once."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory.background import Together


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


async def test_what_is_asked_at_once_is_done_once_and_anew_later() -> None:
    together: Together[int] = Together()
    work = Work()
    asking = [asyncio.create_task(together.once("key", work)) for _ in range(20)]
    other = asyncio.create_task(together.once("other key", work))
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*asking) == [1] * 20
    assert await other == 2
    assert await together.once("key", work) == 3


async def test_one_who_stops_waiting_takes_nothing_from_the_others() -> None:
    together: Together[int] = Together()
    work = Work()
    first, second, third = (asyncio.create_task(together.once("key", work)) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    first.cancel()  # it did the work
    await asyncio.sleep(0)
    work.may_end.set()
    assert await third == 2
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
