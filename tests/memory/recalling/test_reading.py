"""Texts of candidates are read once, whatever their length, in bounded memory; long ones beside the event loop."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.background import ROWS_ON_THE_LOOP
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.recalling.reading import BYTES_KEPT, TextReader
from betterdb_agent_memory.memory.recalling.whole_scope import compare_whole_scope
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.memory.words.analysis import Analyzer
from tests.memory.recalling.brute_force import NOW_MS, random_memories, write
from tests.memory.recalling.test_whole_scope import NarrowRecords


def prose(size: int, seed: int = 0) -> bytes:
    """So many bytes of words, of 3,000 different ones."""
    words = random.Random(seed).choices([f"word{n}" for n in range(3_000)], k=size // 5)
    return " ".join(words)[:size].encode()


def test_a_text_is_read_once_whatever_its_length() -> None:
    reader = TextReader(Analyzer())
    for size in (20, 1_500, 60_000, 260_000):
        content = prose(size)
        assert reader.read(bytes(bytearray(content)), stop_words=False) is reader.read(content, stop_words=False)
        assert list(reader.read(content, stop_words=False).stems) == Analyzer().stems(content.decode())
    # With stop words it is another text.
    assert [len(reader.read(b"the tea", stop_words=with_them).stems) for with_them in (True, False)] == [2, 1]


def test_what_is_kept_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    reader = TextReader(Analyzer())
    huge = prose(2**20)
    assert reader.read(huge, stop_words=False) is not reader.read(huge, stop_words=False)
    texts = [prose(60_000, seed) for seed in range(150)]
    read = [reader.read(text, stop_words=False) for text in texts]
    newest_first = zip(reversed(texts), reversed(read), strict=True)
    kept = sum(1 for _ in takewhile(lambda pair: reader.read(pair[0], stop_words=False) is pair[1], newest_first))
    assert BYTES_KEPT / 2 < kept * 60_000 < BYTES_KEPT  # stems take the rest
    assert reader.read(texts[0], stop_words=False) is not read[0]


def test_what_several_threads_read_at_once_is_kept_and_counted_once() -> None:
    reader = TextReader(Analyzer())
    texts = [prose(190_000, seed) for seed in range(20)]  # counted twice they would not all be kept
    with ThreadPoolExecutor(4) as pool:
        each = [text for text in texts for _ in range(4)]
        read = list(pool.map(lambda text: reader.read(text, stop_words=False), each))
    alone = TextReader(Analyzer())
    for place, text in enumerate(texts):
        handed_out = read[4 * place : 4 * place + 4]
        assert handed_out == [alone.read(text, stop_words=False)] * 4
        assert any(reader.read(text, stop_words=False) is one for one in handed_out)


def test_effort_counts_bytes_those_that_were_read_for_less() -> None:
    reader = TextReader(Analyzer())
    chat = [prose(100, seed) for seed in range(128)]
    assert len(chat) + reader.effort(chat, stop_words=False) <= ROWS_ON_THE_LOOP
    long = [prose(10_000, seed) for seed in range(4)]
    assert reader.effort(long, stop_words=False) > ROWS_ON_THE_LOOP
    for text in long:
        reader.read(text, stop_words=False)
    assert reader.effort(long, stop_words=False) < ROWS_ON_THE_LOOP
    assert reader.effort(long, stop_words=True) > ROWS_ON_THE_LOOP
    assert reader.effort([prose(10_000, seed) for seed in range(40)], stop_words=False) > ROWS_ON_THE_LOOP


async def seconds_of_this_thread(work: Awaitable[Any]) -> float:
    """How long the event loop's own thread was computing meanwhile; others may have been busy as well."""
    began = time.thread_time()
    await work
    return time.thread_time() - began


async def test_the_event_loop_does_not_read_long_memories(tmp_path: Path) -> None:
    async def embed(text: str) -> list[float]:
        return [1.0, len(text) % 7, 1.0]

    engine = EmbeddedEngine(tmp_path / "m.db")
    store = MemoryStore(client=engine, name="n", embed_fn=embed, retrieval="hybrid", default_threshold=2.0)
    await store.remember_many([prose(20_000, seed).decode() for seed in range(64)])
    await store.recall("nothing", namespace="elsewhere")
    # The loop would take 25 ms and more to read 1.3 MB.
    assert await seconds_of_this_thread(store.recall("where is word17 kept", reinforce=False)) < 0.01
    await store.close()
    await engine.close()


async def test_the_event_loop_does_not_choose_among_thousands(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    memories = random_memories(1, 2_500, 768)
    await write(engine, "n", memories)
    store = MemoryStore(client=engine, name="n", clock=lambda: NOW_MS, default_threshold=2.0)
    vector = np.asarray(memories[0].vector).tolist()
    times = [
        await seconds_of_this_thread(store.recall_by_vector(vector, k=500, diversity=0.5, reinforce=False))
        for _ in range(3)
    ]
    assert min(times) < 0.03
    await store.close()
    await engine.close()


async def test_the_event_loop_does_not_compare_whole_scopes(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    memories = [replace(one, created_at=NOW_MS) for one in random_memories(1, 3_000, 64)]
    await write(engine, "n", memories)
    narrow: Any = NarrowRecords(engine.records(memory_collection("n")))
    found: list[Any] = []

    async def compare() -> None:
        found.append(await compare_whole_scope(narrow, memories[0].vector.tobytes(), Filter(), most=None))

    times = [await seconds_of_this_thread(compare()) for _ in range(3)]
    assert [len(every) for every in found] == [len(memories)] * 3
    assert min(times) < 0.02
    await engine.close()
