"""Whatever two workers do: answers were true at some moment within the bound, and know of their worker's own writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.embedding import AHEAD, at_angle, embed
from tests.near import Stopwatch, contents, near
from tests.servers import ValkeyServer

BOUND_SECONDS = 2.0
THREADS = ("t", "u", None)
WORKERS = st.integers(0, 1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("remember"), WORKERS, st.sampled_from(("t", "u"))),
        st.tuples(st.just("forget"), WORKERS, st.integers(0, 5)),
        st.tuples(st.just("update"), WORKERS, st.integers(0, 5)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 1.0, 1.9, 2.0])),
        *[st.tuples(st.just("recall"), WORKERS, st.sampled_from(THREADS))] * 3,
    ),
    min_size=5,
    max_size=25,
)


@dataclass
class Truth:
    """Text and thread of each memory by id, from when on: the versions of the truth, newest last.

    `last_writers` are the workers that touched a memory last, `ids` whose text is or was which.
    """

    versions: list[tuple[float, dict[str, tuple[str, str]]]] = field(default_factory=lambda: [(0.0, {})])
    last_writers: dict[str, int] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def now(self) -> dict[str, tuple[str, str]]:
        return self.versions[-1][1]

    def becomes(self, id: str, said: tuple[str, str] | None, worker: int, seconds: float) -> None:
        others = {other: what for other, what in self.now.items() if other != id}
        self.versions.append((seconds, others if said is None else others | {id: said}))
        self.last_writers[id] = worker
        if said is not None:
            self.ids[said[0]] = id

    def allows(self, answer: set[str], worker: int, thread: str | None, seconds: float) -> bool:
        """Whether it was the truth at any moment less than the bound ago, and tells what the worker itself has made of
        each memory that nobody touched since.
        """
        latest = len(self.versions) - 1
        ends = [since for since, _ in self.versions[1:]]
        within = [n for n in range(latest) if seconds - ends[n] < BOUND_SECONDS] + [latest]
        present = told(self.now, thread)
        own = {text for text, id in self.ids.items() if self.last_writers[id] == worker}
        return any(answer == told(self.versions[n][1], thread) for n in within) and answer & own == present & own


def told(memories: dict[str, tuple[str, str]], thread: str | None) -> set[str]:
    return {text for text, where in memories.values() if thread in (None, where)}


async def check(engine: Engine, steps: list[tuple[object, ...]]) -> None:
    stopwatch = Stopwatch()
    name = f"t{uuid4().hex}"
    workers = [
        MemoryStore(
            client=engine,
            name=name,
            embed_fn=embed,
            default_threshold=2.0,
            reinforcement="deferred",
            near_cache=near(stopwatch, max_age_seconds=BOUND_SECONDS, max_entries=2),
        )
        for _ in range(2)
    ]
    truth, written = Truth(), 0
    for step in steps:
        ids = [*truth.now]
        match step:
            case ("remember", int() as worker, str() as thread):
                written += 1
                text = at_angle(0.9, f"{written}")
                id = await workers[worker].remember(text, thread_id=thread)
                truth.becomes(id, (text, thread), worker, stopwatch.seconds)
            case ("forget", int() as worker, int() as place) if place < len(ids):
                await workers[worker].forget(ids[place])
                truth.becomes(ids[place], None, worker, stopwatch.seconds)
            case ("update", int() as worker, int() as place) if place < len(ids):
                written += 1
                text = at_angle(0.8, f"{written}")
                await workers[worker].update(ids[place], content=text)
                truth.becomes(ids[place], (text, truth.now[ids[place]][1]), worker, stopwatch.seconds)
            case ("pass", float() as seconds):
                stopwatch.seconds += seconds
            case ("recall", int() as worker, (None | str()) as thread):
                hits = await workers[worker].recall(AHEAD, thread_id=thread, k=30)
                assert truth.allows(contents(hits), worker, thread, stopwatch.seconds), steps
    for store in workers:
        await store.close()


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_answers_from_a_file_are_no_older_than_the_bound(tmp_path: Path, steps: list[tuple[object, ...]]) -> None:
    engine = EmbeddedEngine(":memory:")
    await check(engine, steps)
    await engine.close()


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_answers_from_a_server_are_no_older_than_the_bound(
    valkey_server: ValkeyServer, steps: list[tuple[object, ...]]
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    await check(engine, steps)
    await engine.close()


def test_what_the_truth_allows() -> None:
    truth = Truth()
    truth.becomes("1", ("a", "t"), 0, 5.0)
    truth.becomes("2", ("b", "t"), 1, 10.0)
    truth.becomes("2", None, 1, 10.0)
    for seconds, others in ((11.9, True), (12.0, False)):
        assert truth.allows({"a"}, 0, "t", seconds)
        assert truth.allows({"a", "b"}, 0, "t", seconds) is others
        assert not truth.allows({"a", "b"}, 1, "t", seconds)
        assert not truth.allows(set(), 0, "t", seconds)
        assert truth.allows(set(), 0, "u", seconds)
