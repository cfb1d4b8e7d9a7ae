"""Fields of dynamics that are damaged, or that another client filled with what they cannot be, harm no other memory."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite

import pytest

from betterdb_agent_memory import Dynamics, MemoryStore, Replay, Standing
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.options import SCORINGS
from tests.conformance.conftest import FILE, URL, TestClock

pytestmark = pytest.mark.parametrize("configuration", [FILE, URL], indirect=True)

DAMAGED = {
    "working": (b"-1e308", b"1e308", b"x"),
    "core": (b"-5", b"1e308"),
    "strength_at": (b"-1e308", b"99999999999999999999"),
    "stability": (b"-5", b"1e308", b"1e-320"),
    "uses": (b"-5", b"1e308"),
    "successes": (b"-5", b"1e308"),
    "reliability": (b"nan", b"1e308", b"\xff"),
    "recent": (b"1,x", b"99999999999999999999"),
    "access_count": (b"-1", b"1e308"),
    "supersedes": (b"bad", b"\xff,good"),
    "contradicted_by": (b"bad,bad", b"\xff"),
    "kind": (b"whim", b"\xff"),
    "pinned": (b"", b"nan"),
}


def is_finite(standing: Standing) -> bool:
    return all(isfinite(value) for value in asdict(standing).values() if isinstance(value, float))


@pytest.mark.parametrize("field", DAMAGED)
@pytest.mark.filterwarnings("error")
async def test_a_damaged_field_harms_nobody(store: MemoryStore, engine: Engine, clock: TestClock, field: str) -> None:
    dynamics = Dynamics(store)
    records = engine.records(record.memory_collection(store.name))
    for place, damage in enumerate(DAMAGED[field]):
        good, bad = f"good{place}", f"bad{place}"
        await store.remember_many([{"content": "the river", "id": id} for id in (good, bad)], thread_id=f"{place}")
        await dynamics.outcome([good, bad], 1.0)
        clock.advance(seconds=60)
        [before] = await dynamics.standing([good])
        await records.change_many([RecordChange(bad, sets={field: damage})])
        for scoring in SCORINGS:
            hits = await store.recall("river", thread_id=f"{place}", scoring=scoring, reinforce=False)
            assert {hit.item.id for hit in hits} == {good, bad}, (damage, scoring)
            assert all(isfinite(hit.score) for hit in hits)
        for of in ([good, bad], hits):
            assert all(map(is_finite, await dynamics.standing(of))), damage
        assert isfinite((await dynamics.stats()).all.mean_strength)
        done = await dynamics.maintain(forget_below=0, replay=Replay(importance=1.0))
        assert (done.downscaled, done.forgotten) == (1, 0), damage
        assert await dynamics.standing([good]) == [before], damage
        assert len((await dynamics.outcome([good, bad], 0.5)).lessons) == 2
        assert await store.contradict(bad, good) in (True, False)
        assert all(map(is_finite, await dynamics.standing([good, bad])))
        await store.history(bad)
        assert await store.forget(bad)
