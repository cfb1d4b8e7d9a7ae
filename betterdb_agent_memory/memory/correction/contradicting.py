"""Memories that speak against others: the others stay, and are trusted less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError, VersionConflictError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.correction.lineage import lineage_field, reliability_of
from betterdb_agent_memory.memory.correction.living import Living, Refusal
from betterdb_agent_memory.memory.dynamics_fields import CONTRADICTED_BY, RELIABILITY, decode_names
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.spelling import number_text
from betterdb_agent_memory.memory.standing.confidence import CONTRADICTED

_ATTEMPTS = 10


class Contradictor:
    """Notes in memories which others contradict them."""

    def __init__(self, records: Records, living: Living, models: Models, follower: Follower) -> None:
        self._records = records
        self._living = living
        self._models = models
        self._follower = follower

    async def contradict(self, id: str, by: str) -> bool:
        """Whether memory `by` was noted to contradict `id` by this; false where it was already.

        Raises as `MemoryStore.contradict`.
        """
        if id == by:
            raise InvalidInputError(f"memory {id!r} can neither supersede nor contradict itself")
        generation = (await self._models.layout()).generation
        former, _ = await self._living.require([id, by])
        noted = (await self.note({id: [by]}, {id: former}, generation))[id]
        if isinstance(noted, AgentMemoryError):
            raise noted
        return noted

    async def look(self, ids: Sequence[str]) -> dict[str, Fields | Refusal]:
        """What these memories hold, for `note`, or why they cannot be contradicted. None or one round trip, two where
        some are not there.
        """
        wanted = [*dict.fromkeys(ids)]
        return dict(zip(wanted, await self._living.look(wanted), strict=True)) if wanted else {}

    async def note(
        self, claims: Mapping[str, Sequence[str]], held: Mapping[str, Fields], generation: Generation | None
    ) -> dict[str, bool | Refusal]:
        """Whether each of the memories `claims` was noted to be contradicted by those named beside it; false where it
        was already, and why not where it is gone by now.

        `held` is what they held when they were last looked at. One round trip, and two for each time that somebody
        else changed one meanwhile.

        Raises:
            VersionConflictError: others changed one again and again.
        """
        results: dict[str, bool | Refusal] = {}
        known: dict[str, Fields | Refusal] = {id: held[id] for id in claims}
        for _ in range(_ATTEMPTS):
            changes = []
            for id, fields in known.items():
                if isinstance(fields, Refusal):
                    results[id] = fields
                elif (change := _contradicted(id, fields, claims[id])) is None:
                    results[id] = False
                else:
                    changes.append(change)
            if not changes:
                break
            with because("updated", "contradicted"):
                outcomes = await self._records.change_many(changes)
            done = [change.id for change, outcome in zip(changes, outcomes, strict=True) if outcome is Outcome.CHANGED]
            results |= dict.fromkeys(done, True)
            await self._follower.follow(generation, done)
            left = [change.id for change in changes if change.id not in results]
            known = await self.look(left)
        if left := [id for id in claims if id not in results]:
            raise VersionConflictError(
                f"memory {left[0]!r} was changed by others {_ATTEMPTS} times meanwhile; try again"
            )
        return results


def _contradicted(id: str, fields: Fields, by: Sequence[str]) -> RecordChange | None:
    """What says that these speak against the memory, each of which takes its share of the trust; None where all do
    already.
    """
    stored = fields.get(CONTRADICTED_BY)
    names = (decode_names(stored) or ()) if stored else ()
    others = [one for one in dict.fromkeys(by) if one not in names]
    if not others:
        return None
    return RecordChange(
        id,
        expected={CONTRADICTED_BY: stored, RELIABILITY: fields.get(RELIABILITY)},
        sets={
            CONTRADICTED_BY: lineage_field([*names, *others]),
            RELIABILITY: number_text(reliability_of(fields) * CONTRADICTED ** len(others)).encode(),
        },
        revision_field=record.VERSION,
    )
