"""What is asked of the change feed is checked before anything is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryConfig,
    AgentMemoryOptions,
    ChangeFeedOptions,
    ConfigurationError,
    InvalidInputError,
    MemoryOptions,
    MemoryStore,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.event_log import LogPosition, read_position
from tests.embedding import embed


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name="s", embed_fn=embed)
    yield store
    await store.close()
    await engine.close()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"since": "yesterday"}, "since is 'now', 'oldest'"),
        ({"since": 2**60}, "since is 'now'"),
        ({"since": True}, "since is 'now'"),
        ({"kinds": "forgotten"}, "kinds is a collection"),
        ({"kinds": []}, "kinds is empty"),
        ({"kinds": ["born"]}, "no changes of the kind 'born'"),
        ({"group": ""}, "group is a name"),
        ({"group": "a\nb"}, "group is a name"),
        ({"group": "ü" * 101}, "group has 202 bytes"),
        ({"takeover_seconds": 0.01}, "takeover_seconds is from"),
        ({"takeover_seconds": float("nan")}, "takeover_seconds is from"),
        ({"thread_id": 7}, "thread_id must be text"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_bad_questions_are_refused_before_the_feed_is_switched_on(
    store: MemoryStore, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await anext(store.changes(**asked))
    assert await store.change_feed() is None
    with pytest.raises(InvalidInputError, match="timeout_seconds"):
        await store.wait_for("x", timeout_seconds=-1)


async def test_a_time_ahead_of_the_server_is_refused(store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="ahead of the server's clock"):
        await anext(store.changes(since="2999-01-01"))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("1750000000000-17", LogPosition(1_750_000_000_000, 17)),
        ("0-0", LogPosition(0, 0)),
        ("01-1", None),
        ("1-", None),
        ("2026-05-08", None),
        (" 1-1", None),
        ("\u0661-\u0661", None),
    ],
)
def test_ids_of_changes_and_nothing_else_are_positions(text: str, position: LogPosition | None) -> None:
    assert read_position(text) == position
    if position is not None:
        assert str(position) == text


async def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="change_feed"):
        MemoryStore(client=EmbeddedEngine(":memory:"), name="n", embed_fn=embed, change_feed="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_changes"):
        ChangeFeedOptions(max_changes=0)


async def test_each_door_has_the_option() -> None:
    keep = ChangeFeedOptions(max_changes=7, max_age_seconds=None)
    published = AgentMemoryOptions(
        client=EmbeddedEngine(":memory:"), embed_fn=embed, memory=AgentMemoryConfig(change_feed=keep, discovery=False)
    )
    opened = AgentMemory.open(":memory:", embedder=embed, memory=MemoryOptions(change_feed=keep))
    for agent in (AgentMemory(published), opened):
        await agent.memory.remember("tea")
        status = await agent.memory.change_feed()
        assert status is not None
        assert (status.max_changes, status.max_age_seconds, status.told) == (7, None, 1)
        await agent.close()
