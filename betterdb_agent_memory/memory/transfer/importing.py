"""Memories from a file of JSON lines into a store."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import RecordChange, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.links import LinkChange, Strength, score_of
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    IndexNotReadyError,
    InvalidInputError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.arguments import check_flag, check_progress, check_stream, checked_path
from betterdb_agent_memory.memory.transfer.checkpoint import Checkpoint, Done, file_digest
from betterdb_agent_memory.memory.transfer.files import LineReader, NumberedLine, open_lines
from betterdb_agent_memory.memory.transfer.former import NOTHING_TAKEN, take_in
from betterdb_agent_memory.memory.transfer.place import TransferPlace
from betterdb_agent_memory.memory.transfer.planning import Made, Planning, Vectors, make_vectors
from betterdb_agent_memory.memory.transfer.results import ImportResult
from betterdb_agent_memory.memory.transfer.writing import Written, write_lines, write_one_by_one
from betterdb_agent_memory.memory.turns import TURN_FIELDS, all_around, ids_around, is_turn
from betterdb_agent_memory.memory.windows import windows_of

_log = logging.getLogger(__name__)

BATCH_LINES: Final = 500
BATCH_BYTES: Final = 8 * 1024 * 1024

_ATTEMPTS: Final = 5
"""How often a batch is begun again because the model was changed meanwhile: a change does that three times."""

OnExisting: TypeAlias = Literal["skip", "replace"]


async def import_jsonl(
    place: TransferPlace,
    source: str | Path | BinaryIO,
    *,
    on_existing: OnExisting = "skip",
    resume: bool = True,
    on_progress: ProgressFn | None = None,
) -> ImportResult:
    """Store the memories of an export under their ids, as they were.

    What is there already stays, or is replaced with `on_existing="replace"`. A line that is no memory
    is reported and costs no other. Vectors that are missing, or that another embedder made, are
    made anew. `resume` continues an interrupted import of the same file behind its last batch; a
    stream is read from where it stands. Memory for one batch of 500 lines or 8 MB; about six
    round trips for each, and an embedding call where needed.

    Raises:
        InvalidInputError: the file is no export of a version we read, or is cut off.
        ConfigurationError: it cannot be read, or its vectors are missing or do not fit and there is
            no embedder to make others; nothing was written.
        EmbeddingError, EngineError: what is done stays done, and the next run continues.
    """
    if on_existing not in ("skip", "replace"):
        raise InvalidInputError(f'on_existing is "skip" or "replace", got {on_existing!r:.40}')
    check_flag("resume", resume)
    check_progress(on_progress)
    if not isinstance(source, str | os.PathLike):
        check_stream(source, "readline")
        return await _import(place, source, str(getattr(source, "name", "stream")), None, on_existing, on_progress)
    path = checked_path(source)
    digest = await asyncio.to_thread(file_digest, path)
    checkpoint = Checkpoint(place.values, place.name, digest, on_existing)
    if not resume:
        await checkpoint.clear()
    stream = await asyncio.to_thread(open_lines, path)
    try:
        return await _import(place, stream, str(source), checkpoint, on_existing, on_progress)
    finally:
        stream.close()


async def _import(
    place: TransferPlace,
    stream: BinaryIO,
    name: str,
    checkpoint: Checkpoint | None,
    on_existing: OnExisting,
    on_progress: ProgressFn | None,
) -> ImportResult:
    reader = LineReader(stream, max_lines=BATCH_LINES, max_bytes=BATCH_BYTES)
    header = form.decode_header(await asyncio.to_thread(reader.header))
    plan = Planning(place, header)
    await plan.now()  # what does not fit is told before anything is written
    done = Done(reader.number, reader.offset)
    resumed = await checkpoint.read() if checkpoint is not None else None
    if resumed is not None and resumed.offset > done.offset:
        await asyncio.to_thread(reader.seek, resumed.offset, resumed.line)
        done = resumed
    run = _Import(place, plan, done, replaces=on_existing == "replace", at_ms=header.exported_at)
    while batch := await asyncio.to_thread(_read_batch, reader, header, place.stored_words):
        await run.take_in(batch)
        run.done = replace(run.done, line=reader.number, offset=reader.offset)
        if checkpoint is not None:
            await checkpoint.write(run.done)
        if on_progress is not None:
            on_progress(
                Progress("embedding and importing" if plan.because else "importing", _lines(run.done), header.memories)
            )
    if checkpoint is not None:
        await checkpoint.clear()
    if run.done.conflicts:
        _log.warning(
            "%d turns of conversations in %s are not imported: store %s has others under their ids. What was imported "
            "of these sessions stands beside turns of another conversation",
            run.done.conflicts,
            name,
            place.name,
        )
    return ImportResult(
        path=name,
        read=_lines(run.done),
        imported=run.done.imported,
        existing=run.done.existing,
        expired=run.done.expired,
        rejected=run.done.rejected,
        resumed=_lines(done),
        embedded=run.done.embedded,
        embedded_because=(plan.because or _SINGLY) if run.done.embedded else None,
        errors=run.done.errors,
        replaced=run.done.replaced,
        conflicts=run.done.conflicts,
        versions=run.done.versions,
    )


_SINGLY: Final = "they are missing or of another length"


def _lines(done: Done) -> int:
    return done.imported + done.existing + done.expired + done.rejected


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A line with a memory, or with the reason why there is none."""

    line: int
    memory: form.Exported | None
    reason: str = ""


def _read_batch(reader: LineReader, header: form.Header, stored_words: Callable[[str], str | None]) -> list[_Parsed]:
    return [_parsed(line, header, stored_words) for line in reader.batch()]


def _parsed(line: NumberedLine, header: form.Header, stored_words: Callable[[str], str | None]) -> _Parsed:
    if line.text is None:
        return _Parsed(line.number, None, "the line is too long to be a memory")
    try:
        memory = form.decode_memory_line(line.text)
    except InvalidInputError as error:
        return _Parsed(line.number, None, str(error))
    if record.CREATED_AT not in memory.fields:
        # Without it no list and no walk would ever come by.
        memory = replace(memory, fields={**memory.fields, record.CREATED_AT: b"%d" % header.exported_at})
    return _Parsed(line.number, _with_words(memory, stored_words))


def _with_words(memory: form.Exported, stored_words: Callable[[str], str | None]) -> form.Exported:
    """The memory with the stems that this store finds it by: where it comes from may have had another language."""
    words = stored_words(memory.fields[record.CONTENT].decode(errors="replace"))
    if words is None and record.WORDS not in memory.fields:
        return memory
    fields = {name: value for name, value in memory.fields.items() if name != record.WORDS}
    return replace(memory, fields=fields if words is None else {**fields, record.WORDS: words.encode()})


class _Import:
    def __init__(self, place: TransferPlace, plan: Planning, done: Done, *, replaces: bool, at_ms: int) -> None:
        self._place = place
        self._at_ms = at_ms
        self._plan = plan
        self._replaces = replaces
        self._edges: set[str] = set()
        """Imported turns beside which there was room, with the vectors of the file."""
        self.done = done

    async def take_in(self, batch: Sequence[_Parsed]) -> None:
        """Store what can be stored of a batch, and count what became of each line.

        The model may be changed at any time. So it is looked at for each batch, again once vectors have been made
        for it, and again when all is written: what went in with another model's gets new ones.

        Raises:
            EmbeddingError: the embedder was given up before each text had its try. What has a vector is written,
                and nothing is counted: the next run does the batch again.
        """
        refused = {parsed.line: parsed.reason for parsed in batch if parsed.memory is None}
        readable = {parsed.line: parsed.memory for parsed in batch if parsed.memory is not None}
        unexpired = _unexpired(readable)
        old = {line: memory for line, memory in unexpired.items() if memory.old}
        former = (
            await take_in(self._place, old, await self._plan.now(), replaces=self._replaces) if old else NOTHING_TAKEN
        )
        alive = {line: memory for line, memory in unexpired.items() if line not in old}
        there, conflicts = await self._there(alive)
        wanted = alive if self._replaces else {line: alive[line] for line in alive if line not in there}
        vectors, made, ready, written = await self._stored(wanted)
        await self._place.keep_in_step(vectors.generation, [ready[line].id for line in written.lines])
        await self._put_right({line: wanted[line] for line in written.lines}, ready, vectors)
        await self._into_sessions(
            [ready[line] for line in written.lines], [ready[line].id for line in made.vectors.keys() & written.lines]
        )
        await self._link([ready[line] for line in written.lines])
        await self._place.make_room(ready[line].fields for line in sorted(written.lines))
        if (given_up := former.given_up or made.given_up) is not None:
            raise given_up
        done = self.done
        reasons = {**refused, **former.written.refused, **made.refused, **written.refused}
        for line, reason in sorted(reasons.items()):
            done = done.rejecting(line, reason)
        self.done = replace(
            done,
            imported=done.imported + len(written.lines) + len(former.written.lines),
            existing=done.existing + len(alive) - len(wanted) + written.existing + former.existing,
            expired=done.expired + len(readable) - len(unexpired),
            embedded=done.embedded + len(made.vectors.keys() & written.lines) + former.embedded,
            replaced=done.replaced + len(there & written.lines) + former.replaced,
            versions=done.versions + len(former.written.lines),
            conflicts=done.conflicts + (0 if self._replaces else conflicts),
        )

    async def _into_sessions(self, written: Sequence[form.Exported], embedded: Sequence[str]) -> None:
        """Let the sessions of turns go on behind them, and mix those that stand next to newly `embedded` ones, or
        next to turns that did not come with them.

        None for other memories. Three round trips for turns, and one to three more where there are such; what of
        that fails is noted and made good by the next one who looks.
        """
        lengths: dict[str, int] = {}
        turns = [memory.id for memory in written if is_turn(memory.id, memory.fields)]
        for id in turns:
            key, _, turn = id.rpartition("-")
            lengths[key] = max(lengths.get(key, 0), int(turn) + 1)
        if not lengths:
            return
        await self._place.sessions.raise_to(lengths)
        right = frozenset(embedded)  # by their windows as they are now
        seams = [id for id in await self._seams(turns) if id not in right]
        unmixed = list(dict.fromkeys([*all_around(embedded), *seams]))
        self._edges -= frozenset(unmixed)
        if unmixed:
            await self._place.mender.mend_or_note(unmixed, raises=bool(embedded))

    async def _link(self, written: Sequence[form.Exported]) -> None:
        """Link memories as they were. None where they had no links, else a round trip per 500 links.

        A line knows the links of its memory, and so does that of the other end: whichever comes later finds both there.
        """
        changes = [
            LinkChange(memory.id, end.id, Strength(score_of(end.weight, self._at_ms), end.since_ms))
            for memory in written
            for end in memory.links
            if end.id != memory.id
        ]
        if changes:
            await self._place.links.put(changes, now_ms=self._place.clock())

    async def _seams(self, turns: Sequence[str]) -> list[str]:
        """Turns on both sides of where imported ones stand next to others. One round trip, none without an embedder.

        Between two of the file nothing has to be mixed: they knew each other when it was written.
        """
        if not (await self._place.main()).embedder.is_there:
            return []
        outside = all_around(turns)
        others = [id for id in outside if id not in self._edges]
        found = await self._place.records.read_many(others, (record.CONTENT,)) if others else []
        there = [id for id, fields in zip(others, found, strict=True) if fields is not None]
        own = frozenset(turns)
        self._edges |= {id for other in outside for id in ids_around(other) if id in own}
        return [*there, *(id for other in there for id in ids_around(other) if id in own)]

    async def _there(self, memories: Mapping[int, form.Exported]) -> tuple[frozenset[int], int]:
        """The lines whose memory is there already, and how many of them are turns with another content.

        With "skip" they are neither embedded nor sent.
        """
        fields = [record.CREATED_AT, record.IMPORTANCE]
        turns = {line for line, memory in memories.items() if is_turn(memory.id, memory.fields)}
        if turns and not self._replaces:
            fields.append(record.CONTENT)
        found = await self._place.records.read_many([memory.id for memory in memories.values()], fields)
        there = {line: row for line, row in zip(memories, found, strict=True) if row is not None}
        conflicts = sum(
            line in turns and row.get(record.CONTENT) != memories[line].fields[record.CONTENT]
            for line, row in there.items()
        )
        return frozenset(there), conflicts

    async def _stored(
        self, wanted: Mapping[int, form.Exported]
    ) -> tuple[Vectors, Made, dict[int, form.Exported], Written]:
        """Give each memory a vector that is right at the moment, and write it."""
        for _ in range(_ATTEMPTS):
            vectors = await self._plan.now()
            made, ready = await _with_vectors(self._place.records, wanted, vectors)
            if made.vectors and not (await self._plan.now()).are_as(vectors):
                continue
            try:
                return vectors, made, ready, await write_lines(self._place.records, ready, replaces=self._replaces)
            except InvalidInputError:
                if not (await self._plan.now()).are_as(vectors):
                    continue  # the index is for vectors of another length now
            written = await write_one_by_one(self._place.records, ready, replaces=self._replaces)
            if written.refused and not (await self._plan.now()).are_as(vectors):
                raise self._unsettled()  # not their fault, perhaps
            return vectors, made, ready, written
        raise self._unsettled()

    async def _put_right(
        self, wanted: Mapping[int, form.Exported], ready: Mapping[int, form.Exported], vectors: Vectors
    ) -> None:
        """Give what was just written other vectors where the model was changed meanwhile.

        Where there are none to be had, it is taken back, so that the next run does it again; what was replaced
        stays for that.
        """
        stored = {line: ready[line].fields[record.VECTOR] for line in wanted}
        try:
            for _ in range(_ATTEMPTS):
                now = await self._plan.now()
                if now.are_as(vectors):
                    return
                made, others = await _with_vectors(self._place.records, wanted, now)
                if made.given_up is not None:
                    raise made.given_up
                if made.refused:
                    raise self._unsettled()
                changes = [
                    RecordChange(
                        wanted[line].id,
                        # Whoever keeps models in step may have done it already, and better.
                        expected={record.VECTOR: stored[line]},
                        sets={record.VECTOR: others[line].fields[record.VECTOR]},
                    )
                    for line in stored
                ]
                await self._place.records.change_many(changes)
                await self._place.keep_in_step(now.generation, [memory.id for memory in wanted.values()])
                vectors, stored = now, {line: others[line].fields[record.VECTOR] for line in stored}
            raise self._unsettled()
        except AgentMemoryError:
            if not self._replaces and stored:
                await self._place.records.delete_many(
                    [wanted[line].id for line in stored],
                    expected=[{record.VECTOR: vector} for vector in stored.values()],
                )
            raise

    def _unsettled(self) -> IndexNotReadyError:
        return IndexNotReadyError(
            f"the embedding model of store {self._place.name} is being changed just now: import again, which goes on "
            "where it stopped"
        )


def _unexpired(memories: Mapping[int, form.Exported]) -> dict[int, form.Exported]:
    now_ms = system_clock()
    return {
        line: memory
        for line, memory in memories.items()
        if memory.expires_at_ms is None or memory.expires_at_ms > now_ms
    }


async def _with_vectors(
    records: Records, memories: Mapping[int, form.Exported], vectors: Vectors
) -> tuple[Made, dict[int, form.Exported]]:
    """The memories that have a vector that is right, the file's or a new one of their content.

    That of a turn is mixed with those of its neighbours in this batch and in the store.
    """
    needed = {line: memory for line, memory in memories.items() if not vectors.fit(memory)}
    if not needed:
        return Made({}, {}), dict(memories)
    texts: dict[str, Fields | None] = {memory.id: memory.fields for memory in memories.values()}
    elsewhere = [id for id in all_around([memory.id for memory in needed.values()]) if id not in texts]
    if elsewhere:
        texts.update(zip(elsewhere, await records.read_many(elsewhere, TURN_FIELDS), strict=True))
    windows = await windows_of([memory.id for memory in needed.values()], texts)
    made = await make_vectors({line: windows[memory.id][0] for line, memory in needed.items()}, vectors)
    ready = {line: memory for line, memory in memories.items() if line not in needed or line in made.vectors}
    for line, vector in made.vectors.items():
        ready[line] = replace(ready[line], fields={**ready[line].fields, record.VECTOR: vector})
    return made, ready
