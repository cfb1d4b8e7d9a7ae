"""The hash of a memory: encodings shared with the other languages."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.memory.dynamics_fields import MemoryDynamics
from betterdb_agent_memory.memory.record import (
    NewMemory,
    decode_memory,
    encode_memory,
    has_control_character,
)
from betterdb_agent_memory.memory.spelling import number_text

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tag = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=","), min_size=1, max_size=10)
optional = st.none() | text
memories = st.builds(
    NewMemory,
    id=st.just("id"),
    content=text,
    importance=st.floats(0, 1),
    created_at_ms=st.integers(0, 2**52),
    tags=st.lists(tag, max_size=4).map(tuple),
    thread_id=optional,
    agent_id=optional,
    namespace=optional,
    source=optional,
    subject=optional,
    date=optional,
)


@given(memories)
def test_a_memory_survives_its_encoding(memory: NewMemory) -> None:
    fields = encode_memory(memory, b"\0\0\x80?")
    item, unreadable = decode_memory("id", fields)
    assert unreadable == 0
    assert item is not None
    assert (item.content, item.importance, item.tags) == (memory.content, memory.importance, list(memory.tags))
    assert item.created_at == item.last_accessed_at == memory.created_at_ms
    assert (item.thread_id, item.agent_id, item.namespace) == (memory.thread_id, memory.agent_id, memory.namespace)
    assert (item.source, item.subject, item.date) == (memory.source, memory.subject, memory.date or None)
    assert list(fields)[:6] == ["content", "vector", "importance", "created_at", "last_accessed_at", "access_count"]


@given(
    dynamics=st.builds(
        MemoryDynamics,
        unpinned_importance=st.none() | st.floats(0, 1),
        stability=st.none() | st.floats(0, 1e6),
        working=st.none() | st.floats(0, 10),
        core=st.none() | st.floats(0, 10),
        strength_at=st.none() | st.integers(-(2**52), 2**52),
        reliability=st.none() | st.floats(0, 1),
        recent=st.lists(st.integers(-(2**52), 2**52), max_size=4).map(lambda times: tuple(sorted(times))),
        uses=st.integers(0, 2**52),
        successes=st.integers(0, 2**52),
        supersedes=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)).map(tuple),
        valid_from=st.none() | st.integers(-(2**52), 2**52),
        valid_until=st.none() | st.integers(-(2**52), 2**52),
        superseded_by=st.none() | st.text(min_size=1).filter(lambda text: text.isprintable()),
        contradicted_by=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)).map(tuple),
        archived_at=st.none() | st.integers(-(2**52), 2**52),
    ),
    entities=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True).map(tuple),
)
def test_fields_read_back_as_they_were_written(dynamics: MemoryDynamics, entities: tuple[str, ...]) -> None:
    memory = NewMemory("id", "text", 0.5, 1, dynamics=dynamics, entities=entities, kind="fact")
    item, unreadable = decode_memory("id", encode_memory(memory, b""))
    assert item is not None
    assert (item.dynamics, item.entities, item.kind, unreadable) == (dynamics, list(entities), "fact", 0)
    assert item.pinned == (dynamics.unpinned_importance is not None)


@given(st.text(max_size=20))
def test_the_control_characters_of_ascii_are_found_and_no_others(text: str) -> None:
    assert has_control_character(text) == any(ord(character) < 32 or ord(character) == 127 for character in text)


@given(st.floats(0, 1))
def test_importance_reads_back_as_the_same_number(importance: float) -> None:
    assert float(number_text(importance)) == importance


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node to ask JavaScript itself")
def test_importance_is_spelt_as_javascript_spells_it() -> None:
    values = [0, 1, 0.5, 1e-5, 1e-6, 1.5e-6, 1e-7, 1.25e-7, 1 / 3, 0.1 + 0.2, 5e-324, 0.999999999999, 123e-9]
    values += [n / 997 for n in range(997)] + [10.0**-n * 3.7 for n in range(1, 30)]
    script = "process.stdout.write(JSON.stringify(JSON.parse(process.argv[1]).map(String)))"
    spelt = subprocess.run(
        ["node", "-e", script, json.dumps(values)], capture_output=True, text=True, check=True
    ).stdout
    assert [number_text(value) for value in values] == json.loads(spelt)


def test_a_fragment_is_no_memory() -> None:
    assert decode_memory("id", {"last_accessed_at": b"1", "access_count": b"1"}) == (None, 1)


@pytest.mark.parametrize(("stored", "read"), [(b"1.0", 1.0), (b"1e-07", 1e-7), (b" 0.5x", 0.5), (b".25", 0.25)])
def test_other_spellings_of_numbers_are_read(stored: bytes, read: float) -> None:
    item, unreadable = decode_memory("id", {"content": b"", "importance": stored})
    assert item is not None
    assert (item.importance, unreadable) == (read, 0)


@pytest.mark.parametrize("stored", [b"True", b"", b"nan", b"Infinity", b"1e999", b"\xff"])
def test_an_unreadable_number_is_counted_and_loses_no_memory(stored: bytes) -> None:
    item, unreadable = decode_memory("id", {"content": b"kept", "importance": stored})
    assert item is not None
    assert (item.content, item.importance, unreadable) == ("kept", 0, 1)


def test_text_that_is_not_utf8_is_counted_and_loses_no_memory() -> None:
    item, unreadable = decode_memory("id", {"content": b"caf\xe9"})
    assert item is not None
    assert (item.content, unreadable) == ("caf\ufffd", 1)
