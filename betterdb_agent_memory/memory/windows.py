"""The vectors of memories, turns of conversations among them, from the texts that each stands for."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.embedding import CheckedEmbedder, EmbeddedEach
from betterdb_agent_memory.memory.turns import TURN_FIELDS, Window, all_around, is_turn, stored_vectors, window_of

_NUMBERS_A_ROW = 32
"""Numbers of a turn's vector that take about as long to mix as one of the rows that `off_loop` counts in."""

_ROWS_A_WINDOW = 6
"""The same for finding a window among records: each of its turns is checked against its id."""


async def embed_windows(
    embedder: CheckedEmbedder,
    windows: Sequence[Window],
    dimensions: int | None,
    known: MutableMapping[str, bytes] | None = None,
) -> EmbeddedEach:
    """The vector of each window, or the error of its own text: one call for all texts, as `embed_each`.

    Many are mixed in a thread. A neighbour whose text could not be embedded is left out of the mix. `known` holds
    vectors of texts that need no embedding, and gets those that were made.
    """
    vectors: MutableMapping[str, bytes] = {} if known is None else known
    texts = [text for text in dict.fromkeys(text for one in windows for text in one.texts) if text not in vectors]
    made = await embedder.embed_each(texts, dimensions) if texts else EmbeddedEach()
    errors: dict[str, AgentMemoryError] = {}
    for text, vector in zip(texts, made, strict=True):
        if isinstance(vector, bytes):
            vectors[text] = vector
        else:
            errors[text] = vector
    stored = iter(await mixed_vectors([one for one in windows if one.own in vectors], vectors))
    return EmbeddedEach(
        (next(stored) if one.own in vectors else errors[one.own] for one in windows), given_up=made.given_up
    )


async def mixed_vectors(windows: Sequence[Window], vectors: Mapping[str, bytes]) -> list[bytes]:
    """As `stored_vectors`, in a thread where that would hold the event loop for more than about a millisecond."""
    turns = sum(window.is_turn for window in windows)
    dimensions = len(next(iter(vectors.values()), b"")) // 4
    rows = max(len(windows) // 4, turns * dimensions // _NUMBERS_A_ROW)
    # Another task may add to `vectors` meanwhile, and a thread must not see that happen.
    return await off_loop(rows, stored_vectors, windows, dict(vectors))


async def turn_windows(ids: Sequence[str], records: Mapping[str, Fields | None]) -> dict[str, tuple[Window, bytes]]:
    """The windows, and their marks, of those of `ids` that are turns in `records`; in a thread for many."""
    return await off_loop(_ROWS_A_WINDOW * len(ids), _windows, ids, records, True)


async def windows_of(ids: Sequence[str], records: Mapping[str, Fields | None]) -> dict[str, tuple[Window, bytes]]:
    """The windows of all of `ids`, and their marks; in a thread for many."""
    return await off_loop(_ROWS_A_WINDOW * len(ids), _windows, ids, records, False)


def _windows(
    ids: Sequence[str], records: Mapping[str, Fields | None], only_turns: bool
) -> dict[str, tuple[Window, bytes]]:
    found: dict[str, tuple[Window, bytes]] = {}
    for id in ids:
        fields = records[id]
        if not only_turns or (fields and record.is_memory(fields) and is_turn(id, fields)):
            window = window_of(id, records)
            found[id] = window, window.mark
    return found


async def read_around(
    records: Records, ids: Sequence[str], reach: int = 1, *, fields: Sequence[str] = TURN_FIELDS
) -> dict[str, Fields | None]:
    """The memories and up to `reach` turns around each, as far as windows need them. One round trip per 500."""
    wanted = [*dict.fromkeys(ids), *all_around(ids, reach)]
    return dict(zip(wanted, await records.read_many(wanted, fields), strict=True))
