"""Writers that die, and writers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory.caches.session_index import Entry, index_key, written_name
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AuthenticationFailedError, OutcomeUnknownError
from tests.caches.session.support import Open, Session, until, worker
from tests.proxy import Proxy
from tests.servers import ValkeyServer


async def test_a_writer_that_dies_between_index_and_value_leaves_nothing_behind(
    served: Open, valkey_server: ValkeyServer, on_server: ValkeyEngine
) -> None:
    session = served(300)
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        dying = served(300, on=engine)
        await dying.cache.set("warm", "f", "v")
        proxy.fail_next("before", b"<here it ends>")
        with pytest.raises(OutcomeUnknownError):
            await dying.cache.set("t", "f", "x" * 500_000 + "<here it ends>" + "x" * 500_000)
        assert list(await session.index("t")) == [written_name("f")]
        await engine.close()
    assert await session.cache.get("t", "f") is None
    assert await session.cache.get_all("t") == {}
    assert await session.index("t") == {}


async def test_a_value_that_did_not_get_into_the_index_makes_everybody_scan(
    served: Open, valkey_server: ValkeyServer, valkey_client: Any
) -> None:
    session = served()
    name = session.name
    keys = [f"{name}:session:*", f"{name}:__stats"]
    await valkey_client.acl_setuser(name, enabled=True, passwords=["+p"], categories=["+@all"], keys=keys)
    await session.cache.set("t", "f", "1")
    engine = ValkeyEngine.from_url(f"valkey://{name}:p@127.0.0.1:{valkey_server.port}")
    restricted = served(on=engine)
    with pytest.raises(AuthenticationFailedError):
        await restricted.cache.set("t", "g", "2")
    await restricted.deferred.close()
    await engine.close()
    assert await session.cache.get_all("t") == {"f": "1", "g": "2"}


@asynccontextmanager
async def writing_slowly(served: Open, server: ValkeyServer, thread: str, field: str) -> AsyncIterator[str]:
    """A set that has come to the index and not yet to the value, and is finished behind the block."""
    value = "x" * 500_000 + "<here it waits>" + "x" * 500_000
    with Proxy(server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        slow = served(300, on=engine)
        await slow.cache.set("warm", "f", "v")
        proxy.fail_next("stall", b"<here it waits>")
        writing = asyncio.create_task(slow.cache.set(thread, field, value))
        await until(lambda: served().index(thread))
        yield value
        await until(partial(_released, proxy, writing))
        await writing
        await engine.close()


@pytest.mark.parametrize("meanwhile", ["get_all", "delete"])
async def test_nobody_tidies_away_what_is_being_written(
    served: Open, valkey_server: ValkeyServer, meanwhile: str
) -> None:
    session = served(300)
    async with writing_slowly(served, valkey_server, "t", "f") as value:
        await (session.cache.get_all("t") if meanwhile == "get_all" else session.cache.delete("t", "f"))
        assert await session.index("t") == {}
    assert await session.cache.get_all("t") == {"f": value}


async def test_tidying_up_late_leaves_what_was_written_since(served: Open, valkey_server: ValkeyServer) -> None:
    session = served(300)
    await session.cache.set("t", "f", "v")
    await session.remove_bare("t", "f")
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        reader = served(300, on=engine)
        assert await reader.index("warm") == {}
        before = proxy.round_trips
        proxy.fail_next("stall", written_name("f").encode())
        reading = asyncio.create_task(reader.cache.get_all("t"))
        # The index, the values, and then what it would take away.
        await until(partial(_came_to, proxy, before + 3))
        await session.cache.set("t", "f", "v")
        await until(partial(_released, proxy, reading))
        assert await reading == {}
        await engine.close()
    assert await session.cache.get_all("t") == {"f": "v"}


async def _came_to(proxy: Proxy, round_trips: int) -> bool:
    return proxy.round_trips >= round_trips


async def _released(proxy: Proxy, task: asyncio.Task[Any]) -> bool:
    # It may not have come to where it waits.
    proxy.release()
    return task.done()


async def test_of_two_threads_that_write_the_same_key_at_once_one_has_it(
    served: Open, valkey_server: ValkeyServer
) -> None:
    cache = served(300).cache
    async with writing_slowly(served, valkey_server, "a", "b:f") as value:
        await cache.set("a:b", "f", "quick")
        assert await cache.get("a", "b:f") is None
        assert await cache.get_all("a:b") == {"f": "quick"}
    assert await cache.get("a:b", "f") is None
    assert await cache.get_all("a:b") == {}
    assert await cache.get_all("a") == {"b:f": value}


@pytest.mark.parametrize(("tidies", "answer"), [("destroy_thread", 0), ("get_all", {})])
async def test_a_claim_that_a_dead_writer_has_left_does_not_take_the_field_away(
    session: Session, tidies: str, answer: object
) -> None:
    await session.cache.set("a:b", "f", "v")
    ahead, _ = Entry.written(b"never stored", slides=True, until=None)
    batch = session.engine.values.batch()
    batch.write_map(index_key(session.name, "a"), {written_name("b:f"): ahead.raw})
    await batch.send()
    assert await session.cache.get("a", "b:f") is None
    assert await session.cache.get("a:b", "f") == "v"
    assert await session.cache.get_all("a:b") == {"f": "v"}
    assert await getattr(session.cache, tidies)("a") == answer
    assert await session.index("a") == {}
    assert await session.cache.get_all("a:b") == {"f": "v"}


async def test_two_processes_write_the_same_thread(
    opened: Open, engine: Engine, tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    session = opened(300)
    place = valkey_server.url if isinstance(engine, ValkeyEngine) else str(tmp_path / "memory.db")
    async with worker("ours", place, session.name, 300) as other:
        theirs = asyncio.create_task(other("set_numbered", "t", "theirs", 100))
        for number in range(100):
            await session.cache.set("t", f"mine{number}", str(number))
            if number % 10 == 0:
                await session.cache.get_all("t")
        await theirs
        expected = {f"{whose}{number}": str(number) for number in range(100) for whose in ("mine", "theirs")}
        assert await session.cache.get_all("t", scan=False) == expected
        assert await other("get_all", "t") == expected
        await other("set", "t", "mine0", "theirs now")
        assert await session.cache.get("t", "mine0") == "theirs now"
        assert await other("destroy_thread", "t") == 200
        assert await session.cache.get_all("t") == {}


async def test_sets_and_deletes_at_once_lose_no_field(session: Session) -> None:
    cache = session.cache

    async def churn(number: int) -> None:
        for turn in range(20):
            await cache.set("t", "shared", str(turn))
            await cache.set("t", f"own{number}", str(turn))
            await cache.delete("t", "shared")
            await cache.get_all("t")

    await asyncio.gather(*(churn(number) for number in range(5)))
    await cache.set("t", "shared", "last")
    assert await cache.get_all("t") == {"shared": "last"} | {f"own{number}": "19" for number in range(5)}
