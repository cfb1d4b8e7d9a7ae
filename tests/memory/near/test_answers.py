"""A copy of a hit is equal to it, and shares nothing that can be changed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from betterdb_agent_memory import MemoryHit, MemoryItem, MemoryScope
from betterdb_agent_memory.engines.filters import AllOf, Equals, Filter, HasTag
from betterdb_agent_memory.memory.near.answers import copies, scope_asked, scope_said, subjects_of_scope


def mutable(value: Any) -> list[int]:
    """The identities of all that can be changed in a value."""
    if isinstance(value, list | dict):
        inner = value if isinstance(value, list) else value.values()
        return [id(value), *(one for part in inner for one in mutable(part))]
    if hasattr(value, "__dataclass_fields__"):
        return [one for field in fields(value) for one in mutable(getattr(value, field.name))]
    return []


def test_a_copy_is_equal_and_its_own() -> None:
    item = MemoryItem("1", "c", 0.5, ["a"], 1, 2, 3, metadata={"a": [1, {"b": []}], "c": {}}, turn=4, speaker="s")
    hits = [MemoryHit(item, 0.1, 0.9), MemoryHit(MemoryItem("2", "d", 0.5, [], 1, 2, 3), 0.2, 0.8)]
    own = copies(hits)
    assert own == hits
    there = {one for hit in hits for one in mutable(hit)}
    assert len(there) == 8
    assert not there & {one for hit in own for one in mutable(hit)}


def test_a_memory_concerns_the_scopes_that_it_could_be_asked_for_in() -> None:
    asked = Filter((Equals("threadId", "t"), HasTag("tags", "x"), AllOf((Equals("namespace", "n"),))))
    assert scope_asked(asked) == (b"t", None, None), "what a condition says besides may let more through, never less"
    concerned = list(subjects_of_scope(scope_said(MemoryScope("t", None, "ü"))))
    assert sorted(map(str, concerned)) == sorted(
        str(("scope", (thread, None, namespace))) for thread in (None, b"t") for namespace in (None, "ü".encode())
    )
    assert len(set(subjects_of_scope((b"", b"a", b"b")))) == 8
