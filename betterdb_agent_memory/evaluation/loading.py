"""Entries into a store, as an agent would have remembered them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.evaluation.dataset import Collection, Entry
from betterdb_agent_memory.memory.drafts import RememberResult
from betterdb_agent_memory.memory.store import MemoryStore


class StoryClock:
    """The time in the story that a dataset tells: milliseconds since the epoch; without a story the clock's."""

    def __init__(self) -> None:
        self._told_ms: int | None = None

    def __call__(self) -> int:
        """Now."""
        return system_clock() if self._told_ms is None else self._told_ms

    def move_to(self, time_ms: int | None) -> None:
        """From here on it is `time_ms`; None is not known, and nothing changes."""
        self._told_ms = self._told_ms if time_ms is None else time_ms


async def load(memory: MemoryStore, collection: Collection, clock: StoryClock) -> dict[str, str]:
    """Remember the entries: those of a session as turns of a conversation, others one by one in order.

    `clock`, which is to be that of the store, moves along: a session is remembered when it has ended, so that its
    memories are as old as they would be.

    Returns which entry each memory is, by the ids of the memories. About one round trip per 500 memories, and one
    call of the embedder.

    Raises:
        InvalidInputError: an entry was refused; the message names it.
    """
    own: dict[str, str] = {}
    for session, group in groupby(collection.entries, key=lambda entry: entry.session):
        entries = list(group)
        clock.move_to(
            max((entry.occurred_at_ms for entry in entries if entry.occurred_at_ms is not None), default=None)
        )
        if session is None:
            results = await memory.remember_many(
                [{"content": entry.spoken, "occurred_at": entry.occurred_at_ms} for entry in entries]
            )
        else:
            results = await memory.remember_conversation(
                [
                    {"content": entry.text, "speaker": entry.speaker, "occurred_at": entry.occurred_at_ms}
                    for entry in entries
                ],
                session=session,
            )
        own |= _named(collection, entries, results)
    return own


def _named(collection: Collection, entries: Sequence[Entry], results: Sequence[RememberResult]) -> dict[str, str]:
    own = {}
    for entry, result in zip(entries, results, strict=True):
        if result.id is None or result.outcome == "rejected":
            raise InvalidInputError(f"memory {entry.id!r} of {collection.id} was refused: {result.error}")
        own[result.id] = entry.id
    return own
