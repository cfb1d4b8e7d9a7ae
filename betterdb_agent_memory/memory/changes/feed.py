"""The change feed of one store: whether it is on, as far as this worker knows, and what is told in it."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.event_log import Announcement, Deed, EventLog, LogState, Retention
from betterdb_agent_memory.memory.changes.cause import present_cause
from betterdb_agent_memory.memory.changes.change import COPIED, KIND, MEMORY, REASON, ChangeKind
from betterdb_agent_memory.options import ChangeFeedOptions

FEED_FIELD = "feed"
"""Where the feed is noted in the map that every worker of a store reads every ten seconds anyway."""

NOTICED_SECONDS = 10.0
"""By then every worker knows that the feed was switched on, but for calls that had begun before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Noted:
    """What the note says: what is kept, and which share of reinforcements is told."""

    retention: Retention
    reinforced_share: float

    def encoded(self) -> bytes:
        kept = self.retention
        said = {"max_changes": kept.max_entries, "reinforced_share": self.reinforced_share}
        if kept.max_age_seconds is not None:
            said["max_age_seconds"] = kept.max_age_seconds
        return json.dumps(said).encode()

    @classmethod
    def decoded(cls, stored: bytes) -> _Noted | None:
        """None for a note that another release may have written and this one cannot read."""
        try:
            said = json.loads(stored)
            age = said.get("max_age_seconds")
            retention = Retention(int(said["max_changes"]), None if age is None else int(age))
            return cls(retention, float(said["reinforced_share"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def feed_key(name: str) -> str:
    """Where the changes of the store called `name` are told."""
    return f"{name}:__changes"


class Feed:
    """Tells what happens to memories, while the feed is on; `Announcing` for the store's records.

    With `options` it is switched on before the first write. `sample` draws a number from 0 to 1.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        note_key: str,
        options: ChangeFeedOptions | None,
        sample: Callable[[], float] = random.random,
    ) -> None:
        self.key = feed_key(name)
        self.log: EventLog = engine.event_log(self.key)
        self._values = engine.values
        self._name = name
        self._note_key = note_key
        self._options = options
        self._sample = sample
        self._noted: _Noted | None = None

    @property
    def is_on(self) -> bool:
        """Whether changes are told, as far as this worker knows."""
        return self._noted is not None

    async def note_read(self, fields: Mapping[str, bytes]) -> None:
        """What stands in the map that all workers read: whether somebody switched the feed on or off.

        No round trip, but where this worker was told to switch it on and nobody has.
        """
        stored = fields.get(FEED_FIELD)
        self._noted = None if stored is None else _Noted.decoded(stored)
        if stored is not None and self._noted is None:
            _log.warning("the note about the change feed of store %s cannot be read: %r", self._name, stored[:100])
        if stored is None and self._options is not None:
            await self.open()

    async def open(self) -> LogState:
        """Switch the feed on, if it is not; how the log is. Up to 3 round trips. The first opener says what is kept."""
        options = self._options or ChangeFeedOptions()
        state = await self.log.open(Retention(options.max_changes, options.max_age_seconds))
        if self._noted is None:
            noted = _Noted(state.retention, options.reinforced_share)
            await self._values.write_map(self._note_key, {FEED_FIELD: noted.encoded()})
            self._noted = noted
        return state

    async def close(self) -> bool:
        """Switch the feed off and delete it with its groups; false where it was off. 3 round trips."""
        await self._values.remove_fields(self._note_key, (FEED_FIELD,))
        self._noted = None
        self._options = None
        return await self.log.drop()

    def of(self, deed: Deed, id: str) -> Announcement | None:
        """What is to be told if this is done to a memory now; None for nothing."""
        del id
        noted = self._noted
        if noted is None:
            return None
        cause = present_cause()
        if deed == "change" and cause.kind is None:
            return None
        if cause.kind == "reinforced" and self._sample() >= noted.reinforced_share:
            return None
        # A whole record tells itself what it is: work that replaces memories writes their successors, too.
        kind: ChangeKind = "remembered" if deed == "write" else cause.kind or "forgotten"
        changed = _said("updated", cause.reason) if deed == "write" else None
        return Announcement(self.key, noted.retention, MEMORY, COPIED, _said(kind, cause.reason), changed)


def _said(kind: ChangeKind, reason: str | None) -> dict[str, bytes]:
    said = {KIND: kind.encode()}
    if reason is not None:
        said[REASON] = reason.encode()
    return said
