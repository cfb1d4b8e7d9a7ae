"""Connections of a pool: found fit for use by a look, made sure of where that is not enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import valkey.asyncio
from valkey.asyncio.connection import AbstractConnection

from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from tests.servers import ValkeyServer
from tests.waiting import until

POOLS = [valkey.asyncio.ConnectionPool, valkey.asyncio.BlockingConnectionPool]


@pytest.fixture(params=POOLS, ids=["plain", "blocking"])
async def pool(
    request: pytest.FixtureRequest, valkey_server: ValkeyServer
) -> AsyncIterator[valkey.asyncio.ConnectionPool]:
    pool = request.param.from_url(valkey_server.url)
    yield pool
    await pool.disconnect()


@pytest.fixture
def client(pool: valkey.asyncio.ConnectionPool) -> ValkeyClient:
    return ValkeyClient(valkey.asyncio.Valkey(connection_pool=pool))


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for every time that valkey-py tries to read, to see whether a connection is fit."""
    made: list[str] = []
    original = AbstractConnection.can_read_destructive

    async def counting(connection: AbstractConnection) -> bool:
        made.append(repr(connection))
        return bool(await original(connection))

    monkeypatch.setattr(AbstractConnection, "can_read_destructive", counting)
    return made


async def test_a_question_takes_a_connection_by_a_look_and_a_write_makes_sure_of_it(
    client: ValkeyClient, attempts: list[str], store_name: str
) -> None:
    await client.ask("PING")
    assert len(attempts) == 1  # it had to be connected
    for _ in range(5):
        assert await client.ask("PING") == b"PONG"
    assert len(attempts) == 1
    assert await client.tell_many([("SET", store_name, "1")]) == [b"OK"]
    assert len(attempts) == 2


async def test_a_connection_that_the_server_closed_is_made_anew(
    client: ValkeyClient,
    pool: valkey.asyncio.ConnectionPool,
    attempts: list[str],
    valkey_client: valkey.asyncio.Valkey,
) -> None:
    id = await client.ask("CLIENT", "ID")
    assert await valkey_client.execute_command("CLIENT", "KILL", "ID", id) == 1
    [connection] = pool._available_connections
    await until(lambda: connection._reader is None or connection._reader.at_eof())
    trips, tried = client.traffic.round_trips, len(attempts)
    assert await client.ask("CLIENT", "ID") != id
    # Seen before anything was sent over it.
    assert client.traffic.round_trips == trips + 1
    assert len(attempts) > tried


async def test_an_answer_that_somebody_left_behind_is_not_taken_for_the_next_one(
    client: ValkeyClient, pool: valkey.asyncio.ConnectionPool
) -> None:
    connection = await pool.get_connection("PING")
    await connection.send_command("ECHO", "left behind")
    await until(lambda: connection._reader._buffer)
    await pool.release(connection)
    assert await client.ask("ECHO", "asked for") == b"asked for"


async def test_those_who_wait_for_the_only_connection_get_it(valkey_server: ValkeyServer) -> None:
    pool = valkey.asyncio.BlockingConnectionPool.from_url(valkey_server.url, max_connections=1, timeout=10)
    client = ValkeyClient(valkey.asyncio.Valkey(connection_pool=pool))
    answers = await asyncio.gather(*(client.ask("ECHO", str(number)) for number in range(20)))
    assert answers == [str(number).encode() for number in range(20)]
    await pool.disconnect()


async def test_too_many_connections_are_refused_as_ever(valkey_server: ValkeyServer) -> None:
    pool = valkey.asyncio.ConnectionPool.from_url(valkey_server.url, max_connections=1)
    client = ValkeyClient(valkey.asyncio.Valkey(connection_pool=pool))
    held = await pool.get_connection("PING")
    with pytest.raises(Exception, match="connections of the pool are in use"):
        await client.ask("PING")
    await pool.release(held)
    assert await client.ask("PING") == b"PONG"
    await pool.disconnect()


async def test_a_pool_of_somebody_elses_making_is_asked_in_its_own_way(valkey_server: ValkeyServer) -> None:
    class Counting(valkey.asyncio.ConnectionPool):
        taken = 0

        async def get_connection(self, command_name: str, *keys: object, **options: object) -> AbstractConnection:
            Counting.taken += 1
            connection: AbstractConnection = await super().get_connection(command_name, *keys, **options)
            return connection

    pool = Counting.from_url(valkey_server.url)
    client = ValkeyClient(valkey.asyncio.Valkey(connection_pool=pool))
    for _ in range(3):
        await client.ask("PING")
    assert Counting.taken == 3
    await pool.disconnect()
