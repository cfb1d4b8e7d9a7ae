"""Systems that need no store: the bounds, and what a formula would do. Vectors are numpy arrays in this process.

`ideal` knows the model, its numbers and the truth, and answers by the odds of need: nobody who sees only what is
said and asked can do better on average. `Ranked` remembers everything in arrays and ranks it by a formula of
`formulas.py`: with similarity alone it is the lower bound, and with any other it says what the formula is worth
before a store computes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.driving import Hit, K, Reference
from benchmarks.simulation.events import Answers, Found, Night, Say, Size
from benchmarks.simulation.formulas import Chain, Formula, Traces
from benchmarks.simulation.model import Model
from benchmarks.simulation.world import Life
from betterdb_agent_memory.embedders import WordLlamaEmbedder

Vectors = NDArray[np.float64]
DIMENSIONS = 256
RELIABILITY = Model().reliability


def ideal(life: Life) -> Answers:
    """The answers of whoever knows all but the dice; never wrong about the truth, and sure of it."""
    said = 0
    sizes = []
    for event in life.events:
        if isinstance(event, Say):
            said += 1
        elif isinstance(event, Night):
            sizes.append(Size(event.day, said, said))
    hits = {ask.id: [Found(statement) for statement in life.ideal[ask.id][:K]] for ask in life.asked()}
    return Answers(hits, sizes, 0.0, 0.0)


class Embedded:
    """Vectors of texts, of length 1; each text is embedded once."""

    def __init__(self) -> None:
        self._model = WordLlamaEmbedder()
        self._vectors: dict[str, Vectors] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Embed those that are not there yet, all at once."""
        missing = sorted(set(texts) - self._vectors.keys())
        if missing:
            made = np.asarray(asyncio.run(self._model.embed_documents(missing)), dtype=np.float64)
            made /= np.linalg.norm(made, axis=1, keepdims=True)
            self._vectors |= dict(zip(missing, made, strict=True))

    def of(self, text: str) -> Vectors:
        if text not in self._vectors:
            self.learn([text])
        return self._vectors[text]


_COLUMNS = (
    *("importance", "created_ms", "recalls", "recalled_ms", "uses", "successes", "helped_ms"),
    *("working", "core", "strength_ms", "reliability"),
)


class Ranked:
    """A system of arrays that ranks by a formula the `candidates` nearest to the question.

    What a correction replaces is gone; what is contradicted is doubted.
    """

    def __init__(
        self, embedded: Embedded, formula: Formula, *, candidates: int = 64, confidence: Formula | None = None
    ) -> None:
        self._embedded = embedded
        self._formula = formula
        self._confidence = confidence
        self._candidates = candidates
        self._chain = formula if isinstance(formula, Chain) else Chain()
        self._now_ms = 0.0
        self._length = 0
        self._vectors = np.zeros((0, DIMENSIONS))
        self._columns = {name: np.zeros(0) for name in (*_COLUMNS, "doubted", "gone")}

    def advance(self, now_ms: int) -> None:
        self._now_ms = float(now_ms)

    def remember(self, said: Say) -> Reference:
        if self._length == len(self._vectors):
            more = max(256, self._length)
            self._vectors = np.concatenate([self._vectors, np.zeros((more, DIMENSIONS))])
            self._columns = {name: np.concatenate([column, np.zeros(more)]) for name, column in self._columns.items()}
        place = self._length
        self._length += 1
        self._vectors[place] = self._embedded.of(said.text)
        times = dict.fromkeys(("created_ms", "recalled_ms", "helped_ms", "strength_ms"), self._now_ms)
        stored = {"importance": said.importance, "working": 1.0, "reliability": RELIABILITY[said.kind], **times}
        for name, value in stored.items():
            self._columns[name][place] = value
        return str(place)

    def replace(self, said: Say, old: Reference) -> Reference:
        self._columns["gone" if said.how == "correct" else "doubted"][int(old)] = 1.0
        return self.remember(said)

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        there = np.flatnonzero(self._columns["gone"][: self._length] == 0)
        likeness = self._vectors[there] @ self._embedded.of(" ".join((question, *context)))
        nearest = np.argsort(-likeness, kind="stable")[: self._candidates]
        traces = self._traces(there[nearest], likeness[nearest])
        best = np.argsort(-self._formula(traces), kind="stable")[:k]
        sure = [None] * len(best) if self._confidence is None else self._confidence(traces)[best].tolist()
        places = there[nearest][best]
        self._columns["recalls"][places] += 1
        self._columns["recalled_ms"][places] = self._now_ms
        self._strengthen(places, self._chain.recall_share)
        return [Hit(str(place), one) for place, one in zip(places, sure, strict=True)]

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        places = np.array([int(reference) for reference in used])
        self._columns["uses"][places] += 1
        if value > 0:
            self._columns["successes"][places] += 1
            self._columns["helped_ms"][places] = self._now_ms
            self._strengthen(places, 1.0)

    def night(self, day: int) -> None:
        """Nothing: what a formula says follows from the time alone."""

    def size(self) -> tuple[int, int]:
        return self._length, self._length - int(self._columns["gone"].sum())

    def _traces(self, places: NDArray[np.int64], likeness: Vectors) -> Traces:
        columns = {name: self._columns[name][places] for name in _COLUMNS}
        return Traces(self._now_ms, likeness, doubted=self._columns["doubted"][places] > 0, **columns)

    def _strengthen(self, places: NDArray[np.int64], share: float) -> None:
        working, core = self._chain.used(self._traces(places, np.zeros(len(places))), share)
        self._columns["working"][places] = working
        self._columns["core"][places] = core
        self._columns["strength_ms"][places] = self._now_ms
