"""How many of the true neighbours are found, in scopes of every size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import valkey.asyncio
from numpy.typing import NDArray

from betterdb_agent_memory.engines.base import Records, Search, Word
from betterdb_agent_memory.engines.filters import Between, Equals, Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.commands import create_index
from betterdb_agent_memory.engines.valkey.effort import LARGEST_EF, Scope, ef_runtime, pays_in_batches
from tests.engines.valkey.samples import CREATED_AT_MS, collection
from tests.servers import ValkeyServer

RECORDS = 10_400
DIMENSIONS = 32
_NUMBERS = np.arange(RECORDS)
LABELS = {
    "threadId": _NUMBERS % 100 == 0,
    "agentId": _NUMBERS % 20 == 3,
    "namespace": _NUMBERS % 2 == 0,
    "source": _NUMBERS >= 0,
}
LATER = RECORDS * 2 // 5
SCOPES = {
    "1 %": Filter((Equals("threadId", "yes"),)),
    "5 %": Filter((Equals("agentId", "yes"),)),
    "50 %": Filter((Equals("namespace", "yes"),)),
    "60 % by a number": Filter((Between("created_at", low=CREATED_AT_MS + LATER),)),
    "100 %": Filter((Equals("source", "yes"),)),
    "all": Filter(),
}
MEMBERS = dict(zip(SCOPES, (*list(LABELS.values())[:3], _NUMBERS >= LATER, _NUMBERS >= 0, _NUMBERS >= 0), strict=True))
VECTORS = np.random.default_rng(5).standard_normal((RECORDS, DIMENSIONS)).astype("<f4")
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUESTIONS = np.random.default_rng(6).standard_normal((25, DIMENSIONS)).astype("<f4")


pytestmark = pytest.mark.xdist_group("effort")
"""One server is filled for all of them."""


@dataclass(slots=True)
class Overheard:
    """A client that remembers the query texts it was given."""

    client: valkey.asyncio.Valkey
    texts: list[str] = field(default_factory=list)

    async def execute_command(self, *arguments: Any) -> Any:
        if arguments[0] == "FT.SEARCH":
            self.texts.append(str(arguments[2]))
        return await self.client.execute_command(*arguments)


@pytest.fixture(scope="module")
def filled_server() -> Iterator[ValkeyServer]:
    """A server of its own with vectors in all directions: nowhere are nearest neighbours harder to find."""
    index = collection("effort")
    with ValkeyServer() as server:
        client = server.blocking_client()
        client.execute_command(*create_index(index, DIMENSIONS))
        pipeline = client.pipeline(transaction=False)
        for n, vector in enumerate(VECTORS):
            labels = {name: "yes" if members[n] else "no" for name, members in LABELS.items()}
            fields = {"content": "some text", "vector": vector.tobytes(), "created_at": CREATED_AT_MS + n}
            pipeline.hset(f"{index.key_prefix}{n}", mapping=fields | labels)
        pipeline.execute()
        yield server
        client.close()


@pytest.fixture
async def overheard(filled_server: ValkeyServer) -> AsyncIterator[Overheard]:
    async with filled_server.client() as client:
        yield Overheard(client)


@pytest.fixture
async def records(overheard: Overheard) -> Records:
    records = ValkeyEngine(overheard).records(collection("effort"))
    await records.prepare(DIMENSIONS)
    return records


def truth(scope: str, question: NDArray[np.float32], count: int) -> set[str]:
    members = np.flatnonzero(MEMBERS[scope])
    nearest = np.argsort(-(VECTORS[members] @ question), kind="stable")[:count]
    return {str(n) for n in members[nearest]}


@pytest.mark.parametrize("knows", [True, False], ids=["size-known", "size-unknown"])
@pytest.mark.parametrize("scope", SCOPES)
async def test_nearly_all_true_neighbours_are_found_in_scopes_of_every_size(
    records: Records, scope: str, knows: bool
) -> None:
    filter = SCOPES[scope]
    size = int(MEMBERS[scope].sum()) if knows else None
    found = 0
    for question in QUESTIONS:
        search = Search(32, filter, scope_size=size)
        [near], _ = await records.search_many(question.tobytes(), [search], fields=["content", *filter.field_names])
        assert len(near) == 32
        assert not near.exhausted
        assert all(filter.accepts(row.id, row.fields) for row in near)
        found += len({row.id for row in near[:10]} & truth(scope, question, 10))
    assert found >= 0.99 * 10 * len(QUESTIONS)


async def asked(records: Records, overheard: Overheard, search: Search) -> str:
    """The one query text that the server gets for a search."""
    overheard.texts.clear()
    await records.search_many(QUESTIONS[0].tobytes(), [search], fields=["content", *search.filter.field_names])
    [text] = overheard.texts
    return text.partition("=>")[2]


async def test_large_scopes_are_walked_through_and_small_ones_compared(records: Records, overheard: Overheard) -> None:
    half, few = SCOPES["50 %"], SCOPES["1 %"]
    batches = "[KNN 32 @vector $vec EF_RUNTIME 400 HYBRID_POLICY BATCHES AS __score]"
    compared = "[KNN 32 @vector $vec EF_RUNTIME 100 AS __score]"
    assert await asked(records, overheard, Search(32, half, scope_size=RECORDS // 2)) == batches
    assert await asked(records, overheard, Search(32, half)) == compared
    assert await asked(records, overheard, Search(32, few, scope_size=RECORDS // 100)) == compared
    assert await asked(records, overheard, Search(32, half, (Word("zz", "zz"),), RECORDS // 2)) == compared
    exhaustive = Search(32, half, scope_size=RECORDS // 2, exhaustive=True)
    assert await asked(records, overheard, exhaustive) == f"[KNN 32 @vector $vec EF_RUNTIME {LARGEST_EF} AS __score]"


async def test_an_exhaustive_search_finds_every_true_neighbour(records: Records) -> None:
    for scope in ("50 %", "all"):
        search = Search(100, SCOPES[scope], scope_size=int(MEMBERS[scope].sum()), exhaustive=True)
        for question in QUESTIONS[:5]:
            [near], _ = await records.search_many(question.tobytes(), [search], fields=["namespace"])
            assert {row.id for row in near} == truth(scope, question, 100)


async def test_a_walk_that_finds_too_few_is_made_up_for(records: Records, overheard: Overheard) -> None:
    few = SCOPES["1 %"]
    search = Search(200, few, scope_size=RECORDS // 2)
    [near], _ = await records.search_many(QUESTIONS[0].tobytes(), [search], fields=["threadId"])
    assert {row.id for row in near} == truth("1 %", QUESTIONS[0], 200)
    assert near.exhausted
    assert ["BATCHES" in text for text in overheard.texts] == [True, False]


def test_batches_pay_in_scopes_that_are_large_and_not_thinly_sown() -> None:
    assert pays_in_batches(32, Scope(50_000, 100_000))
    assert pays_in_batches(32, Scope(10_000, 100_000))
    assert not pays_in_batches(32, Scope(9_999, 100_000))
    assert not pays_in_batches(32, Scope(4_999, 5_000))
    assert not pays_in_batches(4096, Scope(50_000, 100_000))
    assert not pays_in_batches(32, Scope(None, 100_000))
    assert not pays_in_batches(32, Scope(50_000, 0))


def test_effort_grows_with_the_part_of_the_index_and_with_what_is_asked_for() -> None:
    assert ef_runtime(32, None, least=100) == ef_runtime(32, 0.05, least=100) == 100
    assert ef_runtime(32, 0.5, least=100) == 400
    assert ef_runtime(300, 0.5, least=100) == ef_runtime(300, 0.01, least=100) == 600
    assert ef_runtime(4096, 1.0, least=100) == ef_runtime(1, None, least=100, exhaustive=True) == LARGEST_EF
