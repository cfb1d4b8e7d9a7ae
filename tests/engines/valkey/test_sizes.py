"""Bytes are counted whatever a reply is made of, and the same for every way of asking."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.sizes import size_of_reply
from tests.servers import ValkeyServer

leaves = st.one_of(st.binary(max_size=20), st.integers(), st.none(), st.booleans(), st.floats())
replies: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.binary(max_size=5), inner, max_size=5)),
    max_leaves=30,
)


def texts(reply: Any) -> list[bytes]:
    """All texts in a reply, one after another."""
    if isinstance(reply, bytes):
        return [reply]
    if isinstance(reply, dict):
        return [text for pair in reply.items() for part in pair for text in texts(part)]
    return [text for part in reply for text in texts(part)] if isinstance(reply, list) else []


@given(replies)
def test_a_reply_is_as_large_as_its_texts(reply: Any) -> None:
    assert size_of_reply(reply) == sum(map(len, texts(reply)))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("library", [valkey.asyncio.Valkey, redis.asyncio.Redis])
async def test_values_are_counted_whatever_the_client(
    library: Any, protocol: int, valkey_server: ValkeyServer, store_name: str
) -> None:
    client = library(port=valkey_server.port, protocol=protocol)
    engine = ValkeyEngine(client)
    await engine.values.set(store_name, b"x" * 1_000)
    assert 1_000 <= engine.traffic.bytes_sent < 1_200
    received = engine.traffic.bytes_received
    await engine.values.get(store_name)
    assert 1_000 <= engine.traffic.bytes_received - received < 1_100
    await client.aclose()
