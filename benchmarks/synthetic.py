"""Stores full of made memories, the same for a size and a vector length wherever they are made.

Vectors gather around 200 topics, whose popularity follows Zipf's law as that of words does. A text is
20 words: half of them the small words of English, half drawn from 20,000 made ones by Zipf's law
again, so that a few words are everywhere and most are rare, as in real texts. A question is asked of one memory: its
vector lies near, and three of its rarer words stand in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import sleep
from uuid import UUID

import numpy as np
import valkey
from numpy.typing import NDArray

from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.memory import record

TOPICS = 200
CHUNK = 1_000
"""Memories made at once, by a generator of random numbers of their own: any of them can be made again alone."""

SIZES_OF_NAMESPACES = (100, 300, 1_000, 3_000, 10_000, 30_000)
"""Memories in the namespaces `s100`, `s300` and so on, as far as a store reaches; the rest has none."""

_SEED = 20261121
_VOCABULARY = 20_000
_WORDS_OF_A_TEXT = 20
_DAY_MS = 24 * 3600 * 1000
_SMALL_WORDS = (
    *("the", "a", "to", "and", "of", "in", "is", "it", "that", "for", "on", "with", "was", "we", "my", "they"),
    *("she", "he", "at", "from", "this", "but", "have", "about", "had", "not", "as", "be"),
)
_SENTENCES = (
    "What did we say about the {0} {1} and the {2}?",
    "When was the {0} moved to {1}, and was {2} there?",
    "Who has the {0} for our {1} {2}?",
    "Why does the {0} need a {1} before the {2}?",
    "Which {0} do I use with {1} and {2}?",
    "How many {0} are left in the {1} {2}?",
    "Where did she put the {0} of the {1}, near the {2}?",
    "Is the {0} still waiting for {1} or for {2}?",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A text with its vector, and which memory it is asked of."""

    text: str
    vector: NDArray[np.float32]
    memory: int

    def scope(self, kind: str) -> dict[str, str]:
        """The arguments that narrow a recall to the scope this memory is in."""
        return scope_of(self.memory, kind)


def scope_of(memory: int, kind: str) -> dict[str, str]:
    """`1%` is one of 100 threads, `10%` one of 10 agents, `100%` no scope at all, `s100` that namespace."""
    match kind:
        case "1%":
            return {"thread_id": f"t{memory % 100}"}
        case "10%":
            return {"agent_id": f"a{memory % 10}"}
        case "100%":
            return {}
    return {"namespace": kind}


class Corpus:
    """The memories of one vector length; a store of `size` has the first `size` of them."""

    def __init__(self, dimensions: int, now_ms: int) -> None:
        self.dimensions = dimensions
        self._now_ms = now_ms
        random = np.random.default_rng(_SEED)
        self._topics = unit(random.normal(size=(TOPICS, dimensions)))
        self._popularity = zipf(TOPICS)
        self._frequency = zipf(_VOCABULARY)
        self._words = _made_words(random)

    def writes(self, size: int) -> Iterator[list[RecordWrite]]:
        """The first `size` memories as they are stored, a chunk at a time."""
        for first in range(0, size, CHUNK):
            numbers, vectors, ages, importances, ids = self._chunk(first)
            yield [
                self._write(first + place, numbers[place], vectors[place], ages[place], importances[place], ids[place])
                for place in range(min(CHUNK, size - first))
            ]

    def ids_and_vectors(self, size: int) -> tuple[list[str], NDArray[np.float32]]:
        """What the first `size` memories are found by, in the order of their numbers: ids, and an array (size, d)."""
        ids: list[str] = []
        vectors = np.empty((size, self.dimensions), dtype=np.float32)
        for first in range(0, size, CHUNK):
            made = self._chunk(first)
            there = min(CHUNK, size - first)
            vectors[first : first + there] = made[1][:there]
            ids += [_id(one) for one in made[4][:there]]
        return ids, vectors

    def questions(self, count: int, among: range) -> list[Question]:
        """Questions of memories of these numbers, each of another text."""
        random = np.random.default_rng(_SEED + 1)
        chunks = sorted({int(number) // CHUNK for number in random.integers(among.start, among.stop, 16)})
        made = {number: self._chunk(number * CHUNK) for number in chunks}
        questions: dict[str, Question] = {}
        while len(questions) < count:
            chunk = int(random.choice(chunks))
            first = chunk * CHUNK
            place = int(random.integers(max(among.start - first, 0), min(CHUNK, among.stop - first)))
            numbers, vectors, *_ = made[chunk]
            rarer = sorted(set(numbers[place].tolist()))[-6:]
            words = [self._words[number] for number in random.permutation(rarer)[:3]]
            sentence = _SENTENCES[int(random.integers(len(_SENTENCES)))]
            noise = random.normal(scale=0.6 / np.sqrt(self.dimensions), size=self.dimensions)
            vector = unit((vectors[place] + noise)[None, :])[0].astype(np.float32)
            text = sentence.format(*words, *[words[0]] * (3 - len(words)))
            # The same words again would be the same text: a recall that shares work would ask once for both.
            questions.setdefault(text, Question(text, vector, first + place))
        return list(questions.values())

    def _chunk(
        self, first: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
        """Numbers of words, vectors, ages in ms, importances and ids of a chunk."""
        random = np.random.default_rng((_SEED, self.dimensions, first))
        topics = self._topics[random.choice(TOPICS, size=CHUNK, p=self._popularity)]
        noise = random.normal(scale=0.7 / np.sqrt(self.dimensions), size=(CHUNK, self.dimensions))
        numbers = random.choice(_VOCABULARY, size=(CHUNK, _WORDS_OF_A_TEXT // 2), p=self._frequency)
        ages = random.uniform(0, 30 * _DAY_MS, CHUNK)
        importances = random.beta(2, 2, CHUNK).round(2)
        ids = random.integers(0, 256, size=(CHUNK, 16), dtype=np.uint8)
        return numbers, unit(topics + noise).astype(np.float32), ages, importances, ids

    def _write(
        self,
        number: int,
        words: NDArray[np.int64],
        vector: NDArray[np.float32],
        age_ms: float,
        importance: float,
        id: NDArray[np.uint8],
    ) -> RecordWrite:
        small = [_SMALL_WORDS[(number * 7 + place * 3) % len(_SMALL_WORDS)] for place in range(len(words))]
        text = " ".join(f"{little} {self._words[word]}" for little, word in zip(small, words, strict=True))
        memory = record.NewMemory(
            id=_id(id),
            content=text,
            importance=float(importance),
            created_at_ms=self._now_ms - int(age_ms),
            tags=("bench",),
            thread_id=scope_of(number, "1%")["thread_id"],
            agent_id=scope_of(number, "10%")["agent_id"],
            namespace=namespace_of(number),
        )
        return RecordWrite(memory.id, record.encode_memory(memory, vector.tobytes()))


def namespace_of(memory: int) -> str | None:
    """The namespace of a memory, None behind the last one."""
    for size in SIZES_OF_NAMESPACES:
        if memory < size:
            return f"s{size}"
        memory -= size
    return None


def members_of_namespace(size: int) -> range:
    """The numbers of the memories in the namespace of `size` memories."""
    first = sum(SIZES_OF_NAMESPACES[: SIZES_OF_NAMESPACES.index(size)])
    return range(first, first + size)


def load(client: valkey.Valkey, name: str, writes: Iterator[Sequence[RecordWrite]]) -> None:
    """Write memories past the package, as the bytes that it would write; the index must be there already."""
    for chunk in writes:
        for start in range(0, len(chunk), 500):
            pipeline = client.pipeline(transaction=False)
            for write in chunk[start : start + 500]:
                pipeline.hset(f"{name}:mem:{write.id}", mapping=dict(write.fields))
            pipeline.execute()


def stored(client: valkey.Valkey, name: str) -> int:
    """How many memories the index of a store has, once it is complete; 0 without an index."""
    while True:
        try:
            info = client.execute_command("FT.INFO", f"{name}:mem:idx")
        except valkey.ResponseError:
            return 0
        pairs = dict(zip(info[::2], info[1::2], strict=True))
        # RediSearch looks at every key of the server for a new index, those of other stores too.
        if not int(pairs[b"indexing"]):
            return int(pairs[b"num_docs"])
        sleep(0.2)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same directions with length 1, row by row."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def zipf(count: int) -> NDArray[np.float64]:
    """Shares of `count` things, the n-th with 1/n of the first's."""
    shares = 1 / np.arange(1, count + 1)
    return np.asarray(shares / shares.sum())


def _id(drawn: NDArray[np.uint8]) -> str:
    return str(UUID(bytes=drawn.tobytes(), version=4))


def _made_words(random: np.random.Generator) -> list[str]:
    """Words of two to four syllables, the frequent ones short, each another one."""
    onsets, vowels = [*"bcdfghklmnprstvw", "br", "cl", "dr", "fl", "gr", "pl", "st", "tr"], "aeiou"
    words: dict[str, None] = {}
    while len(words) < _VOCABULARY:
        syllables = 2 + min(2, len(words) // 2_000)
        parts = [onsets[random.integers(len(onsets))] + vowels[random.integers(len(vowels))] for _ in range(syllables)]
        words.setdefault("".join(parts) + onsets[random.integers(16)], None)
    return list(words)
