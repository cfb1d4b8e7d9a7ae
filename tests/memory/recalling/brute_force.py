"""What recall ought to find, by looking at every memory: written from the documentation, with none of its code."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory import HybridOptions, RecallWeights
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection

NOW_MS = 1_750_000_000_000
DAY_MS = 86_400_000
WORDS = tuple(
    "stone river lamp cloud garden window bridge forest harbor engine paper silver copper winter summer".split()  # noqa: SIM905
)
NAMES = ("Ada", "Bo", "Cleo")


@dataclass(frozen=True, eq=False)
class Memory:
    """One memory of a random store."""

    id: str
    text: str
    vector: NDArray[np.float32]
    importance: float
    created_at: int
    thread: str
    session: str | None
    turn: int | None
    speaker: str | None
    occurred_at: int | None


@dataclass(frozen=True)
class Settings:
    """What a recall goes by."""

    weights: RecallWeights
    threshold: float = 2.0
    half_life_seconds: float = 604_800.0
    hybrid: HybridOptions | None = None
    words: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    days: tuple[tuple[int, int], ...] = field(default=())
    """Half open, in ms."""


def random_memories(seed: int, count: int, dimensions: int = 8) -> list[Memory]:
    """Memories with rare and common words, equal vectors, importances and times at the ends, turns of sessions."""
    chance = random.Random(seed)
    numbers = np.random.default_rng(seed)
    frequent = [1 / (rank + 1) for rank in range(len(WORDS))]
    vectors = numbers.standard_normal((count, dimensions)).astype(np.float32)
    memories = []
    for place in range(count):
        is_turn = chance.random() < 0.5
        copied = place and chance.random() < 0.1
        memories.append(
            Memory(
                id=f"m{place:05d}",
                text=" ".join(chance.choices(WORDS, frequent, k=chance.randrange(1, 12))),
                vector=vectors[chance.randrange(place)] if copied else vectors[place],
                importance=chance.choice([0.0, 0.5, 1.0, round(chance.random(), 3)]),
                created_at=NOW_MS - chance.choice([0, DAY_MS, chance.randrange(100 * DAY_MS)]),
                thread=chance.choice(["t1", "t2"]),
                session=chance.choice(["s1", "s2", "s3"]) if is_turn else None,
                turn=chance.randrange(count) if is_turn else None,
                speaker=chance.choice([*NAMES, None]),
                occurred_at=NOW_MS - chance.randrange(50 * DAY_MS) if chance.random() < 0.5 else None,
            )
        )
    return memories


async def write(engine: Engine, name: str, memories: Sequence[Memory]) -> None:
    """Put them into the store `name` as they are."""
    records = engine.records(memory_collection(name))
    await records.prepare(len(memories[0].vector))
    writes = [
        RecordWrite(
            one.id,
            encode_memory(
                NewMemory(
                    one.id,
                    one.text,
                    one.importance,
                    one.created_at,
                    thread_id=one.thread,
                    occurred_at_ms=one.occurred_at,
                    session=one.session,
                    turn=one.turn,
                    speaker=one.speaker,
                ),
                one.vector.tobytes(),
            ),
        )
        for one in memories
    ]
    for start in range(0, len(writes), 500):
        await records.write_many(writes[start : start + 500])


def scores_of(
    memories: Sequence[Memory], vector: NDArray[np.float32], settings: Settings
) -> list[tuple[float, int, str]]:
    """Score, time of writing and id of every related memory, best first."""
    matrix = np.array([one.vector for one in memories], dtype=np.float64)
    query = vector.astype(np.float64)
    cosines = matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
    distances = 1 - cosines
    related = distances <= settings.threshold
    similarity = 1 - distances / 2
    if settings.hybrid is not None:
        similarity, holds = _relevance(memories, similarity, settings, settings.hybrid)
        related = related | holds
    ages = np.array([(NOW_MS - one.created_at) / 1000 for one in memories])
    weights = settings.weights
    totals = (
        weights.similarity * similarity
        + weights.recency * 0.5 ** (ages / settings.half_life_seconds)
        + weights.importance * np.array([one.importance for one in memories])
    )
    ranked = [
        (float(total), one.created_at, one.id)
        for total, one, counts in zip(totals, memories, related, strict=True)
        if counts
    ]
    return sorted(ranked, key=lambda row: (-row[0], -row[1], row[2]))


def _relevance(
    memories: Sequence[Memory], similarity: NDArray[np.float64], settings: Settings, options: HybridOptions
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    texts = [Counter(one.text.split()) for one in memories]
    size = len(memories)
    rarity = {}
    for word in settings.words:
        having = sum(word in text for text in texts)
        if having:
            rarity[word] = math.log(1 + (size - having + 0.5) / (having + 0.5))
    own = np.zeros(size)
    for place, text in enumerate(texts):
        length = sum(text.values()) / options.typical_words
        damping = options.saturation * (1 - options.length_normalization + options.length_normalization * length)
        for word, worth in rarity.items():
            if text[word]:
                own[place] += worth * text[word] / (text[word] + damping)
    own /= sum(rarity.values()) or 1.0
    places: dict[tuple[str, str, int], list[int]] = {}
    for place, one in enumerate(memories):
        if one.session is not None and one.turn is not None:
            places.setdefault((one.thread, one.session, one.turn), []).append(place)
    words = own.copy()
    for (thread, session, turn), beside in places.items():
        around = [other for step in (-1, 1) for other in places.get((thread, session, turn + step), [])]
        for place in beside:
            words[place] = max([own[place], *(options.neighbour_share * own[other] for other in around)])
    moments = [one.created_at if one.occurred_at is None else one.occurred_at for one in memories]
    date = np.array([float(any(start <= moment < end for start, end in settings.days)) for moment in moments])
    actor = np.array([float(one.speaker in settings.names) for one in memories])
    weights = (options.similarity_weight, options.words_weight, options.date_weight, options.actor_weight)
    mean = sum(w * sign for w, sign in zip(weights, (similarity, words, date, actor), strict=True)) / sum(weights)
    return np.asarray(mean), (words > 0) | (date > 0)
