"""Texts that wait to be embedded, and who asked for them: the state behind `CoalescingEmbedder`.

Nothing here awaits or calls an embedder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.errors import EmbedderOverloadedError


class Caller:
    """One call for the vectors of some texts: `answered` is done when all came, or the first error did."""

    __slots__ = ("_missing", "answered", "error", "vectors")

    def __init__(self, count: int) -> None:
        self.vectors: list[VectorLike] = [()] * count
        self.error: Exception | None = None
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = count

    @property
    def has_left(self) -> bool:
        """Whether nothing is waited for any more: answered, failed or cancelled."""
        return self.answered.done()

    def receive(self, place: int, vector: VectorLike) -> None:
        """Take the vector of the text at `place`."""
        self.vectors[place] = vector
        self._missing -= 1
        if not self._missing and not self.answered.done():
            self.answered.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing more is waited for: this is the outcome, unless there is one already."""
        if not self.answered.done():
            self.error = error
            self.answered.set_result(None)


@dataclass(slots=True)
class Batch:
    """Different texts, and for each the callers that want its vector and the place they want it in."""

    is_query: bool
    wanted: dict[str, list[tuple[Caller, int]]] = field(default_factory=dict)

    @property
    def callers(self) -> set[Caller]:
        """Who asked for one of the texts."""
        return {caller for places in self.wanted.values() for caller, _ in places}

    @property
    def is_forsaken(self) -> bool:
        """Whether every caller has left."""
        return all(caller.has_left for places in self.wanted.values() for caller, _ in places)

    def answer(self, vectors: Sequence[VectorLike]) -> None:
        """Hand every caller the vectors it wants, `vectors` being in the order of the texts."""
        for places, vector in zip(self.wanted.values(), vectors, strict=True):
            for caller, place in places:
                caller.receive(place, vector)

    def fail(self, error: Exception) -> None:
        """Hand every caller this error."""
        for caller in self.callers:
            caller.fail(error)

    def by_caller(self) -> list[Batch]:
        """A batch for each caller, with the texts it wants; one that several want is in several."""
        parts: dict[Caller, Batch] = {}
        for text, places in self.wanted.items():
            for caller, place in places:
                part = parts.setdefault(caller, Batch(self.is_query))
                part.wanted.setdefault(text, []).append((caller, place))
        return list(parts.values())


class WaitingTexts:
    """A bounded queue of different texts, questions and documents apart."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = {True: Batch(True), False: Batch(False)}
        self._turns: dict[tuple[bool, str], None] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def has_room(self, count: int) -> bool:
        """Whether `count` more texts fit. An empty queue takes any call, however many texts it has."""
        return not self._turns or len(self._turns) + count <= self._most

    def add(self, caller: Caller, texts: Sequence[str], *, is_query: bool) -> int:
        """Queue what does not wait already, and return how many texts that spared.

        Raises `EmbedderOverloadedError`, with nothing queued, when the new ones do not fit.
        """
        wanted = self._waiting[is_query].wanted
        new = dict.fromkeys(text for text in texts if text not in wanted)
        if not self.has_room(len(new)):
            raise EmbedderOverloadedError(
                f"{len(self._turns)} texts wait to be embedded, the bound is {self._most}; "
                "ask less at once, or raise max_waiting or max_concurrency"
            )
        for text in new:
            self._turns[is_query, text] = None
        for place, text in enumerate(texts):
            wanted.setdefault(text, []).append((caller, place))
        return len(texts) - len(new)

    def take(self, max_queries: int, max_documents: int, max_bytes: int) -> Batch | None:
        """The texts whose turn it is, all questions or all documents; None when nothing waits."""
        first = next(iter(self._turns), None)
        if first is None:
            return None
        is_query = first[0]
        wanted = self._waiting[is_query].wanted
        most = max_queries if is_query else max_documents
        batch = Batch(is_query)
        total_bytes = 0
        for text in _first(wanted, most):
            total_bytes += utf8_bytes(text)
            if batch.wanted and total_bytes > max_bytes:
                break
            batch.wanted[text] = wanted[text]
        self._drop(is_query, batch.wanted)
        return batch

    def withdraw(self, caller: Caller, texts: Iterable[str], *, is_query: bool) -> None:
        """Forget that `caller` wants these; a text that nobody else wants is not embedded."""
        wanted = self._waiting[is_query].wanted
        for text in dict.fromkeys(texts):
            if text in wanted:
                wanted[text] = [entry for entry in wanted[text] if entry[0] is not caller]
                if not wanted[text]:
                    self._drop(is_query, [text])

    def fail_all(self, error: Exception) -> None:
        """Empty the queue, with this error for everyone who waits."""
        for is_query, batch in self._waiting.items():
            batch.fail(error)
            self._drop(is_query, list(batch.wanted))

    def _drop(self, is_query: bool, texts: Iterable[str]) -> None:
        wanted = self._waiting[is_query].wanted
        for text in texts:
            del wanted[text]
            del self._turns[is_query, text]


def utf8_bytes(text: str) -> int:
    """Length of a text in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def _first(texts: Iterable[str], count: int) -> list[str]:
    return [text for _, text in zip(range(count), texts, strict=False)]
