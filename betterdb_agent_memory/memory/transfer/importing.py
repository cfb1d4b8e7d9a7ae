"""Memories from a file of JSON lines into a store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

import numpy as np

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EngineUnavailableError,
    InvalidInputError,
    OutcomeUnknownError,
    PartialBatchError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.checkpoint import Checkpoint, Done, file_digest
from betterdb_agent_memory.memory.transfer.files import LineReader, NumberedLine, open_lines
from betterdb_agent_memory.memory.transfer.place import TransferPlace, model_of
from betterdb_agent_memory.memory.transfer.results import MAX_REPORTED, ImportResult, LineError

BATCH_LINES: Final = 500
BATCH_BYTES: Final = 8 * 1024 * 1024

_UNSURE: Final = (EngineUnavailableError, OutcomeUnknownError)

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
    stream is read from where it stands. Memory for one batch of 500 lines or 8 MB; four round trips
    for each, and an embedding call where needed.

    Raises:
        InvalidInputError: the file is no export of a version we read, or is cut off.
        ConfigurationError: it cannot be read, or its vectors are missing or do not fit and there is
            no embedder to make others; nothing was written.
        EmbeddingError, EngineError: what is done stays done, and the next run continues.
    """
    if on_existing not in ("skip", "replace"):
        raise InvalidInputError(f'on_existing is "skip" or "replace", got {on_existing!r:.40}')
    if not isinstance(source, str | Path):
        return await _import(place, source, str(getattr(source, "name", "stream")), None, on_existing, on_progress)
    path = Path(source)
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
    vectors = await _plan(place, header)
    done = Done(reader.number, reader.offset)
    resumed = await checkpoint.read() if checkpoint is not None else None
    if resumed is not None and resumed.offset > done.offset:
        await asyncio.to_thread(reader.seek, resumed.offset, resumed.line)
        done = resumed
    run = _Import(place, vectors, done, replaces=on_existing == "replace")
    while batch := await asyncio.to_thread(_read_batch, reader):
        await run.take_in(batch)
        run.done = replace(run.done, line=reader.number, offset=reader.offset)
        if checkpoint is not None:
            await checkpoint.write(run.done)
        if on_progress is not None:
            on_progress(Progress(vectors.stage, _lines(run.done), header.memories))
    if checkpoint is not None:
        await checkpoint.clear()
    return ImportResult(
        path=name,
        read=_lines(run.done),
        imported=run.done.imported,
        existing=run.done.existing,
        expired=run.done.expired,
        rejected=run.done.rejected,
        resumed=_lines(done),
        embedded=run.done.embedded,
        embedded_because=vectors.because if run.done.embedded else None,
        errors=tuple(run.errors),
    )


def _lines(done: Done) -> int:
    return done.imported + done.existing + done.expired + done.rejected


@dataclass(frozen=True, slots=True)
class _Vectors:
    """How long the vectors must be, and whether, and why, those of the file are not used."""

    dimensions: int
    from_file: bool
    because: str

    @property
    def stage(self) -> str:
        return "importing" if self.from_file else "embedding and importing"


async def _plan(place: TransferPlace, header: form.Header) -> _Vectors:
    """Decide about the vectors before anything is written."""
    main = await place.main()
    can_embed = main.embedder.is_there
    if not header.vectors and not can_embed:
        raise ConfigurationError(
            "the file holds no vectors and the store has no embedder to make them: open the store with the embedder "
            "it shall be searched with; nothing was written"
        )
    dimensions = await place.dimensions_for(header.dimensions)
    because = _why_anew(header, model_of(main), dimensions)
    if because and not can_embed:
        raise ConfigurationError(
            f"{because}, and the store has no embedder to make others: open it with one; nothing was written"
        )
    return _Vectors(dimensions, not because, because or "they are missing or of another length")


def _why_anew(header: form.Header, model: str | None, dimensions: int) -> str:
    if not header.vectors:
        return "the file holds no vectors"
    if header.dimensions not in (None, dimensions):
        return f"the file's vectors have {header.dimensions} dimensions, the store's {dimensions}"
    if None not in (header.embedder, model) and header.embedder != model:
        return f"the file's vectors were made by {header.embedder}, the store's embedder is {model}"
    return ""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A line with a memory, or with the reason why there is none."""

    line: int
    memory: form.Exported | None
    reason: str = ""


def _read_batch(reader: LineReader) -> list[_Parsed]:
    return [_parsed(line) for line in reader.batch()]


def _parsed(line: NumberedLine) -> _Parsed:
    if line.text is None:
        return _Parsed(line.number, None, "the line is too long to be a memory")
    try:
        return _Parsed(line.number, form.decode_memory_line(line.text))
    except InvalidInputError as error:
        return _Parsed(line.number, None, str(error))


class _Import:
    def __init__(self, place: TransferPlace, vectors: _Vectors, done: Done, *, replaces: bool) -> None:
        self._place = place
        self._vectors = vectors
        self._replaces = replaces
        self.done = done
        self.errors: list[LineError] = []

    async def take_in(self, batch: Sequence[_Parsed]) -> None:
        """Store what can be stored of a batch, and count what became of each line."""
        wanted = self._readable(batch)
        wanted = self._unexpired(wanted)
        if not self._replaces:
            wanted = await self._absent(wanted)
        wanted = await self._with_vectors(wanted)
        layout = await self._place.models.layout()
        await self._write(wanted)
        await self._place.keep_in_step(layout.generation, [memory.id for memory in wanted.values()])

    def _readable(self, batch: Sequence[_Parsed]) -> dict[int, form.Exported]:
        for parsed in batch:
            if parsed.memory is None:
                self._reject(parsed.line, parsed.reason)
        return {parsed.line: parsed.memory for parsed in batch if parsed.memory is not None}

    def _unexpired(self, memories: Mapping[int, form.Exported]) -> dict[int, form.Exported]:
        now_ms = system_clock()
        alive = {
            line: memory
            for line, memory in memories.items()
            if memory.expires_at_ms is None or memory.expires_at_ms > now_ms
        }
        self.done = replace(self.done, expired=self.done.expired + len(memories) - len(alive))
        return alive

    async def _absent(self, memories: Mapping[int, form.Exported]) -> dict[int, form.Exported]:
        """Those that are not there yet: the others are neither embedded nor sent."""
        there = await self._place.records.read_many([memory.id for memory in memories.values()], (record.CREATED_AT,))
        absent = {
            line: memory for (line, memory), fields in zip(memories.items(), there, strict=True) if fields is None
        }
        self.done = replace(self.done, existing=self.done.existing + len(memories) - len(absent))
        return absent

    async def _with_vectors(self, memories: Mapping[int, form.Exported]) -> dict[int, form.Exported]:
        """Each with a vector that fits: the file's, or a new one of its content."""
        needed = {line: memory for line, memory in memories.items() if not self._fits(memory)}
        if not needed:
            return dict(memories)
        embedder = (await self._place.main()).embedder
        if not embedder.is_there:
            for line in needed:
                self._reject(line, "its vector is missing or unusable, and the store has no embedder to make another")
            return {line: memory for line, memory in memories.items() if line not in needed}
        texts = {line: memory.fields[record.CONTENT].decode(errors="replace") for line, memory in needed.items()}
        made = await embedder.embed_each(list(texts.values()), self._vectors.dimensions)
        _require_some(made)
        ready = dict(memories)
        for line, vector in zip(texts, made, strict=True):
            if isinstance(vector, AgentMemoryError):
                self._reject(line, str(vector))
                del ready[line]
            else:
                ready[line] = replace(ready[line], fields={**ready[line].fields, record.VECTOR: vector})
        self.done = replace(self.done, embedded=self.done.embedded + sum(isinstance(v, bytes) for v in made))
        return ready

    def _fits(self, memory: form.Exported) -> bool:
        stored = memory.fields.get(record.VECTOR)
        if not self._vectors.from_file or stored is None or len(stored) != 4 * self._vectors.dimensions:
            return False
        return bool(np.isfinite(np.frombuffer(stored, dtype="<f4")).all())

    async def _write(self, memories: Mapping[int, form.Exported]) -> None:
        if not memories:
            return
        writes = [
            RecordWrite(
                memory.id,
                memory.fields,
                expires_at_ms=memory.expires_at_ms,
                if_exists=None if self._replaces else RecordChange(memory.id),
            )
            for memory in memories.values()
        ]
        try:
            outcomes = await self._place.records.write_many(writes)
        except PartialBatchError as error:
            if not error.done or any(isinstance(cause, _UNSURE) for cause in error.failed.values()):
                raise  # nothing about these lines: the next run does the batch again
            self._partly_written(memories, error)
            return
        written = sum(outcome is Outcome.WRITTEN for outcome in outcomes)
        self.done = replace(
            self.done,
            imported=self.done.imported + written,
            existing=self.done.existing + len(outcomes) - written,
        )

    def _partly_written(self, memories: Mapping[int, form.Exported], error: PartialBatchError) -> None:
        written = 0
        for line, memory in memories.items():
            if memory.id in error.failed:
                self._reject(line, str(error.failed[memory.id]))
            else:
                written += 1
        self.done = replace(self.done, imported=self.done.imported + written)

    def _reject(self, line: int, reason: str) -> None:
        self.done = replace(self.done, rejected=self.done.rejected + 1)
        if len(self.errors) < MAX_REPORTED:
            self.errors.append(LineError(line, reason))


def _require_some(made: Sequence[bytes | AgentMemoryError]) -> None:
    """Raise what is wrong with the embedder rather than with a text: a later run can make it good."""
    failures = [vector for vector in made if isinstance(vector, AgentMemoryError)]
    for failure in failures:
        if isinstance(failure, EmbedderUnavailableError | EmbedderOverloadedError | ConfigurationError):
            raise failure
    if len(failures) == len(made) > 1:
        raise failures[0]
