"""`calibrate` measures on what is stored, on each engine, and pays for nothing that it cannot use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import (
    AnsweredQuestion,
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    MemoryDraft,
    MemoryScope,
    MemoryStore,
    Progress,
)
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.calibrating import QUESTIONS_MADE_UP, read_sample
from betterdb_agent_memory.memory.scope import scope_filter
from betterdb_agent_memory.memory.searching import itself
from tests.embedding import AHEAD, at_angle, embed
from tests.servers import ValkeyServer

COUNT = 100
"""Memories in scope: the one with number n has distance n/100 from `AHEAD`."""


class Counting:
    """The tests' embedding, counting its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, text: str) -> list[float]:
        self.calls += 1
        return await embed(text)


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, valkey_server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Engine]:
    server = request.param == "server"
    made: Engine = ValkeyEngine.from_url(valkey_server.url) if server else EmbeddedEngine(tmp_path / "m.db")
    yield made
    await made.close()


@pytest.fixture
def embedding() -> Counting:
    return Counting()


@pytest.fixture
async def store(engine: Engine, store_name: str, embedding: Counting) -> MemoryStore:
    made = MemoryStore(client=engine, name=store_name, embed_fn=embedding, default_threshold=0.3)
    drafts = [
        MemoryDraft(at_angle(1 - n / 100, f"memory {n}"), id=f"m{n}", namespace="maya") for n in range(1, COUNT + 1)
    ]
    strangers = [MemoryDraft(at_angle(1 - n / 1000, f"other {n}"), namespace="Maya") for n in range(1, COUNT + 1)]
    await made.remember_many([*drafts, *strangers])
    embedding.calls = 0
    return made


async def test_answers_tell_what_is_let_in_and_what_is_kept(store: MemoryStore) -> None:
    before = [item async for item in store.iterate()]
    found = await store.calibrate(questions=[(AHEAD, ["m2", "m40"])], false_accept_rate=0.05, namespace="maya")
    # Unrelated are 98 memories at .01, .03, .04, .05, .06 ...: the fifth is too many.
    assert (found.basis, found.current) == ("answers", 0.3)
    assert found.threshold == pytest.approx(0.06, abs=0.0011)
    assert found.recommended.false_accepts == pytest.approx(4 / 98)
    assert found.recommended.true_accepts == 0.5
    assert found.at(0.3).false_accepts == pytest.approx(29 / 98, abs=0.011)
    assert found.rates[-1].true_accepts == 1
    assert (found.memories, found.sampled, found.questions) == (COUNT, COUNT, 1)
    assert (found.unrelated_pairs, found.true_pairs) == (98, 2)
    assert [item async for item in store.iterate()] == before, "nothing is written"


async def test_texts_that_answer_are_compared_as_they_would_be_stored(store: MemoryStore, embedding: Counting) -> None:
    question = AnsweredQuestion(AHEAD, answers=[at_angle(0.98, "memory 2"), at_angle(0.2)])
    found = await store.calibrate(questions=[question], namespace="maya")
    assert found.true_pairs == 2
    assert found.unrelated_pairs == COUNT - 1, "the memory with that text is no stranger"
    assert found.recommended.true_accepts == 0.5
    assert embedding.calls == 3


async def test_questions_alone_tell_what_is_let_in(store: MemoryStore) -> None:
    found = await store.calibrate(questions=[AHEAD], namespace="maya", false_accept_rate=0.1)
    assert (found.basis, found.true_pairs) == ("questions", 0)
    # The nearest three may answer: of the other 97, at .04, .05, .06 ..., the tenth is too many.
    assert found.threshold == pytest.approx(0.13, abs=0.0011)
    assert found.unrelated_pairs == COUNT - 3
    assert found.recommended.true_accepts is None
    assert found.is_rough
    assert not (await store.calibrate(questions=[(AHEAD, ["m1"])], namespace="maya", false_accept_rate=0.1)).is_rough


async def test_of_a_sample_as_many_may_answer_as_are_in_it(store: MemoryStore) -> None:
    found = await store.calibrate(questions=[AHEAD], namespace="maya", sample=34, false_accept_rate=0.1)
    assert (found.unrelated_pairs, found.memories) == (found.sampled - 1, COUNT)


async def test_where_some_answers_are_known_the_other_questions_may_have_one_too(store: MemoryStore) -> None:
    found = await store.calibrate(questions=[AHEAD, (AHEAD, ["m2"])], namespace="maya", false_accept_rate=0.1)
    assert (found.basis, found.unrelated_pairs) == ("answers", COUNT - 3 + COUNT - 1)


async def test_without_questions_some_are_made_up_from_the_memories(store: MemoryStore, embedding: Counting) -> None:
    found = await store.calibrate(namespace="maya")
    assert (found.basis, found.questions, found.true_pairs) == ("memories", QUESTIONS_MADE_UP, 0)
    assert found.unrelated_pairs == QUESTIONS_MADE_UP * (COUNT - 1), "a memory is no stranger to its own question"
    assert found.recommended.false_accepts <= 0.05
    assert embedding.calls == QUESTIONS_MADE_UP
    assert await store.calibrate(namespace="maya") == found, "the same each time"


async def test_a_sample_is_spread_over_the_scope_and_stays_in_it(store: MemoryStore, engine: Engine) -> None:
    space = await store._searcher.lookup(itself, None)
    assert space is not None
    scope = scope_filter(MemoryScope(namespace="maya"), (), None, None)
    before = engine.round_trips
    sample = await read_sample(space.records, scope, 40)
    assert engine.round_trips - before <= 24
    numbers = sorted(int(id.removeprefix("m")) for id in sample.ids)
    assert 25 <= len(numbers) <= 40
    assert (sample.total, sample.vectors.shape) == (COUNT, (len(numbers), 8))
    assert len({number // 25 for number in numbers}) >= 4
    assert sample.contents[0].endswith(f"memory {sample.ids[0].removeprefix('m')}")


async def test_progress_is_told_and_may_end_the_work(store: MemoryStore, embedding: Counting) -> None:
    told: list[Progress] = []
    await store.calibrate(questions=[AHEAD] * 40, namespace="maya", on_progress=told.append)
    assert told[0] == Progress("memories", COUNT, COUNT)
    assert told[-1] == Progress("questions", 40, 40)
    embedding.calls = 0

    def enough(_: Progress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await store.calibrate(questions=[AHEAD], namespace="maya", on_progress=enough)
    assert embedding.calls == 0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"namespace": "nobody"}, "calibrate needs 20 memories or more to compare with, the scope has 0"),
        ({"questions": [(AHEAD, ["m2", "gone"])]}, "expect 1 memories that are not there: 'gone'"),
        ({"questions": [AHEAD], "false_accept_rate": 0.001}, "cannot be told from 197 pairs"),
        ({"questions": []}, "questions is empty"),
        ({"questions": [AHEAD, "é" * 131_073]}, r"questions\[1\] has 262,146 bytes, the store accepts 262,144"),
        (
            {"questions": [AnsweredQuestion(AHEAD, answers=["a" * 262_145])]},
            r"questions\[0\]\.answers has 262,145 bytes",
        ),
        ({"sample": 19}, "sample must be from 20 to 5,000, got 19"),
        ({"false_accept_rate": 5}, "false_accept_rate must be above 0 and below 1"),
        ({"on_progress": 5}, "on_progress"),
    ],
    ids=["scope", "gone", "rate", "empty", "question", "answer", "sample", "share", "progress"],
)
async def test_what_cannot_be_measured_costs_nothing(
    store: MemoryStore, embedding: Counting, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        await store.calibrate(**given)
    assert embedding.calls == 0


async def test_the_embedder_s_failure_is_told_as_it_is(engine: Engine, store_name: str) -> None:
    async def failing(text: str) -> list[float]:
        if text == "no":
            raise OSError("no connection")
        return await embed(text)

    made = MemoryStore(client=engine, name=store_name, embed_fn=failing)
    await made.remember_many([at_angle(1 - n / COUNT, f"memory {n}") for n in range(COUNT)])
    with pytest.raises(EmbeddingError, match="no connection") as failure:
        await made.calibrate(questions=[AHEAD, "no", "no"])
    assert isinstance(failure.value.__cause__, OSError)


async def test_an_empty_store_and_one_without_an_embedder_say_so(engine: Engine, store_name: str) -> None:
    with pytest.raises(ConfigurationError, match="calibrate needs an embedder"):
        await MemoryStore(client=engine, name=store_name).calibrate()
    with pytest.raises(InvalidInputError, match="the store has none"):
        await MemoryStore(client=engine, name=store_name, embed_fn=embed).calibrate()
