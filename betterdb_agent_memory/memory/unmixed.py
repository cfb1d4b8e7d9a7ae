"""Turns whose vectors have to be mixed anew, noted on the engine before what is beside them comes or goes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.values import Reply, ValueBatch, Values

_PAGE: Final = 500

_GRACE_MS: Final = 10_000
"""How long a note is left to whoever wrote it, unless that was this process and it has ended."""

_PAUSE_SECONDS: Final = 60.0
"""How long notes that could not be worked off are left alone by this process."""


class Unmixed:
    """The notes of one store, in one map: `{name}:__mem_mending`.

    A field is `{turn's id}:{random}`, so that each note is its writer's own, and its value is when it was written (ms
    since the epoch). Whoever deletes a turn, or puts one behind another, notes those beside it first and takes the note
    back when they are mixed. So after a kill in between the note is there, and the next one who looks puts it right.
    """

    def __init__(self, values: Values, store_name: str) -> None:
        self._values = values
        self._map = f"{store_name}:__mem_mending"
        self._left: set[str] = set()
        self._paused_until = 0.0

    def ask(self, batch: ValueBatch) -> Reply[dict[str, bytes]]:
        """All notes, read with a batch that is sent anyway."""
        return batch.read_map(self._map)

    async def read(self) -> dict[str, bytes]:
        """All notes. One round trip."""
        return await self._values.read_map(self._map)

    async def note(self, ids: Sequence[str]) -> tuple[list[str], dict[str, bytes]]:
        """Note these turns; the fields written, and the notes of others. One round trip per 500."""
        batch = self._values.batch()
        others = batch.read_map(self._map)
        fields, replies = self.write(batch, ids)
        try:
            await batch.send()
            for reply in replies:
                reply.result()
        except BaseException:
            self.leave(fields)  # they may be there all the same
            raise
        return fields, others.result()

    def write(self, batch: ValueBatch, ids: Sequence[str]) -> tuple[list[str], list[Reply[None]]]:
        """Note these turns with a batch that is sent anyway; the fields that it writes, and its replies."""
        now = b"%d" % system_clock()
        token = uuid.uuid4().hex[:16]
        fields = [f"{id}:{token}" for id in ids]
        replies = [
            batch.write_map(self._map, dict.fromkeys(fields[start : start + _PAGE], now))
            for start in range(0, len(fields), _PAGE)
        ]
        return fields, replies

    def leave(self, fields: Iterable[str]) -> None:
        """Whoever wrote these has broken off: the next one need not wait."""
        self._left.update(fields)

    def due(self, notes: Mapping[str, bytes]) -> list[str]:
        """The notes that nobody works on any more; none for a minute after they could not be worked off."""
        if not notes or time.monotonic() < self._paused_until:
            return []
        since = system_clock() - _GRACE_MS
        return [field for field, at in notes.items() if field in self._left or not at.isdigit() or int(at) <= since]

    def pause(self) -> None:
        """They could not be worked off: not everybody who comes by shall pay for trying again."""
        self._paused_until = time.monotonic() + _PAUSE_SECONDS

    def resume(self) -> None:
        """Mixing works again: those that were left alone are looked at by the next one who comes by."""
        self._paused_until = 0.0

    async def clear(self, fields: Sequence[str]) -> None:
        """Take notes back. One round trip per 500, none for no notes."""
        if not fields:
            return
        batch = self._values.batch()
        replies = [
            batch.remove_fields(self._map, fields[start : start + _PAGE]) for start in range(0, len(fields), _PAGE)
        ]
        await batch.send()
        for reply in replies:
            reply.result()
        self._left.difference_update(fields)


def noted_ids(fields: Iterable[str]) -> list[str]:
    """The turns that notes are about.

    >>> noted_ids(["a-000001:x", "a-000001:y"])
    ['a-000001']
    """
    return list(dict.fromkeys(field.rpartition(":")[0] for field in fields))
