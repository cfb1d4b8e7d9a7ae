"""Bad input gets a clear error before anything is paid for or written, and nothing is lost."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from betterdb_agent_memory import (
    EmbeddingError,
    IndexMismatchError,
    InvalidInputError,
    MemoryListOptions,
    MemoryScope,
    MemoryStore,
)
from tests.conformance.conftest import MakeStore
from tests.embedding import AHEAD, embed


class CountingEmbedder:
    """The test embedding, counting what it is paid for."""

    name = "counting"
    dimensions = 8
    default_threshold = 2.0

    def __init__(self) -> None:
        self.calls = 0

    async def embed_query(self, text: str) -> list[float]:
        self.calls += 1
        return await embed(text)

    async def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        return [await embed(text) for text in texts]


BAD_MEMORIES: list[tuple[str, dict[str, Any], str]] = [
    ("content is bytes", {"content": b"bytes"}, "content must be text"),
    ("content is none", {"content": None}, "content must be text"),
    ("content has a lone surrogate", {"content": "\ud800"}, "surrogate"),
    ("content is too long", {"content": "x" * 262_145}, "262,145 bytes"),
    ("importance above 1", {"importance": 1.5}, "1.5"),
    ("importance below 0", {"importance": -0.1}, "-0.1"),
    ("importance is a boolean", {"importance": True}, "True"),
    ("importance is text", {"importance": "0.5"}, "'0.5'"),
    ("importance is NaN", {"importance": math.nan}, "nan"),
    ("importance is infinite", {"importance": math.inf}, "inf"),
    ("tag with a comma", {"tags": ["a,b"]}, "'a,b'"),
    ("tag with a newline", {"tags": ["a\nb"]}, "control character"),
    ("tag is no text", {"tags": [1]}, "a tag must be text"),
    ("tags is one text", {"tags": "ui"}, "list of texts"),
    ("tags is a set", {"tags": {"ui"}}, "list of texts"),
    ("ttl negative", {"ttl": -1}, "negative"),
    ("ttl fractional", {"ttl": 1.5}, "whole seconds"),
    ("ttl fractional timedelta", {"ttl": timedelta(milliseconds=1500)}, "whole seconds"),
    ("ttl in milliseconds by mistake", {"ttl": 1_750_000_000_000}, "hundred years"),
    ("ttl is a boolean", {"ttl": True}, "whole seconds"),
    ("ttl is text", {"ttl": "60"}, "whole seconds"),
    ("thread is a number", {"thread_id": 7}, "thread_id must be text"),
    ("namespace has a lone surrogate", {"namespace": "a\udfff"}, "surrogate"),
    ("source is a list", {"source": ["x"]}, "source must be text"),
    ("filter too long", {"thread_id": "x" * 10_240}, "10,240"),
    ("too many tags for a filter", {"tags": [f"tag-number-{n}" for n in range(700)]}, "10,240"),
    ("scope of another type", {"scope": {"thread_id": "t"}}, "MemoryScope"),
    ("scope said twice", {"scope": MemoryScope(thread_id="t"), "thread_id": "u"}, "say it once"),
]


@pytest.mark.parametrize(
    ("options", "says"), [case[1:] for case in BAD_MEMORIES], ids=[case[0] for case in BAD_MEMORIES]
)
async def test_a_bad_memory_costs_nothing_and_writes_nothing(
    make_store: MakeStore, options: dict[str, Any], says: str
) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    with pytest.raises(InvalidInputError, match=says) as caught:
        await store.remember(**({"content": "x"} | options))
    assert isinstance(caught.value, ValueError)
    assert embedder.calls == 0
    assert (await store.stats()).item_count == 0


BAD_QUESTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("query is no text", {"query": 5}, "query must be text"),
    ("query is too long", {"query": "x" * 262_145}, "262,145 bytes"),
    ("k is 0", {"k": 0}, "k must be from 1 to 2,500"),
    ("k is negative", {"k": -3}, "-3"),
    ("k above 2,500", {"k": 2_501}, "2501"),
    ("k fractional", {"k": 1.5}, "whole number"),
    ("k is a boolean", {"k": True}, "whole number"),
    ("threshold above 2", {"threshold": 2.1}, "2.1"),
    ("threshold negative", {"threshold": -0.1}, "-0.1"),
    ("threshold is NaN", {"threshold": math.nan}, "nan"),
    ("weights is a dict", {"weights": {"similarity": 1}}, "RecallWeights"),
    ("thread is a number", {"thread_id": 7}, "thread_id must be text"),
    ("tag with a comma", {"tags": ["a,b"]}, "'a,b'"),
    ("filter too long", {"agent_id": "-" * 5_200}, "10,240"),
]


@pytest.mark.parametrize(
    ("options", "says"), [case[1:] for case in BAD_QUESTIONS], ids=[case[0] for case in BAD_QUESTIONS]
)
async def test_a_bad_question_costs_nothing(make_store: MakeStore, options: dict[str, Any], says: str) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    await store.remember("x")
    with pytest.raises(InvalidInputError, match=says):
        await store.recall(**({"query": "x"} | options))
    assert embedder.calls == 1
    if "query" not in options:
        with pytest.raises(InvalidInputError, match=says):
            await store.recall_by_vector([1.0] * 8, **options)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        ([], "empty"),
        ([math.nan] * 8, "not finite|NaN|nan"),
        ([math.inf] + [0.0] * 7, "finite|inf"),
        ([1.0] * 7, "7 numbers, expected 8"),
        ([0.0] * 8, "zeros"),
        ([[1.0] * 8], "shape"),
        (["a"] * 8, "number"),
        ([True] * 8, "number|bool"),
        ([1e300] * 8, "float32|finite"),
    ],
    ids=["empty", "nan", "infinite", "short", "zero", "nested", "text", "booleans", "overflow"],
)
async def test_a_bad_vector_is_refused_from_callers_and_from_embedders(
    make_store: MakeStore, vector: list[Any], says: str
) -> None:
    store = make_store()
    await store.remember(AHEAD)
    with pytest.raises(InvalidInputError, match=says):
        await store.recall_by_vector(vector)

    async def broken(text: str) -> list[Any]:
        return vector

    with pytest.raises(EmbeddingError, match=says):
        await make_store(embed_fn=broken).remember("x")
    with pytest.raises(EmbeddingError, match=says):
        await make_store(embed_fn=broken).recall("x")
    assert (await store.stats()).item_count == 1


async def test_an_embedder_that_fails_leaves_nothing_behind(make_store: MakeStore) -> None:
    async def failing(text: str) -> list[float]:
        raise TimeoutError("the provider took too long")

    store = make_store(embed_fn=failing)
    with pytest.raises(EmbeddingError, match="the provider took too long") as caught:
        await store.remember("x")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert (await store.stats()).item_count == 0


async def test_an_embedder_of_another_dimension_is_refused_before_it_is_paid(make_store: MakeStore) -> None:
    await make_store().remember("x")

    class Wider(CountingEmbedder):
        dimensions = 16

    wider = Wider()
    store = make_store(embed_fn=wider)
    with pytest.raises(IndexMismatchError, match=r"8.*16|16.*8"):
        await store.ensure_index()
    with pytest.raises(IndexMismatchError, match=r"8.*16|16.*8"):
        await store.remember("x")
    with pytest.raises(IndexMismatchError, match=r"8.*16|16.*8"):
        await store.recall("x")
    assert wider.calls == 0


@pytest.mark.parametrize("id", ["", "a:b", 7, None, "x" * 600, "\ud800"], ids=repr)
async def test_a_bad_id_is_refused(store: MemoryStore, id: Any) -> None:
    with pytest.raises(InvalidInputError, match="id"):
        await store.get(id)
    with pytest.raises(InvalidInputError, match="id"):
        await store.forget(id)


@pytest.mark.parametrize(
    "options", [{"limit": -1}, {"limit": 10_001}, {"limit": 1.5}, {"offset": -1}, {"offset": True}], ids=repr
)
async def test_a_bad_page_is_refused(store: MemoryStore, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        await store.list(MemoryListOptions(**options))


async def test_forgetting_everything_by_accident_is_refused(store: MemoryStore) -> None:
    await store.remember("x")
    cases: list[dict[str, Any]] = [{}, {"tags": []}, {"scope": MemoryScope()}]
    for nothing in cases:
        with pytest.raises(InvalidInputError, match="whole store"):
            await store.forget_by_scope(**nothing)
    assert (await store.stats()).item_count == 1


async def test_the_longest_scope_that_is_accepted_works(store: MemoryStore) -> None:
    value = "x" * 9_000
    await store.remember("long", thread_id=value)
    assert [hit.item.content for hit in await store.recall("x", thread_id=value)] == ["long"]
    assert await store.recall("x", thread_id=value[:-1] + "y") == []
