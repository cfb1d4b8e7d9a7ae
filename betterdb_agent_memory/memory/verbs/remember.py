"""Storing memories and changing them."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.conversations import (
    ConversationMessage,
    MessageDefaults,
    checked_context,
    checked_session,
    said_in_draft,
    said_in_message,
)
from betterdb_agent_memory.memory.drafts import (
    MemoryDraft,
    OnDuplicate,
    RememberResult,
    checked_on_duplicate,
)
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope
from betterdb_agent_memory.memory.updating import KEEP, Keep, Update
from betterdb_agent_memory.memory.where import Moment


class RememberVerbs(StoreParts):
    """remember, remember_many, remember_conversation, update."""

    async def remember(
        self,
        content: str,
        *,
        importance: float | None = None,
        tags: Sequence[str] | None = None,
        source: str | None = None,
        ttl: int | timedelta | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        date: str | None = None,
        occurred_at: Moment | None = None,
        metadata: Mapping[str, Any] | None = None,
        kind: MemoryKind | None = None,
        entities: Sequence[str] | None = None,
        valid_from: Moment | None = None,
        valid_until: Moment | None = None,
        contradicts: str | Sequence[str] | None = None,
        id: str | None = None,
        on_duplicate: OnDuplicate = "keep",
    ) -> str:
        """Store a memory and return its id.

        `importance` is 0 to 1 (default 0.5, or that of the `kind`, one of `KINDS`); `tags` hold no comma; `ttl` is
        whole seconds or a timedelta, None or 0 for ever. The scope is said by keywords or by `scope=`. `subject` and
        `date` label facts. `occurred_at` is when what it tells happened: milliseconds, a datetime or ISO
        text. `metadata` is any JSON object up to 64 KiB; it is stored, not searched. `entities` are names of whom and
        what it is about, in any characters. What it says holds from `valid_from` (by default from when it is written)
        until before `valid_until` (open), for `recall(as_of=...)`; any other recall finds it whenever it is valid.
        `contradicts` names memories (an id or up to 64) that it speaks against: they stay, and are trusted less, as by
        `contradict`.
        One round trip, with its expiry in the same atomic step; two more with `contradicts`, and more where a scope is
        above its capacity limit (docs/capacity.md).

        `on_duplicate="keep"` stores it under a new random id, or under `id` if that is free.
        `"replace"` overwrites the memory that has `id`. `"merge"` makes the same content in the same thread, agent
        and namespace one memory, under an id that follows from them: if it is there it is reinforced, its importance
        raised to a larger one that is given, its tags and entities united, its expiry moved to a later one, in one
        atomic step however many workers do so; nothing is embedded then. One more round trip. A copy that was
        stored otherwise, under a random id, is not looked for.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            MemoryNotFoundError, SupersededError: one that it `contradicts` is not there; nothing was embedded.
            MemoryExistsError: another memory has this `id`; nothing was written.
            EmbeddingError: the embedder failed; nothing was written.
            EngineUnavailableError: no connection; nothing was written.
            OutcomeUnknownError: the connection broke meanwhile; the memory is there whole or not at
                all. `error.ids` holds its id, to look it up with `get`. With a note it is stored, and what it
                `contradicts` may not know it yet: so does any other error after it was written.
        """
        draft = MemoryDraft(
            content,
            importance,
            tags,
            source,
            ttl,
            subject=subject,
            date=date,
            occurred_at=occurred_at,
            metadata=metadata,
            id=id,
            kind=kind,
            entities=entities,
            valid_from=valid_from,
            valid_until=valid_until,
            contradicts=contradicts,
        )
        said = checked_scope(scope, thread_id, agent_id, namespace)
        return await self._remembering.one(draft, checked_on_duplicate(on_duplicate), said)

    async def remember_many(
        self,
        memories: Iterable[str | MemoryDraft | Mapping[str, Any]],
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        on_duplicate: OnDuplicate = "keep",
        context: Literal["window"] | None = None,
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store many memories; what became of each, in order.

        Each is a text, a `MemoryDraft`, or a mapping with its fields. The scope given here is that of all; a
        draft may say what it leaves open. `on_duplicate` as for `remember`. One call of the embedder
        and one round trip per 500 memories; a capacity limit is enforced after each 500 (so that memories
        of the same call may be evicted), which costs more only in scopes that are full.

        With `context="window"` they are the turns of a conversation, in order: stored as `remember_conversation`
        does it, those of each thread as one session that goes on with every call. The threads of each 500 are embedded
        in one call and written together, with the round trips of a single one for up to some 40 of them, and a few
        more beyond that.

        What is wrong with one memory is in its result and harms no other. After the embedder failed for a whole
        batch, or the server is not to be reached, the rest is rejected with that error and not tried.
        A draft `contradicts` memories that are there before the call: one that names another is rejected. That costs
        two round trips more for each 500.

        Raises:
            InvalidInputError: `memories` is a text, or `on_duplicate`, `context` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        if isinstance(memories, str | bytes | Mapping) or not isinstance(memories, Iterable):
            raise InvalidInputError(
                f"remember_many takes a list of memories, got {type(memories).__name__}; for a single one there is "
                "remember()"
            )
        checked_on_duplicate(on_duplicate)
        said = checked_scope(scope, thread_id, agent_id, namespace)
        is_window = checked_context(context, on_duplicate)
        self._embedder.require("remember")
        if is_window:
            return await self._conversations.remember(memories, said_in_draft, None, said, on_progress)
        return await self._remembering.many(memories, on_duplicate, said, on_progress)

    async def remember_conversation(
        self,
        messages: Iterable[str | ConversationMessage | Mapping[str, Any]],
        *,
        session: str | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        importance: float | None = None,
        ttl: int | timedelta | None = None,
        source: str | None = None,
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store what was said, in order; what became of each message, in that order.

        Each is a text, a `ConversationMessage`, or a mapping with its fields or with those of a chat (`role`,
        `name`, `content`). `tags`, `importance`, `ttl` and `source` are for those that do not say it themselves.

        Each message is a memory with its `session`, its `turn` there (from 0) and its `speaker`. A call with the same
        session in the same scope goes on where that one ends, also from several workers at once: up to 500
        messages of one call stay together. Without `session` a thread is one session; without a thread each call is a
        new one, whose name the memories tell.

        The content is what was said; what is embedded has the speaker's name before it. The vector is half the
        turn's own, half that of the turns before, itself and after together, so that "yes, that one" is found by
        what it answers. The turn before the first message is mixed anew. One call of the embedder and five round
        trips per 500 messages, seven where the session goes on, two where it is new and has a name of ours; more
        only where a scope is above its capacity limit.

        What is wrong with one message is in its result and harms no other, as with `remember_many`. One
        that could not be embedded leaves no place in the session. Places that the engine could not store to are given
        back if it can be asked; else they stay empty, and the next message has none before it in its vector.

        Raises:
            InvalidInputError: `messages` is a single one, or `session` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        if isinstance(messages, str | bytes | Mapping | ConversationMessage) or not isinstance(messages, Iterable):
            raise InvalidInputError(
                f"remember_conversation takes a list of messages, got {type(messages).__name__}; put a single one into "
                "a list"
            )
        said = checked_scope(scope, thread_id, agent_id, namespace)
        named = checked_session(session)
        self._embedder.require("remember")
        defaults = MessageDefaults(tags, importance, ttl, source)
        return await self._conversations.remember(
            messages, partial(said_in_message, defaults=defaults), named, said, on_progress
        )

    async def update(
        self,
        id: str,
        *,
        content: str | Keep = KEEP,
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
        if_version: int | None = None,
    ) -> MemoryItem:
        """Change what is given, leave the rest, and return the memory as it is then.

        None takes a field away (and sets importance to 0.5 and the time to live to for ever); `ttl` counts from
        now. Another `kind` leaves the importance as it is. The `importance` of a pinned memory stays 1: what is given
        is what it will have once it is unpinned. All in one atomic step, which raises the memory's `version` by one if
        anything differs. `if_version` makes it happen only to the version that you have read. A content that is another
        than the stored one is embedded; any other change is not. Two round trips, with `content` three, with the
        importance of a pinned memory five. With the content of a turn of a conversation its vector and those of the
        turns next to it are mixed anew: eight, and one embedding call.

        Raises:
            InvalidInputError: a value is refused, or nothing is to be changed.
            MemoryNotFoundError: there is no such memory.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
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
        return await self._updater.update(update)
