"""What a call costs."""

from __future__ import annotations

from contextlib import AsyncExitStack

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, trips, worker
from tests.servers import ValkeyServer
from tests.waiting import NEVER_SECONDS


async def test_what_a_call_costs(served: Open, on_server: ValkeyEngine) -> None:
    session = served(300, flush_seconds=NEVER_SECONDS)
    cache = session.cache
    await cache.set_many("t", {f"f{number}": "v" for number in range(20)})
    await cache.touch("t")
    await cache.get_all("t")
    await cache.set("u:v:w", "x:y", "v")
    await cache.delete("u:v:w", "x:y")
    everything = {f"f{number}": "v" for number in range(20)}
    some = {field: "v" for field in everything if field.startswith("f1")}
    await session.deferred.flush()
    assert await trips(on_server, cache.set("t", "f1", "v"), None) == 1
    assert await trips(on_server, cache.set("u:v:w", "x:y", "v"), None) == 1
    assert await trips(on_server, cache.set_many("t", everything), None) == 1
    assert await trips(on_server, cache.get("t", "f1"), "v") == 1
    assert await trips(on_server, cache.get("u:v:w", "x:y"), "v") == 1
    assert await trips(on_server, cache.get("t", "none"), None) == 1
    assert await trips(on_server, cache.get_all("t"), everything) == 2
    assert await trips(on_server, cache.scan_fields_by_prefix("t", "f1"), some) == 2
    assert await trips(on_server, cache.get_all("nobody"), {}) == 1
    assert await trips(on_server, cache.delete("t", "f1"), True) == 1
    assert await trips(on_server, cache.delete("u:v:w", "x:y"), True) == 2
    for field in everything:
        if field != "f1":
            await session.expire("t", field, 100)
    assert await trips(on_server, cache.touch("t"), None) == 3
    # Statistics come with none of them: they wait, and are one more for all.
    assert await trips(on_server, session.deferred.flush(), None) == 1


async def test_f36_reading_a_thread_costs_the_same_whatever_else_there_is(served: Open, store_name: str) -> None:
    """Also with a foreign field in it. 50,000 keys are 50 round trips to a scan."""
    with ValkeyServer(search=False, arguments=("--enable-debug-command", "yes")) as server:
        engine = ValkeyEngine.from_url(server.url)
        session = served(on=engine, flush_seconds=NEVER_SECONDS)
        fields = {f"f{number}": str(number) for number in range(20)}
        async with AsyncExitStack() as stack:
            theirs = await stack.enter_async_context(worker("published", str(server.port), store_name))
            client = await stack.enter_async_context(server.client())
            await session.cache.set_many("t", fields)
            known = []
            for keys in (100, 50_000):
                await client.execute_command("DEBUG", "POPULATE", keys, f"foreign{keys}", 10)
                await theirs("set", "t", f"theirs{keys}", "x")
                fields[f"theirs{keys}"] = "x"
                scanned = await trips(engine, session.cache.get_all("t"), fields)
                known.append(await trips(engine, session.cache.get_all("t"), fields))
            assert scanned > 50
            assert known == [2, 2]
            assert await trips(engine, session.cache.get_all("another"), {}) > 50
            assert await trips(engine, session.cache.get_all("another"), {}) == 1
        await session.deferred.close()
        await engine.close()
