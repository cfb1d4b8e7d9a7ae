"""What the index of a thread knows, and when it is not enough."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session_index import index_key, written_name
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, Session


async def test_a_bare_set_is_found_by_name_and_by_a_scan(session: Session) -> None:
    await session.cache.set("t", "f", "1")
    await session.store("t", "bare", b"2")
    assert await session.cache.get("t", "bare") == "2"
    assert await session.cache.get_all("t") == {"f": "1"}
    assert await session.cache.get_all("t", scan=True) == {"f": "1", "bare": "2"}
    # Once found it is known.
    assert await session.cache.get_all("t") == {"f": "1", "bare": "2"}
    assert await session.cache.scan_fields_by_prefix("t", "b") == {"bare": "2"}


async def test_after_a_foreign_write_a_thread_is_scanned_once(session: Session) -> None:
    await session.cache.set("t", "f", "1")
    await session.store("t", "theirs", b"2")
    await session.count_foreign(writes=1)
    assert await session.cache.get_all("t", scan=False) == {"f": "1"}
    assert await session.cache.get_all("t") == {"f": "1", "theirs": "2"}
    # The index has taken it in, so what comes without being counted is not noticed.
    await session.store("t", "bare", b"3")
    assert await session.cache.get_all("t") == {"f": "1", "theirs": "2"}
    await session.count_foreign(writes=1)
    assert await session.cache.scan_fields_by_prefix("t", "b") == {"bare": "3"}
    assert await session.cache.get_all("t") == {"f": "1", "theirs": "2", "bare": "3"}


async def test_our_own_writes_make_no_scan_necessary(session: Session) -> None:
    await session.count_foreign(writes=3, reads=5)
    await session.cache.get_all("t")
    await session.cache.set("t", "f", "1")
    await session.cache.get("t", "f")
    await session.deferred.flush()
    await session.store("t", "bare", b"2")
    assert await session.cache.get_all("t") == {"f": "1"}


async def test_a_thread_whose_index_is_lost_is_scanned_if_others_have_been_there(session: Session) -> None:
    await session.cache.set("t", "f", "1")
    await session.count_foreign(reads=1)
    await session.engine.values.delete(index_key(session.name, "t"))
    await session.cache.set("t", "g", "2")
    assert await session.cache.get_all("t") == {"f": "1", "g": "2"}


async def test_values_that_are_gone_leave_the_index(opened: Open) -> None:
    session = opened(300)
    for field in ("f", "g", "h"):
        await session.cache.set("t", field, "v")
    await session.remove_bare("t", "f")
    await session.store("t", "bare", b"2")
    assert await session.cache.get_all("t", scan=True) == {"g": "v", "h": "v", "bare": "2"}
    await session.remove_bare("t", "g")
    await session.remove_bare("t", "bare")
    assert await session.cache.get_all("t") == {"h": "v"}
    names = [name for name in await session.index("t") if name != "!"]
    assert names == [written_name("h")]
    await session.cache.delete("t", "h")
    assert [name for name in await session.index("t") if name != "!"] == []


async def test_a_destroyed_thread_is_gone_whoever_wrote_it(opened: Open) -> None:
    session = opened(300)
    await session.cache.set_many("t", {f"f{number}": "v" for number in range(250)})
    await session.store("t", "bare", b"2")
    batch = session.engine.values.batch()
    batch.write_map(session_key(session.name, "t", "a map"), {"x": b"y"})
    await batch.send()
    await session.count_foreign(writes=1)
    await session.cache.set("other", "f", "v")
    assert await session.cache.destroy_thread("t") == 252
    assert await session.keys("t") == set()
    assert await session.index("t") == {}
    assert await session.cache.get_all("other") == {"f": "v"}
    assert await session.cache.destroy_thread("t") == 0
    await session.cache.set("t", "f", "again")
    assert await session.cache.get_all("t") == {"f": "again"}


async def test_a_failure_to_tidy_up_does_not_fail_the_read(
    served: Open, on_server: ValkeyEngine, valkey_client: Any
) -> None:
    session = served(300)
    await session.cache.set("t", "f", "v")
    await session.store("t", "bare", b"2")
    await session.deferred.flush()
    memory = await valkey_client.config_get("maxmemory")
    await valkey_client.config_set("maxmemory", 1)
    try:
        assert await session.cache.get_all("t", scan=True) == {"f": "v", "bare": "2"}
    finally:
        await valkey_client.config_set("maxmemory", memory["maxmemory"])
    assert session.watch.background_failure_count == 1


async def test_a_thread_whose_index_was_evicted_is_healed_by_a_scan(session: Session) -> None:
    await session.cache.set_many("t", {"f": "1", "g": "2"})
    await session.engine.values.delete(index_key(session.name, "t"))
    await session.cache.set("t", "h", "3")
    assert await session.cache.get_all("t", scan=True) == {"f": "1", "g": "2", "h": "3"}
    assert await session.cache.get_all("t") == {"f": "1", "g": "2", "h": "3"}
