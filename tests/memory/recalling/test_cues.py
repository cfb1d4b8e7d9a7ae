"""What is being talked about brings memories up: the more, the fewer have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import (
    Activation,
    Candidates,
    InvalidInputError,
    MemoryHit,
    MemoryStore,
    Scored,
)
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.recalling.cues import Cue, context_of, cues_of, holding
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.scoring.base import Need
from betterdb_agent_memory.memory.words.analysis import Analyzer
from tests.embedding import AHEAD, at_angle, embed

NOW_MS = 1_750_000_000_000
ANALYZER = Analyzer()
VECTOR = [1.0, *[0.0] * 7]


def cue(name: str) -> Cue:
    [one] = cues_of([name], ANALYZER)
    return one


def has(name: str, content: str, *, entities: str = "", tags: str = "") -> bool:
    fields = {"content": content.encode(), "entities": entities.encode(), "tags": tags.encode()}
    return bool(holding([fields], [cue(name)], TextReader(ANALYZER))[0, 0])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("river", "Both RIVERS are wide.", True),
        ("river", "The riverbank is wide.", False),
        ("Maya Lind", "It was Maya Lind's idea.", True),
        ("Maya Lind", "Lind told Maya.", False),
        ("Maya Lind", "Maya and Lind", True),  # stop words stand between no words
        ("bank of England", "the Bank of England", True),
        ("Zürich", "a train to Zurich", True),
        ("will", "He will come.", False),  # what every text has is talked about in none
        ("!!", "Stop!!", False),
        ("猫", "ソファの猫", False),
    ],
)
def test_a_text_has_a_cue_if_its_words_stand_side_by_side(name: str, content: str, expected: bool) -> None:
    assert has(name, content) is expected


def test_entities_and_tags_are_compared_letter_by_letter() -> None:
    assert has("Will", "x", entities="Ada,Will")
    assert not has("will", "x", entities="Ada,Will")
    assert has("a,b", "x", entities="a%2Cb")
    assert has("trip", "x", tags="home,trip")
    assert not has("trip", "x", tags="trips")
    assert not has("home,trip", "x", tags="home,trip")


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_a_fan_is_how_many_have_the_words_or_the_name(first: set[int], second: set[int], named: set[int]) -> None:
    one, two = cue("river"), cue("river bridge")
    assert [tally.word and tally.word.stem for tally in one.tallies(Filter())] == ["river", "river", None]
    assert one.fan([len(first), len(first & named), len(named)]) == len(first | named)
    counts = [len(first), len(second), len(first & named), len(second & named), len(named)]
    fan = two.fan(counts)
    assert len((first & second) | named) <= fan <= min(len(first | named), len(second | named))
    assert cue("will").fan([len(named)]) == len(named)


def test_what_is_seen_corrects_what_was_counted_a_minute_ago() -> None:
    records = [{"content": text.encode()} for text in ("river", "river and lamp", "ferry")]
    cues = cues_of(["river", "lamp", "ferry"], ANALYZER)
    assert context_of(records, cues, [5, 0, 1], TextReader(ANALYZER)).fans.tolist() == [5, 1, 1]
    assert context_of(records, cues, None, TextReader(ANALYZER)).fans.tolist() == [2, 1, 1]


@pytest.fixture
async def store(engine: Engine, store_name: str) -> MemoryStore:
    return MemoryStore(
        client=engine,
        name=store_name,
        embed_fn=embed,
        default_threshold=2.0,
        clock=lambda: NOW_MS,
        scoring="activation",
    )


def ids(hits: Sequence[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in hits]


def said(hit: MemoryHit) -> float:
    assert hit.explain is not None
    [context] = [part.contribution for part in hit.explain.components if part.name == "context"]
    return context


@pytest.mark.parametrize("retrieval", ["vector", "hybrid"])
async def test_a_rare_cue_brings_what_is_not_among_the_nearest(store: MemoryStore, retrieval: Any) -> None:
    texts = [at_angle(0.9, f"the bridge {n}") for n in range(90)]
    await store.remember_many(
        [
            *({"content": text, "id": f"near{n:02d}", "thread_id": "t"} for n, text in enumerate(texts)),
            {"content": at_angle(0.5, "the ferry"), "id": "ferry", "thread_id": "t"},
            {"content": at_angle(0.5, "she"), "id": "named", "thread_id": "t", "entities": ["Maya"]},
            {"content": at_angle(0.5, "the ferry, too"), "id": "elsewhere", "thread_id": "u"},
        ]
    )
    asked: dict[str, Any] = {
        "thread_id": "t",
        "k": 4,
        "retrieval": retrieval,
        "query": "Which bridge?",
        "reinforce": False,
    }
    for _ in range(2):  # the second time it is known how many have them
        for name in ("ferry", "Maya"):
            found = await store.recall_by_vector(VECTOR, context=[name], **asked)
            assert ids(found)[0] == {"ferry": "ferry", "Maya": "named"}[name]
            assert said(found[0]) == pytest.approx(1.5 * 4)
            assert [said(hit) for hit in found[1:]] == [0] * 3
        both = await store.recall_by_vector(VECTOR, context=["ferry", "Maya"], **asked)
        # Attention is shared among cues, and half of it is less than what the others are more like the question.
        assert [said(hit) for hit in both] == [0] * 4
        # A cue of more memories than e^S says nothing, and what is too far away stays so.
        common = await store.recall_by_vector(VECTOR, context=["bridge"], **asked)
        assert [said(hit) for hit in common] == [0] * 4
        assert "ferry" not in ids(await store.recall_by_vector(VECTOR, context=["ferry"], **asked | {"threshold": 0.3}))


async def test_a_context_that_no_model_reads_is_refused_and_never_by_an_operators_setting(
    store: MemoryStore, engine: Engine
) -> None:
    called = []

    async def counting(text: str) -> list[float]:
        called.append(text)
        return await embed(text)

    plain = MemoryStore(client=engine, name=store.name, embed_fn=counting, default_threshold=2.0)
    with pytest.raises(InvalidInputError, match=r"scored by 'composite': pass scoring=\"activation\""):
        await plain.recall(AHEAD, context=["ferry"])
    with pytest.raises(InvalidInputError, match="scored by 'chain'"):
        await store.recall_by_vector([1.0] * 8, context=["ferry"], scoring="chain")
    wrong: list[tuple[Any, str]] = [
        ("ferry", "context must be a list of words and names, got str"),
        ([""], "context is a list of words and names"),
        ([3], "context is a list of words and names"),
        (["a\nb"], "control character"),
        (["x" * 513], "has 513"),
        ([f"cue {n}" for n in range(17)], "at most 16 cues, got 17"),
    ]
    for context, message in wrong:
        with pytest.raises(InvalidInputError, match=message):
            await plain.recall(AHEAD, context=context, scoring="activation")
    assert called == []
    await store.remember(at_angle(0.9, "the ferry"), id="ferry")
    assert said((await plain.recall(AHEAD, context=["ferry"] * 20, scoring="activation"))[0]) == pytest.approx(6)
    # An operator's composite leaves the context of this store aside, and activation makes the other one read it.
    for name, reads in (("composite", []), ("activation", [6.0])):
        await engine.values.write_map(store.live_config.key, {"recall.scoring": name.encode()})
        for one in (store, plain) if reads else (store,):
            await one.live_config.refresh()
            [hit] = await one.recall(AHEAD, context=["ferry"])
            assert hit.explain is not None
            assert hit.explain.scoring == name
            assert [part.contribution for part in hit.explain.components if part.name == "context"] == reads


@dataclass(frozen=True)
class OnlyContext:
    """A model of the caller's own, which reads nothing but cues."""

    name: str = "only context"
    needs: frozenset[Need] = frozenset(("cues",))

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        assert candidates.cues is not None
        assert candidates.fans is not None
        return Scored((candidates.cues / candidates.fans).sum(axis=1), ())

    def ceiling(self, relevance: float) -> float:
        return math.inf


async def test_a_model_of_ones_own_gets_cues_and_a_near_cache_tells_them_apart(engine: Engine, store_name: str) -> None:
    store = MemoryStore(
        client=engine, name=store_name, embed_fn=embed, default_threshold=2.0, scoring=Activation(), near_cache=True
    )
    for id, about in (("a", "ferry and river"), ("b", "bridge and river"), ("c", "harbour")):
        await store.remember(at_angle(0.9, about), id=id)
    for _ in range(2):
        for name, first in (("ferry", "a"), ("bridge", "b"), ("harbour", "c")):
            assert ids(await store.recall(AHEAD, context=[name], reinforce=False))[0] == first
            assert ids(await store.recall(AHEAD, context=[name, "river"], scoring=OnlyContext()))[0] == first
    statistics = (await store.stats()).near_cache
    assert statistics is not None
    assert statistics.hits >= 3
    scores = {hit.item.id: hit.score for hit in await store.recall(AHEAD, context=["river"], scoring=OnlyContext())}
    assert scores == {"a": 0.5, "b": 0.5, "c": 0}
    assert np.isfinite(list(scores.values())).all()
    await store.close()
