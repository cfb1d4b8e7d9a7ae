"""Messages as SDKs give them: what is text in them is stored, and what says nothing harms no other."""

from __future__ import annotations

from typing import Any

import pytest

from betterdb_agent_memory import ConversationMessage, InvalidInputError, MemoryStore
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.memory.conversations import as_message
from tests.embedding import AHEAD, at_angle, embed

PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}

READ = {
    "what an SDK adds": (
        {"role": "assistant", "content": "Yes.", "refusal": None, "annotations": [], "tool_calls": None, "id": "x"},
        ConversationMessage("Yes.", speaker="assistant"),
    ),
    "of a tool": (
        {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
        ConversationMessage("12 degrees", speaker="tool"),
    ),
    "with a name": ({"role": "user", "name": "Maya", "content": "Hi"}, ConversationMessage("Hi", speaker="Maya")),
    "with a picture": (
        {"role": "user", "content": [{"type": "text", "text": "What is"}, PICTURE, {"type": "text", "text": "this?"}]},
        ConversationMessage("What is\nthis?", speaker="user"),
    ),
    "ours with a role": (
        {"role": "user", "content": "Hi", "occurred_at": 5, "tags": ["a"], "metadata": {"n": 1}},
        ConversationMessage("Hi", speaker="user", occurred_at=5, tags=["a"], metadata={"n": 1}),
    ),
}


@pytest.mark.parametrize(("given", "message"), READ.values(), ids=READ)
def test_a_message_is_read(given: Any, message: ConversationMessage) -> None:
    assert as_message(given) == message


SILENT = {
    "text": "",
    "blanks": " \n\t",
    "message": ConversationMessage("  ", speaker="Maya"),
    "content": {"speaker": "Maya", "content": ""},
    "a call of a tool": {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function"}]},
    "no content": {"role": "assistant", "tool_calls": []},
    "no parts": {"role": "user", "content": []},
    "a picture alone": {"role": "user", "content": [PICTURE]},
    "a refusal": {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
}


@pytest.mark.parametrize("given", SILENT.values(), ids=SILENT)
def test_a_message_without_text_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="a message without text is not stored"):
        as_message(given)


@pytest.mark.parametrize("given", [{"content": "x", "refusal": None}, {"content": "x", "role": None, "who": 1}])
def test_without_a_role_an_unknown_field_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="a message has no field"):
        as_message(given)


async def test_what_says_nothing_is_told_and_leaves_the_others_next_to_each_other(store_name: str) -> None:
    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=2.0)
    said = [at_angle(0.9, "one"), at_angle(0.1, "two"), at_angle(-0.9, "three")]
    given = [said[0], SILENT["a call of a tool"], SILENT["blanks"], said[1], SILENT["a picture alone"], said[2]]
    results = await store.remember_conversation(given, thread_id="gaps")  # type: ignore[arg-type]
    assert [result.outcome for result in results] == ["stored", "rejected", "rejected", "stored", "rejected", "stored"]
    await store.remember_conversation(said, thread_id="none")
    found = [
        sorted((hit.item.turn, hit.item.content, hit.distance) for hit in await store.recall(AHEAD, thread_id=thread))
        for thread in ("gaps", "none")
    ]
    assert found[0] == found[1]
    assert [turn for turn, _, _ in found[0]] == [0, 1, 2]
    await engine.close()


async def test_a_role_is_stored_and_not_embedded(store_name: str) -> None:
    embedded: list[str] = []

    async def noting(text: str) -> list[float]:
        embedded.append(text)
        return await embed(text)

    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name=store_name, embed_fn=noting)
    [of_role, of_person] = await store.remember_conversation(
        [{"role": "Assistant", "content": "It rains."}, {"role": "user", "name": "Maya", "content": "Oh."}],
        thread_id="t",
    )
    assert set(embedded) == {"It rains.", "Maya: Oh."}
    items = await store.get_many([str(of_role.id), str(of_person.id)])
    assert [item.speaker for item in items if item] == ["Assistant", "Maya"]
    await engine.close()
