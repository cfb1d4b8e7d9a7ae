"""Several searches at once: what it costs a server, and indexes of other clients."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import valkey.asyncio

from betterdb_agent_memory.engines.base import Collection, SchemaField, Search, Tally, Word
from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES, Between, Equals, Filter, IdIn
from betterdb_agent_memory.engines.valkey import ValkeyEngine, commands, index
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import EngineError, IndexMissingError, SearchTimeoutError
from tests.engines.searching import nearest
from tests.engines.valkey.samples import SCHEMA, collection, record, vector
from tests.proxy import Proxy
from tests.servers import ValkeyServer

QUESTION = vector(1, 0, 0, 0)
EVERYTHING = Filter()
RIVER, THE = Word("river", "river"), Word("the", "the")


def with_words(name: str) -> Collection:
    """A collection whose records may hold stems."""
    own = (*SCHEMA.own, SchemaField("words", "text", holds_stems=True))
    return replace(collection(name), schema=replace(SCHEMA, own=own))


async def test_any_number_of_searches_and_tallies_is_one_round_trip(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        records = engine.records(with_words(store_name))
        await records.prepare(4)
        await records.write_many([record(str(n), threadId=f"t{n % 3}", content=f"river {n}") for n in range(30)])
        thread = Filter((Equals("threadId", "t1"),))
        many = [Search(5, thread), Search(5, thread, (RIVER,)), Search(3, EVERYTHING, (Word("7", "7"), THE))]
        tallies = [Tally(thread), Tally(thread, RIVER), Tally(EVERYTHING, THE)]

        async def cost(searches: list[Search], tallies: list[Tally]) -> tuple[int, int]:
            wire, counted = proxy.round_trips, engine.round_trips
            await records.search_many(QUESTION, searches, fields=["content"], tallies=tallies)
            return proxy.round_trips - wire, engine.round_trips - counted

        assert await cost(many, tallies) == (1, 1)
        assert await cost(many, []) == (1, 1)
        assert await cost([], tallies) == (1, 1)
        assert await cost(many[:1], []) == (1, 1)
        assert await cost([Search(5, EVERYTHING, (THE,)), Search(0, thread)], []) == (0, 0)
        assert await cost([], [Tally(EVERYTHING, THE)]) == (1, 1)
        assert await cost([], []) == (0, 0)
        await engine.close()


async def test_words_that_the_index_leaves_out_may_be_in_any_record(engine: ValkeyEngine, store_name: str) -> None:
    records = engine.records(with_words(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n), threadId=f"t{n % 3}", content="the river") for n in range(9)])
    await records.write_many([record("10", content="the river", words="the_ river")])
    thread = Filter((Equals("threadId", "t1"),))
    beyond, written = THE, Word("the", "the_")
    searches = [
        *(Search(50, EVERYTHING, words) for words in ((RIVER,), (beyond,), (RIVER, beyond), (written,))),
        *(Search(50, Filter((IdIn(frozenset({"1", "10"})),)), words) for words in ((beyond,), (RIVER,))),
    ]
    tallies = [Tally(EVERYTHING, beyond), Tally(thread, beyond), Tally(EVERYTHING, written), Tally(thread, written)]
    found, counts = await records.search_many(QUESTION, searches, fields=[], tallies=tallies)
    assert [len(rows) for rows in found] == [10, 0, 10, 1, 0, 2]
    assert [rows.exhausted for rows in found] == [True, False, False, False, False, True]
    assert counts == (10, 3, 1, 3)


async def test_an_index_made_by_others_is_searched_by_content_and_lists_what_it_lacks(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    theirs = replace(collection(store_name), schema=replace(SCHEMA, own=()))
    await valkey_client.execute_command(*commands.create_index(theirs, 4))
    records = engine.records(with_words(store_name))
    assert (await records.prepare(4)).unindexed == ("subject", "words")
    await records.write_many([record("1", content="an old river"), record("2", content="Fluss", words="river")])
    near, counts = await records.search_many(
        QUESTION,
        [Search(5, EVERYTHING, (RIVER,))],
        fields=["content"],
        tallies=[Tally(EVERYTHING, RIVER), Tally(EVERYTHING, Word("bach", "bach"))],
    )
    assert [row.id for row in near[0]] == ["1"]
    assert not near[0].exhausted
    assert counts == (1, 0)
    assert (await nearest(records, QUESTION, count=5, filter=EVERYTHING, fields=[])).exhausted
    assert (await records.rebuild(4)).unindexed == ()
    await records.write_many([record("3", content="Bach", words="river", vector=vector(1, 0.5, 0, 0))])
    near, _ = await records.search_many(QUESTION, [Search(5, EVERYTHING, (RIVER,))], fields=["content"])
    assert "3" in [row.id for row in near[0]]


async def test_stems_are_indexed_as_they_are(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    command = commands.create_index(with_words(store_name), 4)
    assert command[-5:] == ("subject", "TAG", "words", "TEXT", "NOSTEM")
    await valkey_client.execute_command(*command)


async def test_rows_that_had_to_be_dropped_are_made_up_for_in_each_search(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    records = engine.records(with_words(store_name))
    await records.prepare(4)
    await records.write_many(
        [record(str(n), content=f"river w{n}", vector=vector(1, 0.1 + n / 10, 0, 0)) for n in range(9)]
    )
    for n in range(20):
        fields: dict[Any, Any] = {"content": "river", "vector": vector(1, 0, 0, 0), "created_at": "1"}
        await valkey_client.execute_command("HSET", f"{store_name}:mem:inner:mem:{n}", *chain(*fields.items()))
    before = engine.round_trips
    searches = [Search(3, EVERYTHING), Search(20, EVERYTHING, (RIVER,)), Search(2, EVERYTHING, (Word("w8", "w8"),))]
    near, _ = await records.search_many(QUESTION, searches, fields=["content"])
    assert [[row.id for row in rows] for rows in near] == [list("012"), list("012345678"), ["8"]]
    assert [rows.exhausted for rows in near] == [False, True, True]
    assert 1 < engine.round_trips - before < 6


async def test_numbers_that_the_server_rounded_are_read_again_in_each_search(
    records: ValkeyRecords,
) -> None:
    exact = 1.234567890123456
    await records.write_many([record("1", importance=repr(exact), content="river"), record("2", importance="9")])
    between = Filter((Between("importance", low=exact, high=exact + 1e-13), Between("access_count", high=5)))
    for words in ((), (RIVER,)):
        answers = await records.search_many(
            QUESTION, [Search(5, between, words)], fields=["importance", "access_count"]
        )
        assert [row.id for row in answers.neighbours[0] if between.accepts(row.id, row.fields)] == ["1"]


async def test_words_beside_a_long_scope_keep_within_what_servers_accept(records: ValkeyRecords) -> None:
    threads = [Equals("threadId", f"{n:03}" + "\N{SNOWMAN}" * 80) for n in range(60)]
    long = Filter(tuple(threads))
    words = tuple(Word(f"river{n}", f"river{n}") for n in range(400))
    texts = records._questions.texts(long, words)
    assert len(texts) > 1
    assert all(len(text.encode()) <= MAX_FILTER_BYTES - 256 for text in texts)
    await records.write_many([record("1", content="river399")])
    answers = await records.search_many(QUESTION, [Search(5, long, words), Search(5, EVERYTHING, words)], fields=[])
    assert [len(rows) for rows in answers.neighbours] == [0, 1]


async def test_an_error_of_one_search_is_the_error_of_all(engine: ValkeyEngine, store_name: str) -> None:
    records = engine.records(collection(store_name))
    with pytest.raises(IndexMissingError):
        await records.search_many(QUESTION, [Search(5, EVERYTHING), Search(5, EVERYTHING, (RIVER,))], fields=[])
    await records.prepare(4)
    await records.write_many([record("1")])
    with pytest.raises(EngineError):
        await records.search_many(vector(1, 2), [Search(5, EVERYTHING), Search(5, EVERYTHING, (RIVER,))], fields=[])


async def test_searches_cut_short_are_an_error_and_no_short_answer(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url, search_timeout_ms=1)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n), threadId=f"t{n}") for n in range(2000)])
    searches = [Search(1000, EVERYTHING, exhaustive=True)] * 20
    with pytest.raises(SearchTimeoutError):
        await records.search_many(QUESTION, searches, fields=["content", "threadId"])
    await engine.close()


async def test_a_store_that_has_grown_is_noticed_in_passing(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await valkey_client.flushall()  # keys that expire meanwhile would be taken for ours
    monkeypatch.setattr(index, "_STALE_SECONDS", 0.0)
    monkeypatch.setattr(index, "LARGE_INDEX", 20)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n)) for n in range(30)])
    assert records._index.documents == 0
    before = engine.round_trips
    await nearest(records, QUESTION, count=3, filter=EVERYTHING, fields=[])
    assert engine.round_trips - before == 1
    assert records._index.documents == 30
    await records.delete_many([str(n) for n in range(5)])
    answers = await records.search_many(QUESTION, [Search(1, EVERYTHING)], fields=[], tallies=[Tally(EVERYTHING)])
    assert answers.tallies == (25,)
    assert engine.round_trips - before == 3


async def test_how_many_records_a_large_index_has_is_not_counted_for_a_tally(
    engine: ValkeyEngine, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "LARGE_INDEX", 20)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n)) for n in range(30)])
    await records.prepare(4)
    before = engine.round_trips
    assert (await records.search_many(QUESTION, [], fields=[], tallies=[Tally(EVERYTHING)])).tallies == (30,)
    assert engine.round_trips == before


async def test_a_user_who_may_not_ask_how_many_keys_there_are_may_search(
    engine: ValkeyEngine,
    valkey_server: ValkeyServer,
    valkey_client: valkey.asyncio.Valkey,
    store_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index, "_STALE_SECONDS", 0.0)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record("1")])
    await valkey_client.execute_command("ACL", "SETUSER", store_name, "on", ">x", "~*", "+@all", "-dbsize")
    other = ValkeyEngine.from_url(f"valkey://{store_name}:x@127.0.0.1:{valkey_server.port}")
    near = await nearest(other.records(collection(store_name)), QUESTION, count=3, filter=EVERYTHING, fields=[])
    assert [row.id for row in near] == ["1"]
    await other.close()
    await valkey_client.execute_command("ACL", "DELUSER", store_name)
