"""Superseded versions and archived memories of an export, on their way to where a store keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.dynamics_fields import EMBEDDER
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.place import TransferPlace
from betterdb_agent_memory.memory.transfer.planning import Vectors, make_vectors
from betterdb_agent_memory.memory.transfer.writing import Written, write_lines, write_one_by_one
from betterdb_agent_memory.memory.turns import Window


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of lines: all that was `written`, what was `there` before and was to stay or was replaced, and how
    many got a new vector. `given_up` is what ended the embedding before each had its try.
    """

    written: Written
    existing: int = 0
    replaced: int = 0
    embedded: int = 0
    given_up: AgentMemoryError | None = None


NOTHING_TAKEN = TakenIn(Written(frozenset(), {}, 0))


async def take_in(
    place: TransferPlace, versions: Mapping[int, form.Exported], vectors: Vectors, *, replaces: bool
) -> TakenIn:
    """Keep these versions with their lineage, their validity and the time that is left to them.

    One whose id a memory of the store has is there already: it was never superseded here, or has been brought back.
    Such a memory stays, or with `replaces` goes, once its version is kept: what is superseded in the file is recalled
    no more. A vector that another model made is made anew, of the version's own words. No round trip where there are
    none, else four, and an embedding call where needed.
    """
    if not versions:
        return NOTHING_TAKEN
    shelf = place.shelf
    await shelf.prepare(vectors.dimensions)
    alive = await _held(place.records, versions)
    held = alive | await _held(shelf.records, versions)
    wanted = versions if replaces else {line: one for line, one in versions.items() if line not in held}
    own = vectors.embedder.name.encode()
    foreign = {line: one for line, one in wanted.items() if not _fits(one, vectors, own)}
    made = await make_vectors({line: Window(_said(one.fields)) for line, one in foreign.items()}, vectors)
    ready = {line: one for line, one in wanted.items() if line not in foreign or line in made.vectors}
    for line, vector in made.vectors.items():
        fields = {**ready[line].fields, record.VECTOR: vector, EMBEDDER: own}
        ready[line] = replace(ready[line], fields=fields)
    try:
        written = await write_lines(shelf.records, ready, replaces=replaces)
    except InvalidInputError:
        written = await write_one_by_one(shelf.records, ready, replaces=replaces)
    if taken_over := [ready[line].id for line in alive & written.lines]:
        with because("superseded"), place.mender.removal() as removal:
            await removal.note(taken_over)
            await place.records.delete_many(taken_over)
            await place.keep_in_step(vectors.generation, taken_over)
            await removal.mix()
    return TakenIn(
        replace(written, refused={**made.refused, **written.refused}),
        existing=len(versions) - len(wanted) + written.existing,
        replaced=len(held & written.lines),
        embedded=len(made.vectors.keys() & written.lines),
        given_up=made.given_up,
    )


async def _held(records: Records, versions: Mapping[int, form.Exported]) -> frozenset[int]:
    """The lines whose ids there are records of."""
    found = await records.read_many([version.id for version in versions.values()], (record.CREATED_AT,))
    return frozenset(line for line, row in zip(versions, found, strict=True) if row is not None)


def _fits(version: form.Exported, vectors: Vectors, own: bytes) -> bool:
    """Whether its vector can stay: without an embedder that of any model, which is made anew when it is asked for."""
    made_by_us = version.fields.get(EMBEDDER) == own or not vectors.embedder.is_there
    return made_by_us and vectors.fit(version)


def _said(fields: Fields) -> str:
    return fields[record.CONTENT].decode(errors="replace")
