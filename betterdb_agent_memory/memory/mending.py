"""Keeping the vectors of turns in step with the turns before and after them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import IndexMismatchError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.turns import is_turn, window_of
from betterdb_agent_memory.memory.windows import embed_windows, read_around

_ATTEMPTS = 20
_BATCH = 250


class Mender:
    """Mixes the vectors of turns anew after something in their windows has changed.

    Whoever writes a turn looks at its neighbours after that, and whoever has written a mix looks once more at what
    it was made of. So the last of several who write at once sees what all of them wrote. Who is killed in between
    leaves turns that are found through the window they had.
    """

    def __init__(self, records: Records, models: Models, follower: Follower) -> None:
        self._records = records
        self._models = models
        self._follower = follower

    async def mend(
        self,
        ids: Sequence[str],
        *,
        layout: Layout | None = None,
        known: MutableMapping[str, bytes] | None = None,
        marks: Mapping[str, bytes] | None = None,
    ) -> None:
        """Give those of `ids` that are turns the vectors of their windows as these are now.

        `known` are vectors of texts made with `layout`, `marks` tell for which window a turn has its vector
        already. One round trip where all have it, else three, for each 250 of them; an embedding call for texts
        that are not known.

        Raises:
            EmbeddingError: a text that is needed could not be embedded.
            ConfigurationError: there is something to be mixed, and the store has no embedder.
        """
        vectors = {} if known is None else known
        stand = dict(marks or {})
        layout = layout or await self._models.layout()
        for start in range(0, len(ids), _BATCH):
            layout = await self._mend(ids[start : start + _BATCH], vectors, stand, layout)
        await self._follower.follow(layout.generation, ids)

    async def put(
        self,
        ids: Sequence[str],
        records: Mapping[str, Fields | None],
        known: MutableMapping[str, bytes],
        layout: Layout,
    ) -> dict[str, bytes]:
        """Give turns the vectors of their windows among `records`; the marks of those that still say the same.

        One round trip, and an embedding call for texts that are not `known`. Raises as `mend`.
        """
        space = layout.main
        space.embedder.require("mixing a turn's vector with those next to it")
        dimensions = await space.index.find(space.embedder.dimensions)
        windows = {id: window_of(id, records) for id in ids}
        made = await embed_windows(space.embedder, list(windows.values()), dimensions, known)
        changes: list[RecordChange] = []
        for id, vector in zip(ids, made, strict=True):
            if not isinstance(vector, bytes):
                raise vector
            said = (records[id] or {})[record.CONTENT]
            changes.append(RecordChange(id, expected={record.CONTENT: said}, sets={record.VECTOR: vector}))
        outcomes = await self._records.change_many(changes)
        return {id: windows[id].mark for id, outcome in zip(ids, outcomes, strict=True) if outcome is Outcome.CHANGED}

    async def _mend(
        self, ids: Sequence[str], known: MutableMapping[str, bytes], marks: dict[str, bytes], layout: Layout
    ) -> Layout:
        # Who is overtaken every time leaves it to those that overtake: each of them looks at the window, too.
        for _ in range(_ATTEMPTS):
            records = await read_around(self._records, ids)
            turns = [id for id in ids if (fields := records[id]) and record.is_memory(fields) and is_turn(id, fields)]
            behind = [id for id in turns if marks.get(id) != window_of(id, records).mark]
            if not behind:
                break
            try:
                marks |= await self.put(behind, records, known, layout)
            except (IndexMismatchError, InvalidInputError) as refusal:  # vectors for an index that has gone meanwhile
                layout = await self._models.moved_from(layout, refusal)
                known.clear()
                marks |= await self.put(behind, records, known, layout)
        return layout
