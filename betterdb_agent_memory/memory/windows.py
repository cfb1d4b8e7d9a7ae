"""The vectors of memories, turns of conversations among them, from the texts that each stands for."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory.embedding import CheckedEmbedder, EmbeddedEach
from betterdb_agent_memory.memory.turns import TURN_FIELDS, Window, all_around, stored_vectors


async def embed_windows(
    embedder: CheckedEmbedder,
    windows: Sequence[Window],
    dimensions: int | None,
    known: MutableMapping[str, bytes] | None = None,
) -> EmbeddedEach:
    """The vector of each window, or the error of its own text: one call for all texts, as `embed_each`.

    A neighbour whose text could not be embedded is left out of the mix. `known` holds vectors of texts that need no
    embedding, and gets those that were made.
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
    stored = iter(stored_vectors([one for one in windows if one.own in vectors], vectors))
    return EmbeddedEach(
        (next(stored) if one.own in vectors else errors[one.own] for one in windows), given_up=made.given_up
    )


async def read_around(
    records: Records, ids: Sequence[str], reach: int = 1, *, fields: Sequence[str] = TURN_FIELDS
) -> dict[str, Fields | None]:
    """The memories and up to `reach` turns around each, as far as windows need them. One round trip per 500."""
    wanted = [*dict.fromkeys(ids), *all_around(ids, reach)]
    return dict(zip(wanted, await records.read_many(wanted, fields), strict=True))
