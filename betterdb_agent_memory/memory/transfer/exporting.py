"""Memories out of a store into a file of JSON lines."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from betterdb_agent_memory.engines.base import Position, Row
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Clause, Filter, IdIn, Not
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.spaces import SearchedRecords
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.arguments import check_flag, check_progress, check_stream, checked_path
from betterdb_agent_memory.memory.transfer.files import PartFile, Sink, StreamSink
from betterdb_agent_memory.memory.transfer.place import ModelChangedError, SettledModel, TransferPlace
from betterdb_agent_memory.memory.transfer.results import ExportResult

PAGE = 250


async def export_jsonl(
    place: TransferPlace,
    target: str | Path | BinaryIO,
    *,
    filter: Filter,
    vectors: bool = True,
    resume: bool = True,
    on_progress: ProgressFn | None = None,
) -> ExportResult:
    """Write every memory that `filter` accepts, oldest first: a header line, then a line each.

    A path is written as `<path>.part` and renamed when complete; `resume` continues one that an
    earlier run of the same export left. A stream gets the lines and stays open. Memory for one
    page of 250, five round trips for each, four without vectors, and one more where only a part of the store is
    exported and memories have links.

    Raises:
        InvalidInputError: an argument is of another type.
        ConfigurationError: the file cannot be written, or belongs to another export.
        IndexNotReadyError: with vectors, while they are being replaced by another model's.
    """
    check_flag("vectors", vectors)
    check_flag("resume", resume)
    check_progress(on_progress)
    path = checked_path(target) if isinstance(target, str | os.PathLike) else None
    if path is None:
        check_stream(target, "write")
    model = await place.settled_model() if vectors else None
    space = await place.searchable()
    main = await place.main()
    total = 0 if space is None else await space.records.count(filter)
    header = form.Header(
        store=place.name,
        exported_at=place.clock(),
        embedder=await place.model_name(main),
        dimensions=await main.index.find(),
        vectors=vectors,
        memories=total,
        filter=filter_digest(filter),
    )
    sink = await asyncio.to_thread(_opened, path, target, resume=resume)
    try:
        begun = await asyncio.to_thread(_begin, sink, header, resume=resume)
        run = _Export(
            place,
            sink,
            filter,
            model,
            vectors=vectors,
            at_ms=begun.at_ms,
            resumed=begun.done,
            total=total,
            on_progress=on_progress,
        )
        if space is not None and not (await place.records.inspect()).failures:
            await run.pages(space.records, begun.after)
        elif space is not None:
            await run.with_stragglers(space.records, await asyncio.to_thread(_ids_in, sink))
        await run.check_model()
        await asyncio.to_thread(sink.finish)
    except ModelChangedError:
        await asyncio.to_thread(sink.discard)
        raise
    finally:
        sink.close()
    return ExportResult(_name(target), run.done, begun.done, run.skipped)


def filter_digest(filter: Filter) -> str | None:
    """What tells two selections apart in a header; None for all memories."""
    if not filter.clauses:
        return None
    return hashlib.sha256(_canonical(AllOf(filter.clauses)).encode()).hexdigest()[:32]


def _canonical(clause: Clause) -> str:
    match clause:
        case Not(clause=inner):
            return f"Not({_canonical(inner)})"
        case AllOf(clauses=parts) | AnyOf(clauses=parts):
            return f"{type(clause).__name__}({', '.join(map(_canonical, parts))})"
        case IdIn(ids=ids):
            return f"IdIn({sorted(ids)!r})"
        case _:
            return repr(clause)


def _name(target: object) -> str:
    return str(target) if isinstance(target, str | os.PathLike) else str(getattr(target, "name", "stream"))


def _opened(path: Path | None, target: object, *, resume: bool) -> Sink:
    return StreamSink(cast("BinaryIO", target)) if path is None else PartFile(path, resume=resume)


class _Begun(NamedTuple):
    """Where to go on, how many memories are written already, and the time in the file's header."""

    after: Position | None
    done: int
    at_ms: int


def _begin(sink: Sink, header: form.Header, *, resume: bool) -> _Begun:
    if isinstance(sink, PartFile) and sink.found.count:
        try:
            found = form.decode_header(sink.found.first)
        except InvalidInputError:
            raise ConfigurationError(_FOREIGN.format("is no export")) from None
        _require_same_export(found, header)
        sink.go_on()
        if sink.found.count == 1:
            return _Begun(None, 0, found.exported_at)
        try:
            last = form.decode_memory_line(sink.found.last)
        except InvalidInputError:
            sink.clear()  # a hole that a power failure left: no line of it can be trusted
        else:
            return _Begun(Position(form.order_of(last.fields), last.id), sink.found.count - 1, found.exported_at)
    elif isinstance(sink, PartFile):
        if resume and not sink.begins_with(form.BEGINNING):
            raise ConfigurationError(_FOREIGN.format("is no export"))
        sink.clear()
    sink.append(form.encode_header(header))
    return _Begun(None, 0, header.exported_at)


def _ids_in(sink: Sink) -> set[str]:
    """The ids of the memories that an interrupted export left in the file."""
    lines = sink.written() if isinstance(sink, PartFile) else ()
    return {form.decode_memory_line(line).id for line in lines}


_CHANGED = "the embedding model of store {} was changed during the export; what was written is no use, export again"

_FOREIGN = "the .part file beside the export {}; finish that one, or overwrite it with resume=False"


def _require_same_export(found: form.Header, header: form.Header) -> None:
    for name in ("store", "embedder", "dimensions", "vectors", "filter"):
        begun, wanted = getattr(found, name), getattr(header, name)
        if begun != wanted:
            raise ConfigurationError(_FOREIGN.format(f"was begun with {name} {begun!r}, this one has {wanted!r}"))


class _Export:
    def __init__(
        self,
        place: TransferPlace,
        sink: Sink,
        filter: Filter,
        model: SettledModel | None,
        *,
        vectors: bool,
        at_ms: int,
        resumed: int,
        total: int,
        on_progress: ProgressFn | None,
    ) -> None:
        self._place = place
        self._records = place.records
        self._at_ms = at_ms
        self._model = model
        self._sink = sink
        self._filter = filter
        self._vectors = vectors
        self._total = total
        self._on_progress = on_progress
        self.done = resumed
        self.skipped = 0

    async def pages(self, found_in: SearchedRecords, after: Position | None) -> None:
        """Write what follows `after`, page by page."""
        fields = tuple(dict.fromkeys((record.CREATED_AT, *self._filter.field_names)))
        async for rows in found_in.walk(self._filter, fields=fields, after=after, page_size=PAGE):
            await self._page([row.id for row in rows])

    async def with_stragglers(self, found_in: SearchedRecords, written: set[str]) -> None:
        """Write all memories but those `written`, also such as the server could not take into its index.

        A field that it cannot read keeps a whole record out of it, so all keys are looked at; which
        memories are written already has to be remembered for that.
        """
        fields = tuple(dict.fromkeys((record.CREATED_AT, *self._filter.field_names)))
        indexed = found_in.walk(self._filter, fields=fields, page_size=PAGE)
        for pages in (indexed, self._records.scan(fields, page_size=PAGE)):
            async for rows in pages:
                accepted = dict.fromkeys(row.id for row in self._filter.accepted(rows))
                ids = [id for id in accepted if id not in written]
                await self._page(ids)
                written.update(ids)

    async def check_model(self) -> None:
        """What has been read so far holds vectors of the header's model. One round trip where there are any.

        Whoever changes the model says so and waits before the first vector: read before this looked is
        read before that.

        Raises:
            ModelChangedError: the model is being changed, or was.
        """
        if self._model is not None and await self._place.settled_model() != self._model:
            raise ModelChangedError(_CHANGED.format(self._place.name))

    async def _page(self, ids: Sequence[str]) -> None:
        memories = await self._whole(ids)
        await self.check_model()
        await asyncio.to_thread(self._append, memories)
        self.done += len(memories)
        if self._on_progress is not None:
            self._on_progress(Progress("exporting", self.done, max(self._total, self.done)))

    async def _whole(self, ids: Sequence[str]) -> list[form.Exported]:
        """All fields of these memories and when they expire; those that are gone by now are left out.

        The expiry first: asked for afterwards, a memory that expires in between would look immortal.
        """
        expiries = await self._records.read_expiries(ids)
        found = await self._records.read_many(ids, None)
        links = await self._links(ids)
        there = [
            form.Exported(id, fields, expires_at_ms, links[id])
            for id, fields, expires_at_ms in zip(ids, found, expiries, strict=True)
            if fields
        ]
        memories = [memory for memory in there if record.is_memory(memory.fields)]
        self.skipped += len(there) - len(memories)
        return memories

    async def _links(self, ids: Sequence[str]) -> dict[str, tuple[LinkEnd, ...]]:
        """The links of these memories, to such as are exported, too. One round trip, two for a part of a store."""
        links = dict(zip(ids, await self._place.links.neighbours(ids, now_ms=self._at_ms), strict=True))
        others = list(dict.fromkeys(end.id for ends in links.values() for end in ends))
        if not others or not self._filter.clauses:
            return links
        fields = tuple(dict.fromkeys((record.CREATED_AT, *self._filter.field_names)))
        found = await self._records.read_many(others, fields)
        rows = [Row(id, row) for id, row in zip(others, found, strict=True) if row is not None]
        exported = {row.id for row in self._filter.accepted(rows)}
        return {id: tuple(end for end in ends if end.id in exported) for id, ends in links.items()}

    def _append(self, memories: Sequence[form.Exported]) -> None:
        if memories:
            self._sink.append(b"".join(form.encode_memory_line(memory, vector=self._vectors) for memory in memories))
