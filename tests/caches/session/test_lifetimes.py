"""How long values live, and their index with them."""

from __future__ import annotations

import asyncio
from typing import Any

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.session_fields import MARGIN_SECONDS
from betterdb_agent_memory.caches.session_index import index_key
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, Session


async def test_a_value_slides_when_it_is_read(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("t", "f", "v")
    for read in (session.cache.get("t", "f"), session.cache.get_all("t")):
        await session.expire("t", "f", 100)
        await read
        assert 290_000 < (await session.left_ms("t", "f") or 0) <= 300_000
    await session.expire("t", "f", 100)
    await session.cache.scan_fields_by_prefix("t", "")
    assert (await session.left_ms("t", "f") or 0) <= 100_000


async def test_a_value_that_is_about_to_expire_is_renewed_at_once(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("t", "f", "v")
    await session.cache.set("t", "g", "v")
    await session.deferred.close()
    for read in (session.cache.get("t", "f"), session.cache.get_all("t")):
        await session.expire("t", "f", 2)
        await read
        batch = session.engine.values.batch()
        found = batch.get_with_expiry(session_key(session.name, "t", "f"))
        await batch.send()
        stored = found.result()
        assert stored is not None
        assert (stored.left_ms or 0) > 290_000


async def test_a_lifetime_of_seconds_slides_too(opened: Open) -> None:
    session = opened(3)
    await session.cache.set("t", "f", "v")
    for _ in range(4):
        await asyncio.sleep(1)
        assert await session.cache.get("t", "f") == "v"
    await asyncio.sleep(3.1)
    assert await session.cache.get("t", "f") is None
    assert await session.cache.get_all("t") == {}


async def test_f51_reading_never_changes_a_lifetime_of_its_own(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("t", "short", "v", ttl=10)
    await session.cache.set("t", "long", "v", ttl=5000)
    await session.store("t", "theirs", b"v", ttl_seconds=20)
    await session.store("t", "for ever", b"v")
    for field in ("short", "long", "theirs", "for ever"):
        assert await session.cache.get("t", field) == "v"
    assert len(await session.cache.get_all("t", scan=True)) == 4
    assert len(await session.cache.get_all("t")) == 4
    assert (await session.left_ms("t", "short") or 0) <= 10_000
    assert (await session.left_ms("t", "long") or 0) > 4_000_000
    assert (await session.left_ms("t", "theirs") or 0) <= 20_000
    assert await session.left_ms("t", "for ever") is None


async def test_reading_never_shortens_what_slides(opened: Open) -> None:
    long, short = opened(5000), opened(300)
    await long.cache.set("t", "f", "v")
    assert await short.cache.get("t", "f") == "v"
    assert await short.cache.get_all("t") == {"f": "v"}
    assert (await short.left_ms("t", "f") or 0) > 4_000_000
    endless = opened()
    await endless.cache.set("t", "g", "v")
    assert await short.cache.get("t", "g") == "v"
    assert await short.left_ms("t", "g") is None


async def test_a_value_that_somebody_else_has_stored_since_does_not_slide(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("t", "f", "ours")
    await session.store("t", "f", b"theirs", ttl_seconds=20)
    assert await session.cache.get("t", "f") == "theirs"
    assert await session.cache.get_all("t") == {"f": "theirs"}
    assert (await session.left_ms("t", "f") or 0) <= 20_000


async def test_a_renewal_that_waits_does_not_hit_what_is_set_meanwhile(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("t", "f", "v")
    await session.expire("t", "f", 100)
    await session.cache.get("t", "f")
    await session.cache.set("t", "f", "v", ttl=10)
    assert (await session.left_ms("t", "f") or 0) <= 10_000


async def test_touch_renews_every_field_and_shortens_none(opened: Open) -> None:
    """As in the recorded scenario cache_session_ttl, but for what would be shortened."""
    session = opened(300)
    await session.cache.set("t", "a", "1")
    await session.cache.set("t", "b", "2", ttl=10)
    await session.cache.set("t", "long", "3", ttl=5000)
    await session.store("t", "theirs", b"4", ttl_seconds=20)
    await session.store("t", "for ever", b"5")
    await session.expire("t", "a", 5)
    await session.cache.get_all("t", scan=True)
    await session.cache.touch("t")
    for field in ("a", "b", "theirs"):
        assert 290_000 < (await session.left_ms("t", field) or 0) <= 300_000, field
    assert (await session.left_ms("t", "long") or 0) > 4_000_000
    assert await session.left_ms("t", "for ever") is None
    await session.cache.touch("no such thread")
    assert await session.index("no such thread") == {}


async def test_touch_does_nothing_without_a_lifetime(session: Session) -> None:
    await session.cache.set("t", "f", "v", ttl=10)
    await session.cache.touch("t")
    assert (await session.left_ms("t", "f") or 0) <= 10_000


async def test_an_index_outlives_its_values_however_they_are_renewed(
    served: Open, on_server: ValkeyEngine, valkey_client: Any
) -> None:
    now_ms = 1_750_000_000_000
    session = served(300)
    cache = SessionCache(
        session.name,
        engine=on_server,
        watch=session.watch,
        deferred=session.deferred,
        ttl_seconds=300,
        clock=lambda: now_ms,
    )
    key = index_key(session.name, "t")
    await cache.set("t", "f", "v")
    assert MARGIN_SECONDS * 1000 < await valkey_client.pttl(key) <= MARGIN_SECONDS * 1000 + 300_000
    await cache.set("t", "g", "v", ttl=1000)
    assert await valkey_client.pttl(key) > MARGIN_SECONDS * 1000 + 900_000
    for read in (cache.get, lambda thread, _: cache.get_all(thread), lambda thread, _: cache.touch(thread)):
        # The last that was heard of the thread is 20 hours ago.
        await cache.set("t", "f", "v")
        now_ms += 20 * 3600 * 1000
        await valkey_client.expire(key, 4 * 3600)
        await session.expire("t", "f", 100)
        await read("t", "f")
        assert await valkey_client.pttl(key) > MARGIN_SECONDS * 1000
        # Once is enough for some hours.
        await valkey_client.expire(key, 4 * 3600)
        await session.expire("t", "f", 100)
        await cache.get("t", "f")
        assert await valkey_client.pttl(key) <= 4 * 3600 * 1000
    assert await cache.get_all("t") == {"f": "v", "g": "v"}
    await cache.set("t", "h", "v", ttl=None)
    endless = served()
    await endless.cache.set("t", "h", "v")
    assert await valkey_client.pttl(key) == -1
    await cache.set("t", "f", "v")
    assert await valkey_client.pttl(key) == -1


async def test_an_index_outlives_what_a_scan_has_found(served: Open, valkey_client: Any) -> None:
    session = served()
    key = index_key(session.name, "t")
    await session.store("t", "brief", b"v", ttl_seconds=60)
    await session.store("t", "long", b"v", ttl_seconds=5 * MARGIN_SECONDS)
    await session.cache.get_all("t", scan=True)
    assert await valkey_client.ttl(key) > 5 * MARGIN_SECONDS
    await session.store("t", "for ever", b"v")
    await session.cache.get_all("t", scan=True)
    assert await valkey_client.ttl(key) == -1
