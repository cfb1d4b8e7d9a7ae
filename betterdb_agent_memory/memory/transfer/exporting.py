"""Memories out of a store into a file of JSON lines."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from betterdb_agent_memory.engines.base import Position, Records, Row
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Clause, Filter, IdIn, Not
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.spaces import SearchedRecords
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.arguments import check_flag, check_progress, check_stream, checked_path
from betterdb_agent_memory.memory.transfer.files import PartFile, Sink, StreamSink, replaceable
from betterdb_agent_memory.memory.transfer.place import ModelChangedError, SettledModel, TransferPlace
from betterdb_agent_memory.memory.transfer.results import ExportResult

PAGE = 250


async def export_jsonl(
    place: TransferPlace,
    target: str | Path | BinaryIO,
    *,
    filter: Filter,
    vectors: bool = True,
    include_superseded: bool = True,
    resume: bool = True,
    on_progress: ProgressFn | None = None,
) -> ExportResult:
    """Write every memory that `filter` accepts, oldest first: a header line, then a line each. Before the memories come
    the versions of which the same is true that are kept beside them, oldest first, too.

    In this order nothing that is corrected meanwhile is in the file both as it was and as a version of what corrected
    it.

    A path is written as `<path>.part` and renamed when complete; `resume` continues one that an
    earlier run of the same export left. A stream gets the lines and stays open. Memory for one
    page of 250, five round trips for each, four without vectors, and one more where only a part of the store is
    exported and memories have links.

    Raises:
        InvalidInputError: an argument is of another type.
        ConfigurationError: the file cannot be written, belongs to another export, or is no regular file.
        IndexNotReadyError: with vectors, while they are being replaced by another model's.
    """
    check_flag("vectors", vectors)
    check_flag("include_superseded", include_superseded)
    check_flag("resume", resume)
    check_progress(on_progress)
    path = checked_path(target) if isinstance(target, str | os.PathLike) else None
    if path is None:
        check_stream(target, "write")
    else:
        await asyncio.to_thread(replaceable, path)
    model = await place.settled_model() if vectors else None
    space = await place.searchable()
    main = await place.main()
    former = await place.former() if include_superseded else None
    total = 0 if space is None else await space.records.count(filter)
    total += 0 if former is None else await former.count(filter)
    header = form.Header(
        store=place.name,
        exported_at=place.clock(),
        embedder=await place.model_name(main),
        dimensions=await main.index.find(),
        vectors=vectors,
        memories=total,
        filter=filter_digest(filter),
        superseded=include_superseded,
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
            resumed=begun,
            total=total,
            on_progress=on_progress,
        )
        if former is not None and (begun.after is None or begun.is_old):
            await run.all_of(former, former, begun.after, old=True)
        if space is not None:
            await run.all_of(space.records, place.records, None if begun.is_old else begun.after)
        await run.check_model()
        await asyncio.to_thread(sink.finish)
    except ModelChangedError:
        await asyncio.to_thread(sink.discard)
        raise
    finally:
        sink.close()
    return ExportResult(_name(target), run.done - run.versions, begun.done, run.skipped, run.versions)


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
    """Where to go on, how many lines are written already, how many of them are versions, whether the last one is, and
    the time in the file's header.
    """

    after: Position | None
    done: int
    at_ms: int
    versions: int = 0
    is_old: bool = False


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
            after = Position(form.order_of(last.fields), last.id)
            versions = sum(line.startswith(form.OLD_BEGINNING) for line in sink.written()) if found.superseded else 0
            return _Begun(after, sink.found.count - 1, found.exported_at, versions, last.old)
    elif isinstance(sink, PartFile):
        if resume and not sink.begins_with(form.BEGINNING):
            raise ConfigurationError(_FOREIGN.format("is no export"))
        sink.clear()
    sink.append(form.encode_header(header))
    return _Begun(None, 0, header.exported_at)


def _ids_in(sink: Sink, *, old: bool) -> set[str]:
    """The ids of the memories, or of the versions, that an interrupted export left in the file."""
    lines = sink.written() if isinstance(sink, PartFile) else ()
    return {form.decode_memory_line(line).id for line in lines if line.startswith(form.OLD_BEGINNING) == old}


_CHANGED = "the embedding model of store {} was changed during the export; what was written is no use, export again"

_FOREIGN = "the .part file beside the export {}; finish that one, or overwrite it with resume=False"


def _require_same_export(found: form.Header, header: form.Header) -> None:
    for name in ("store", "embedder", "dimensions", "vectors", "filter", "superseded"):
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
        resumed: _Begun,
        total: int,
        on_progress: ProgressFn | None,
    ) -> None:
        self._place = place
        self._at_ms = at_ms
        self._model = model
        self._sink = sink
        self._filter = filter
        self._vectors = vectors
        self._total = total
        self._on_progress = on_progress
        self.done = resumed.done
        self.versions = resumed.versions
        self.skipped = 0

    async def all_of(
        self, found_in: SearchedRecords, records: Records, after: Position | None, *, old: bool = False
    ) -> None:
        """Write what follows `after` of the memories, or of the versions beside them."""
        if (await records.inspect()).failures:
            written = await asyncio.to_thread(_ids_in, self._sink, old=old)
            await self._with_stragglers(found_in, records, written, old=old)
            return
        fields = tuple(dict.fromkeys((record.CREATED_AT, *self._filter.field_names)))
        async for rows in found_in.walk(self._filter, fields=fields, after=after, page_size=PAGE):
            await self._page([row.id for row in rows], records, old=old)

    async def _with_stragglers(
        self, found_in: SearchedRecords, records: Records, written: set[str], *, old: bool
    ) -> None:
        """Write all but those `written`, also such as the server could not take into its index.

        A field that it cannot read keeps a whole record out of it, so all keys are looked at; which
        memories are written already has to be remembered for that.
        """
        fields = tuple(dict.fromkeys((record.CREATED_AT, *self._filter.field_names)))
        indexed = found_in.walk(self._filter, fields=fields, page_size=PAGE)
        for pages in (indexed, records.scan(fields, page_size=PAGE)):
            async for rows in pages:
                accepted = dict.fromkeys(row.id for row in self._filter.accepted(rows))
                ids = [id for id in accepted if id not in written]
                await self._page(ids, records, old=old)
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

    async def _page(self, ids: Sequence[str], records: Records, *, old: bool) -> None:
        memories = await self._whole(ids, records, old=old)
        await self.check_model()
        await asyncio.to_thread(self._append, memories)
        self.done += len(memories)
        self.versions += len(memories) if old else 0
        if self._on_progress is not None:
            self._on_progress(Progress("exporting", self.done, max(self._total, self.done)))

    async def _whole(self, ids: Sequence[str], records: Records, *, old: bool) -> list[form.Exported]:
        """All fields of these memories and when they expire; those that are gone by now are left out.

        The expiry first: asked for afterwards, a memory that expires in between would look immortal.
        """
        expiries = await records.read_expiries(ids)
        found = await records.read_many(ids, None)
        links = dict.fromkeys(ids, ()) if old else await self._links(ids)
        there = [
            form.Exported(id, fields, expires_at_ms, links[id], old)
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
        found = await self._place.records.read_many(others, fields)
        rows = [Row(id, row) for id, row in zip(others, found, strict=True) if row is not None]
        exported = {row.id for row in self._filter.accepted(rows)}
        return {id: tuple(end for end in ends if end.id in exported) for id, ends in links.items()}

    def _append(self, memories: Sequence[form.Exported]) -> None:
        if memories:
            self._sink.append(b"".join(form.encode_memory_line(memory, vector=self._vectors) for memory in memories))
