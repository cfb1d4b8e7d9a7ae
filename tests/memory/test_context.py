"""`context` on a store: recalled, packed, and reinforced where it was shown."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from betterdb_agent_memory import InvalidInputError, MemoryKind, MemoryScope, MemoryStore, RecallWeights, Tag
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import RerankingError
from betterdb_agent_memory.rerankers import FunctionReranker
from tests.embedding import AHEAD, at_angle, embed
from tests.proxy import Proxy
from tests.servers import ValkeyServer

DAY_MS = 86_400_000
NOW = 20_000 * DAY_MS


@pytest.fixture(params=["embedded", "valkey"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "embedded":
        made: Engine = EmbeddedEngine(":memory:")
    else:
        made = ValkeyEngine.from_url(request.getfixturevalue("valkey_server").url)
    yield made
    await made.close()


def store_on(engine: Engine, name: str, **options: Any) -> MemoryStore:
    return MemoryStore(
        client=engine,
        name=name,
        embed_fn=embed,
        default_threshold=2.0,
        clock=lambda: NOW,
        retrieval="vector",
        **options,
    )


async def remember_days(store: MemoryStore, *days: int, about: str = "walnuts") -> None:
    """A memory of each day, the first one the most alike to `AHEAD`."""
    for place, day in enumerate(days):
        text = at_angle(1 - place / 10, f"{about} on day {day}")
        await store.remember(text, thread_id="t", agent_id="waiter", occurred_at=day * DAY_MS, tags=["food"])


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_the_best_are_shown_in_the_order_of_time_with_their_sources(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name)
    await remember_days(store, 12, 19, 10, 15)
    context = await store.context(AHEAD, k=3, thread_id="t", heading="From earlier:")
    assert "id" not in (await store.context(AHEAD, sources=["time"], reinforce=False)).text.split("<memories>")[1]
    assert str(context).startswith("From earlier:\n")
    shown = told(context.text)
    assert [memory["happened"] for memory in shown] == ["1970-01-11", "1970-01-13", "1970-01-20"]
    assert [memory["id"] for memory in shown] == [hit.item.id for hit in context.hits]
    assert all((memory["agent"], memory["tags"]) == ("waiter", ["food"]) for memory in shown)
    recalled = await store.recall(AHEAD, k=3, thread_id="t")
    assert {hit.item.id for hit in recalled} == {memory["id"] for memory in shown}


async def test_the_budget_keeps_the_best_and_only_what_is_shown_is_reinforced(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name)
    await remember_days(store, 1, 2, 3, 4, 5)
    whole = await store.context(AHEAD, count_tokens=len, budget_tokens=5_000, reinforce=False)
    assert (len(whole.hits), whole.left_out) == (5, [])
    budget = whole.tokens - 1
    context = await store.context(AHEAD, count_tokens=len, budget_tokens=budget, thread_id="t")
    assert len(context.text) == context.tokens <= budget
    assert [memory["happened"] for memory in told(context.text)] == [f"1970-01-0{day}" for day in (2, 3, 4, 5)]
    assert [hit.item.occurred_at for hit in context.left_out] == [5 * DAY_MS]
    counts = {hit.item.id: hit.item.access_count for hit in await store.recall(AHEAD, reinforce=False)}
    assert counts == {hit.item.id: 1 for hit in context.hits} | {hit.item.id: 0 for hit in context.left_out}


async def test_what_recall_takes_decides_what_is_found(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name)
    await remember_days(store, 1, 2)
    await store.remember(at_angle(0.5, "elsewhere"), thread_id="u", namespace="n", subject="s")
    assert (await store.context(AHEAD, thread_id="nobody")).text == ""
    assert len((await store.context(AHEAD, tags=["food"])).hits) == 2
    assert len((await store.context(AHEAD, where=~Tag("food"))).hits) == 1
    assert len((await store.context(AHEAD, namespace="n", thread_id="u", subject="s")).hits) == 1
    assert len((await store.context(AHEAD, threshold=0.05)).hits) == 1
    assert len((await store.context(AHEAD, agent_id="waiter", k=1)).hits) == 1
    assert (await store.context(AHEAD, scope=MemoryScope(thread_id="nobody"))).text == ""
    await store.remember(at_angle(-0.5, "of weight"), importance=1)
    [hit] = (await store.context(AHEAD, k=1, weights=RecallWeights(0, 0, 1), now=NOW + 5_000)).hits
    assert hit.item.content == at_angle(-0.5, "of weight")
    assert hit.explain is not None
    assert hit.explain.age_seconds == 5
    touched = await store.get(hit.item.id)
    assert touched is not None
    assert touched.last_accessed_at == NOW + 5_000


async def test_words_dates_and_diversity_of_recall_are_at_hand(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name)
    await remember_days(store, 1, 2, 3)
    await store.remember(at_angle(-0.9, "quinoa"), thread_id="t")
    hybrid = await store.context("quinoa?", retrieval="hybrid", threshold=0.001)
    assert [hit.item.content for hit in hybrid.hits] == [at_angle(-0.9, "quinoa")]
    assert (await store.context("quinoa?", threshold=0.001)).hits == []
    diverse = await store.context(AHEAD, k=2, diversity=0.1)
    assert at_angle(-0.9, "quinoa") in [hit.item.content for hit in diverse.hits]


async def test_linked_memories_belief_and_context_are_at_hand(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name, scoring="activation")
    drafts: list[tuple[str, MemoryKind, str]] = [
        ("rule", "rule", "tea"),
        ("opinion", "opinion", "green tea"),
        ("far", "rule", "rain"),
    ]
    for id, kind, about in drafts:
        await store.remember(at_angle(0.9 if about != "rain" else -0.9, about), id=id, kind=kind)
    await store.link("rule", "far")
    arguments: dict[str, Any] = {"threshold": 0.5, "k": 2}
    linked = await store.context(AHEAD, expand=True, min_confidence=0.9, **arguments)
    assert {hit.item.id for hit in linked.hits} == {"rule", "far"}
    counts = {id: item.access_count for id in ("rule", "far", "opinion") if (item := await store.get(id))}
    assert counts == {"rule": 1, "far": 0, "opinion": 0}
    [first] = (await store.context(AHEAD, context=["green"], **arguments | {"k": 1})).hits
    assert first.item.id == "opinion"


async def test_a_reranker_decides_what_the_budget_is_spent_on(engine: Engine, store_name: str) -> None:
    async def latest(query: str, texts: Any) -> list[float]:
        return [float(text.rsplit(" ", 1)[1]) for text in texts]

    store = store_on(engine, store_name, reranker=latest)
    await remember_days(store, 1, 2, 3, 4)
    context = await store.context(AHEAD, k=2)
    assert [memory["happened"] for memory in told(context.text)] == ["1970-01-04", "1970-01-05"]
    plain = await store.context(AHEAD, k=2, rerank=False)
    assert [memory["happened"] for memory in told(plain.text)] == ["1970-01-02", "1970-01-03"]


async def test_a_reranker_that_fails_leaves_nothing_reinforced(engine: Engine, store_name: str) -> None:
    async def broken(query: str, texts: Any) -> list[float]:
        raise OSError("no weights")

    store = store_on(engine, store_name, reranker=FunctionReranker(broken, name="mine"))
    await remember_days(store, 1)
    with pytest.raises(RerankingError, match="reranker mine failed: OSError: no weights; rerank=False"):
        await store.context(AHEAD)
    [hit] = (await store.context(AHEAD, rerank=False)).hits
    assert hit.item.access_count == 0


async def test_an_answer_comes_with_its_question_from_its_own_conversation(engine: Engine, store_name: str) -> None:
    store = store_on(engine, store_name)
    for thread in ("t", "u"):
        said = [(at_angle(-0.9, "The window?"), "Tom"), (AHEAD, "Maya"), (at_angle(-0.8, "Done."), "Tom")]
        messages = [{"content": content, "speaker": speaker, "tags": [speaker]} for content, speaker in said]
        results = await store.remember_conversation(messages, session="call", thread_id=thread)
    await store.context("other", reinforce=False)  # connected, and scripts are loaded
    before = engine.round_trips
    arguments: dict[str, Any] = {"thread_id": "u", "where": Tag("Maya"), "k": 1, "reinforce": False}
    alone = await store.context(AHEAD, **arguments)
    taken = engine.round_trips - before
    assert ([hit.item.content for hit in alone.hits], alone.around) == ([AHEAD], [])
    context = await store.context(AHEAD, around=1, **arguments)
    assert engine.round_trips - before == 2 * taken + (1 if taken else 0)
    assert [one["id"] for one in told(context.text)] == [result.id for result in results]
    assert [one.get("context") for one in told(context.text)] == [True, None, True]
    assert {(item.thread_id, item.speaker) for item in context.around} == {("u", "Tom")}
    await store.context(AHEAD, around=1, **arguments | {"reinforce": True})
    items = await store.get_many([result.id or "" for result in results])
    assert [item.access_count for item in items if item] == [0, 1, 0]
    await store.forget(context.around[0].id)
    left = await store.context(AHEAD, around=20, **arguments)
    assert [item.id for item in left.around] == [results[2].id]


REFUSED = {
    "budget_tokens": ({"budget_tokens": 0}, "budget_tokens must be from 1"),
    "a budget without room": ({"budget_tokens": 30}, "leaves no room for memories"),
    "a budget that is text": ({"budget_tokens": "1000"}, "budget_tokens must be a whole number"),
    "k": ({"k": 0}, "k must be from 1"),
    "around": ({"around": 21}, "around must be from 0 to 20"),
    "half a turn around": ({"around": 0.5}, "around must be a whole number"),
    "reinforce": ({"reinforce": "no"}, "reinforce must be true or false"),
    "heading": ({"heading": 3}, "heading must be a text"),
    "count_tokens": ({"count_tokens": "gpt"}, "count_tokens must be a function"),
    "threshold": ({"threshold": 3}, "threshold is a cosine distance"),
    "diversity": ({"diversity": 2}, "diversity"),
    "exact": ({"exact": "yes"}, "exact must be true or false"),
}


@pytest.mark.parametrize(("arguments", "complaint"), REFUSED.values(), ids=REFUSED)
async def test_bad_input_is_refused_before_the_embedder_is_called(
    arguments: dict[str, Any], complaint: str, store_name: str
) -> None:
    calls = []

    async def counting(text: str) -> list[float]:
        calls.append(text)
        return await embed(text)

    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name=store_name, embed_fn=counting)
    with pytest.raises(InvalidInputError, match=complaint):
        await store.context(AHEAD, **arguments)
    assert calls == []
    await engine.close()


@pytest.mark.parametrize(("length", "is_beside"), [(100, False), (20_000, True)], ids=["short", "long"])
async def test_long_memories_are_packed_beside_the_loop(length: int, is_beside: bool, store_name: str) -> None:
    threads = set()

    def counting(text: str) -> int:
        if "walnut" in text:
            threads.add(threading.current_thread())
        return len(text)

    engine = EmbeddedEngine(":memory:")
    store = store_on(engine, store_name)
    await store.remember(at_angle(0.9, "walnut " * (length // 7)))
    await store.context(AHEAD, count_tokens=counting, budget_tokens=100_000)
    assert threads
    assert (threading.main_thread() not in threads) == is_beside
    await engine.close()


async def test_it_costs_the_round_trips_of_a_recall(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{proxy.port}")
        store = store_on(engine, store_name)
        await remember_days(store, 1, 2, 3)
        await store.recall(AHEAD)
        before = proxy.round_trips
        assert (await store.context(AHEAD)).hits
        assert proxy.round_trips - before == 2
        assert (await store.context(AHEAD, reinforce=False)).hits
        assert proxy.round_trips - before == 3
        await engine.close()
