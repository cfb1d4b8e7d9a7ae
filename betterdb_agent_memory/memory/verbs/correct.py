"""Putting memories in the places of others, and looking back."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.correcting import Correction
from betterdb_agent_memory.memory.correction.history import DEFAULT_VERSIONS, MAX_VERSIONS
from betterdb_agent_memory.memory.correction.lineage import MemoryVersion
from betterdb_agent_memory.memory.drafts import checked_content
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.requests import checked_integer
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.memory.updating import KEEP, Keep, Update
from betterdb_agent_memory.memory.where import Moment


class CorrectVerbs(StoreParts):
    """correct, supersede, contradict, history."""

    async def correct(
        self,
        id: str,
        content: str,
        *,
        importance: float | Keep | None = KEEP,
        tags: Sequence[str] | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep | None = KEEP,
        source: str | Keep | None = KEEP,
        subject: str | Keep | None = KEEP,
        date: str | Keep | None = KEEP,
        occurred_at: Moment | Keep | None = KEEP,
        kind: MemoryKind | Keep | None = KEEP,
        entities: Sequence[str] | Keep | None = KEEP,
        ttl: int | timedelta | Keep | None = KEEP,
        valid_from: Moment | None = None,
        if_version: int | None = None,
    ) -> MemoryItem:
        """Put a new memory in the place of one that is wrong or out of date, and return it.

        It has a new id, and what the former one had: scope, tags, kind, entities, importance, pin, labels, metadata and
        the time that it expires; what is given here it has instead, None takes a field away. How often the former one
        was recalled, and how far it was trusted, it does not take over. No recall finds the former one, in any
        language, unless it is asked for (`recall(as_of=...)`, `history`); it is kept for `superseded_ttl` seconds and
        never longer than it would have lived.

        `valid_from` is since when the new content holds: milliseconds, a datetime or ISO text; by default from when it
        is written. The former one held until then. Of several workers who correct a memory at once one does, and the
        others are told by whom it was superseded.

        One embedding call and four round trips, six where the memory has links, which are the new one's from then on;
        up to three more with the first of a process. The new memory and the departure of the old one are one step on a
        server, in a hash-tagged store and in a file; on another cluster it is several (docs/correction.md).

        Raises:
            InvalidInputError: a value is refused, or the memory says just that already; nothing was embedded.
            MemoryNotFoundError: there is no such memory.
            SupersededError: another memory is in its place already; `error.superseded_by` says which.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
            OutcomeUnknownError: the connection broke; it has happened whole, or not at all (see `history`).
        """
        update = Update.validated(
            id,
            content=content,
            importance=importance,
            tags=tags,
            metadata=metadata,
            source=source,
            subject=subject,
            date=date,
            occurred_at=occurred_at,
            kind=kind,
            entities=entities,
            ttl=ttl,
            if_version=if_version,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
        )
        since_ms = None if valid_from is None else checked_time_ms("valid_from", valid_from)
        said = checked_content("content", content, self._max_content_bytes)
        return await self._corrector.correct(Correction(update, said, since_ms))

    async def supersede(self, id: str, by: str) -> bool:
        """Say that memory `by` has taken the place of memory `id`; true if nobody had said so before.

        From then on memory `id` is to be found as after `correct`, and `by` remains as it is. Two may be superseded by
        the same one. The former one held until the time that `by` was said to be valid from, else until now.
        Three round trips, five where the memory has links, which are added to those of `by`; up to three more with the
        first of a process.

        Raises:
            InvalidInputError: an id is refused, or both are the same.
            MemoryNotFoundError: one of them is not there.
            SupersededError: one of them was superseded, `id` by another one; `error` says which by which.
        """
        return await self._corrector.supersede(record.checked_id(id), record.checked_id(by))

    async def contradict(self, id: str, by: str) -> bool:
        """Say that memory `by` speaks against memory `id`; true if nobody had said so before. Two round trips.

        Both are recalled, `by` directly above `id` where both are found. The reliability of `id` goes down to .3 of
        what it was, its version up by one.

        Raises:
            As `supersede`.
        """
        return await self._contradictor.contradict(record.checked_id(id), record.checked_id(by))

    async def history(self, id: str, *, limit: int | None = None) -> builtins.list[MemoryVersion]:
        """The versions of a memory, oldest first, whichever of them `id` is; empty where there is none of that id.

        Versions that were forgotten, or kept for long enough, are not among them. The newest `limit` (100 by default,
        1,000 at most). Two round trips for each version.
        """
        most = checked_integer("limit", limit, DEFAULT_VERSIONS, 1, MAX_VERSIONS)
        return await self._history.versions(record.checked_id(id), limit=most)
