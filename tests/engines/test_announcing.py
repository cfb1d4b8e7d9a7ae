"""Writes of records that are told in a log in the step that writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Engine, Outcome, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.event_log import BEGINNING, Announcement, Deed, EventLog, Retention
from betterdb_agent_memory.engines.valkey import ValkeyEngine, apart
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from tests.clusters import on_a_cluster
from tests.engines.valkey.samples import collection, record
from tests.servers import ValkeyServer

KEEPS = Retention(1000)


@dataclass
class Teller:
    """Says what is to be told of each deed."""

    log_key: str
    silent: set[str] = field(default_factory=set)
    is_on: bool = True

    def of(self, deed: Deed, id: str) -> Announcement | None:
        if not self.is_on or id in self.silent:
            return None
        said: Mapping[str, bytes] = {"kind": f"{deed}d".encode(), "why": b"because\r\n\xff"}
        changed = {"kind": b"changed instead"} if deed == "write" else None
        return Announcement(self.log_key, KEEPS, "memory", ("threadId", "agentId"), said, changed)


class _ApartClient(ValkeyClient):
    """As on a cluster whose keys all lie in different slots: no script touches two of them."""

    def are_together(self, *keys: str) -> bool:
        return len(set(keys)) < 2


@pytest.fixture(params=["file", "server", "decoding", "apart", pytest.param("cluster", marks=on_a_cluster)])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "file":
        embedded = EmbeddedEngine(tmp_path / "memories.db")
        yield embedded
        await embedded.close()
        return
    if request.param == "cluster":
        # The names of these stores have no hash tag: log and records lie on different nodes.
        cluster = ValkeyEngine.from_url(request.getfixturevalue("valkey_cluster").url)
        yield cluster
        await cluster.close()
        return
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    client = server.client(decode_responses=request.param == "decoding")
    remote = ValkeyEngine(client)
    if request.param == "apart":
        remote._client = _ApartClient(client)
    yield remote
    await client.aclose()


@pytest.fixture
def teller(store_name: str) -> Teller:
    return Teller(f"{store_name}:__log")


@pytest.fixture
async def log(engine: Engine, teller: Teller) -> EventLog:
    log = engine.event_log(teller.log_key)
    await log.open(KEEPS)
    return log


@pytest.fixture
async def records(engine: Engine, teller: Teller, store_name: str) -> Records:
    records = engine.records(collection(store_name), None, teller)
    if isinstance(engine, EmbeddedEngine):
        await records.prepare(4)
    return records


async def told(log: EventLog) -> list[tuple[str, str, str | None]]:
    page = await log.read(BEGINNING, count=1000)
    assert page is not None
    rows = []
    for entry in page.entries:
        said = {name: value for name, value in entry.fields.items() if name != "why"}
        assert said.keys() <= {"memory", "kind", "threadId", "agentId"}
        thread = said.get("threadId")
        rows.append((said["memory"].decode(), said["kind"].decode(), None if thread is None else thread.decode()))
    return rows


async def test_each_deed_is_told_with_what_the_record_holds(log: EventLog, records: Records) -> None:
    await records.write_many([record("a", threadId="t"), record("b", threadId="Ü , t "), record("c")])
    await records.change_many([RecordChange("a", sets={"threadId": b"u"}), RecordChange("none", sets={"x": b"y"})])
    assert await records.delete_many(["b", "none", "c"]) == [True, False, True]
    assert await told(log) == [
        ("a", "writed", "t"),
        ("b", "writed", "Ü , t "),
        ("c", "writed", None),
        ("a", "changed", "u"),
        ("b", "deleted", "Ü , t "),
        ("c", "deleted", None),
    ]
    page = await log.read(BEGINNING, count=1)
    assert page is not None
    assert page.entries[0].fields["why"] == b"because\r\n\xff"


async def test_a_new_record_and_one_that_expires_are_told_too(log: EventLog, records: Records) -> None:
    new = RecordWrite("n", record("n", threadId="t").fields, is_new=True)
    brief = RecordWrite("e", record("e", threadId="t").fields, ttl_seconds=60)
    await records.write_many([new, brief])
    assert await told(log) == [("n", "writed", "t"), ("e", "writed", "t")]


async def test_a_write_that_changes_what_is_there_is_told_as_a_change(log: EventLog, records: Records) -> None:
    await records.write_many([record("a", threadId="t")])
    again = RecordWrite(
        "a", record("a", threadId="v").fields, if_exists=RecordChange("a", sets={"source": b"s"}, expected={})
    )
    refused = RecordWrite(
        "a", record("a").fields, if_exists=RecordChange("a", sets={"source": b"z"}, expected={"source": b"other"})
    )
    assert await records.write_many([again]) == [Outcome.CHANGED]
    assert await records.write_many([refused]) == [Outcome.REFUSED]
    assert await told(log) == [("a", "writed", "t"), ("a", "changed instead", "t")]


async def test_what_was_not_done_is_not_told(log: EventLog, records: Records, teller: Teller) -> None:
    teller.silent.add("quiet")
    await records.write_many([record("a"), record("quiet")])
    unmet = RecordChange("a", sets={"source": b"z"}, expected={"source": b"other"})
    assert await records.change_many([unmet]) == [Outcome.REFUSED]
    assert await records.delete_many(["a"], expected=[{"source": b"other"}]) == [False]
    assert await records.delete_many(["quiet"]) == [True]
    assert await told(log) == [("a", "writed", None)]


async def test_without_a_log_records_are_written_all_the_same(engine: Engine, log: EventLog, records: Records) -> None:
    await log.drop()
    assert await records.write_many([record("a")]) == [Outcome.WRITTEN]
    assert await records.delete_many(["a"]) == [True]
    assert await log.state() is None


async def test_nothing_is_paid_for_what_is_not_to_be_told(
    engine: Engine, log: EventLog, records: Records, teller: Teller
) -> None:
    teller.is_on = False
    before = engine.traffic.bytes_sent
    await records.write_many([RecordWrite("n", {"content": b"text"}, is_new=True)])
    silent = engine.traffic.bytes_sent - before
    plain = engine.records(collection(teller.log_key))
    if isinstance(engine, EmbeddedEngine):
        await plain.prepare(4)
    before = engine.traffic.bytes_sent
    await plain.write_many([RecordWrite("n", {"content": b"text"}, is_new=True)])
    assert engine.traffic.bytes_sent - before <= silent + len(":__log")
    assert await told(log) == []


async def test_what_a_dead_writer_was_about_to_tell_is_told_by_a_reader(
    valkey_server: ValkeyServer, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = valkey_server.client()
    engine = ValkeyEngine(client)
    engine._client = _ApartClient(client)
    teller = Teller(f"{store_name}:__log")
    log = engine.event_log(teller.log_key)
    await log.open(KEEPS)
    announcement = teller.of("write", "a")
    assert announcement is not None
    # Dead between the note and the record, or between the record and the entry.
    await apart.Apart(engine._client, [apart.Telling("a", announcement, {"threadId": b"t\xff"})]).note()
    assert await told(log) == []
    assert await apart.repair(engine._client, teller.log_key, KEEPS) == 0, "its writer may be alive"
    monkeypatch.setattr(apart, "STALE_SECONDS", -1.0)
    reader = engine.event_log(teller.log_key)
    await reader.read(BEGINNING, count=10)
    page = await reader.read(BEGINNING, count=10)
    assert page is not None
    [entry] = page.entries
    assert entry.fields == {"memory": b"a", "kind": b"writed", "why": b"because\r\n\xff", "threadId": b"t\xff"}
    assert await apart.repair(engine._client, teller.log_key, KEEPS) == 0, "once is enough"
    assert await client.exists(apart.notes_key(teller.log_key)) == 0
    await client.aclose()


async def test_a_write_whose_outcome_nobody_knows_keeps_its_note(
    valkey_server: ValkeyServer, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = valkey_server.client()
    remote = _ApartClient(client)
    announcement = Teller(f"{store_name}:__log").of("delete", "a")
    assert announcement is not None
    tellings = [apart.Telling(id, announcement, {}) for id in "abc"]
    batch = apart.Apart(remote, tellings)
    log = ValkeyEngine(client).event_log(announcement.log_key)
    await log.open(KEEPS)
    await batch.note()
    await batch.settle([Outcome.WRITTEN, Outcome.MISSING, None], [None] * 3)
    assert [id for id, _, _ in await told(log)] == ["a"]
    assert await client.execute_command("HLEN", apart.notes_key(announcement.log_key)) == 1
    await client.aclose()


async def test_a_full_server_refuses_the_record_and_its_entry_but_not_the_deletion() -> None:
    with ValkeyServer(arguments=("--maxmemory-policy", "noeviction")) as server:
        client = server.client()
        engine = ValkeyEngine(client)
        teller = Teller("s:__log")
        log = engine.event_log(teller.log_key)
        await log.open(KEEPS)
        records = engine.records(collection("s"), None, teller)
        await records.prepare(4)
        await records.write_many([record("a", threadId="t")])
        await client.execute_command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Exception, match=r"OOM|memory"):
            await records.write_many([record("b", threadId="t")])
        assert await records.delete_many(["a"]) == [True]
        assert await told(log) == [("a", "writed", "t"), ("a", "deleted", "t")]
        await client.aclose()
