"""Conversations on their way into the store: turns in order, each with its session, its place and its speaker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.appending import Appender, unplaced
from betterdb_agent_memory.memory.drafts import MemoryDraft, OnDuplicate, PreparedMemory, RememberResult, as_draft
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.remembering import BATCH, Remembering, hopeless, prepared_or_rejected
from betterdb_agent_memory.memory.scope import MemoryScope, optional_text
from betterdb_agent_memory.memory.turns import session_key
from betterdb_agent_memory.memory.where import Moment


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    """What somebody said; the fields mean what they mean for `MemoryStore.remember`.

    `speaker` is a name or a role ("Maya", "assistant"). It is stored beside the content and embedded with it.
    What a message leaves open is as the call says for all.
    """

    content: str
    speaker: str | None = None
    occurred_at: Moment | None = None
    importance: float | None = None
    tags: Sequence[str] | None = None
    source: str | None = None
    ttl: int | timedelta | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MessageDefaults:
    """What a call says for all messages that do not say it themselves."""

    tags: Sequence[str] | None = None
    importance: float | None = None
    ttl: int | timedelta | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A message as a draft of a memory, and who spoke."""

    draft: MemoryDraft
    speaker: str | None


_MESSAGE_FIELDS = tuple(field.name for field in fields(ConversationMessage))
_OF_CHAT = ("role", "name")


def as_message(given: object) -> ConversationMessage:
    """A message, a text, or a mapping with the fields of a message or of a chat (`role`, `name`, `content`).

    Of a chat `name` is the speaker, without it `role`; a content in parts is its texts, one below the other, without
    pictures and the like. What else a mapping with a `role` has is passed over: SDKs add to it (`refusal`,
    `tool_calls`, `annotations`).

    Raises:
        InvalidInputError: it is something else, names a field that does not exist, or holds no text.
    """
    message = _read(given)
    content: object = message.content
    if isinstance(content, str) and not content.strip():
        raise InvalidInputError("a message without text is not stored: its content is empty")
    return message


def _read(given: object) -> ConversationMessage:
    if isinstance(given, ConversationMessage):
        return given
    if isinstance(given, str):
        return ConversationMessage(given)
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            "a message is given as text, as ConversationMessage or as a mapping, not as "
            f"{type(given).__name__}: {given!r:.80}"
        )
    is_of_chat = given.get("role") is not None
    known = (*_MESSAGE_FIELDS, *_OF_CHAT)
    unknown = [name for name in given if name not in known]
    if unknown and not is_of_chat:
        raise InvalidInputError(f"a message has no field {unknown[0]!r:.80}; known are {', '.join(known)}")
    if "content" not in given and not is_of_chat:
        raise InvalidInputError("a message needs content")
    values = {name: value for name, value in given.items() if name in _MESSAGE_FIELDS}
    values["content"] = _text_of(given.get("content"), is_of_chat=is_of_chat)
    if values.get("speaker") is None:
        values["speaker"] = given.get("name") if given.get("name") is not None else given.get("role")
    return ConversationMessage(**values)


def _text_of(content: object, *, is_of_chat: bool) -> Any:
    """The texts of a content that is a list of parts, or of a chat that says nothing; anything else as it is."""
    if content is None and is_of_chat:
        return ""
    if not isinstance(content, list | tuple):
        return content
    texts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise InvalidInputError(f"a part of a message's content must be a mapping, got {part!r:.80}")
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "\n".join(texts)


def said_in_message(given: object, defaults: MessageDefaults) -> Said:
    """A message with what the call says for all. Raises as `as_message`."""
    message = as_message(given)
    draft = MemoryDraft(
        message.content,
        importance=defaults.importance if message.importance is None else message.importance,
        tags=defaults.tags if message.tags is None else message.tags,
        source=defaults.source if message.source is None else message.source,
        ttl=defaults.ttl if message.ttl is None else message.ttl,
        occurred_at=message.occurred_at,
        metadata=message.metadata,
    )
    return Said(draft, record.checked_label("speaker", optional_text("speaker", message.speaker)))


def said_in_draft(given: object) -> Said:
    """A memory of a batch whose context is a window. Raises as `as_draft`, and for an id of its own or what it
    contradicts.
    """
    draft = as_draft(given)
    if draft.id is not None:
        raise InvalidInputError(
            "with context='window' the id of a memory comes from its place in the session, so it cannot be "
            f"{draft.id!r:.80}"
        )
    if draft.contradicts is not None:
        raise InvalidInputError(
            "with context='window' a memory is stored as it was said; what it contradicts is told with contradict() "
            f"afterwards, got contradicts={draft.contradicts!r:.80}"
        )
    return Said(draft, None)


def checked_session(session: object) -> str | None:
    """The name of a session, if one is given."""
    return record.checked_label("session", optional_text("session", session))


def checked_context(context: object, on_duplicate: OnDuplicate) -> bool:
    """Whether memories are turns, mixed with those next to them."""
    if context is None:
        return False
    if context != "window":
        raise InvalidInputError(f"context is 'window' or None, got {context!r:.80}")
    if on_duplicate != "keep":
        raise InvalidInputError(
            "with context='window' every memory is a turn of its own, so on_duplicate must be 'keep', got "
            f"{on_duplicate!r}"
        )
    return True


class Conversations:
    """Takes conversations into a store."""

    def __init__(self, remembering: Remembering, appender: Appender) -> None:
        self._remembering = remembering
        self._appender = appender

    async def remember(
        self,
        given: Iterable[object],
        said: Callable[[object], Said],
        session: str | None,
        scope: MemoryScope,
        on_progress: ProgressFn | None,
    ) -> list[RememberResult]:
        """Append what is given to the sessions it belongs to; what became of each, in order.

        `said` reads one of them. Without `session` a thread is one session, and what is in no thread is a new one.
        Batches of 500, each of them unbroken in its session.
        """
        everything = [*given]
        results: list[RememberResult] = []
        new_session = str(uuid.uuid4())
        own: dict[str, int] = {}
        failure: AgentMemoryError | None = None
        for start in range(0, len(everything), BATCH):
            part = everything[start : start + BATCH]
            prepared = await off_loop(len(part), self._prepared, part, said, session, new_session, scope)
            answered, failure = await self._taken_in(prepared, own, new_session, failure)
            results += answered
            if on_progress is not None:
                on_progress(Progress("remembering", len(results), len(everything)))
        return results

    def _prepared(
        self,
        part: Sequence[object],
        said: Callable[[object], Said],
        session: str | None,
        new_session: str,
        scope: MemoryScope,
    ) -> list[PreparedMemory | RememberResult]:
        def turn(given: object) -> PreparedMemory:
            one = said(given)
            prepared = self._remembering.prepared(one.draft, "keep", scope)
            thread = prepared.memory.thread_id
            name = next(named for named in (session, thread, new_session) if named is not None)
            memory = replace(prepared.memory, session=name, speaker=one.speaker or None)
            return replace(prepared, memory=memory, has_own_id=True)

        return prepared_or_rejected(part, turn)

    async def _taken_in(
        self,
        prepared: Sequence[PreparedMemory | RememberResult],
        own: MutableMapping[str, int],
        new_session: str,
        failure: AgentMemoryError | None,
    ) -> tuple[list[RememberResult], AgentMemoryError | None]:
        """What became of a batch, and the failure that makes trying the next one pointless; after one nothing is.

        `own` are the sessions that this call has begun under a name of its own, with the numbers of their turns.
        """
        results = {place: item for place, item in enumerate(prepared) if isinstance(item, RememberResult)}
        turns = {place: item for place, item in enumerate(prepared) if isinstance(item, PreparedMemory)}
        keyed = _keyed(list(turns.values()))
        for key, item in keyed:
            if item.memory.session == new_session:
                own.setdefault(key, 0)
        stored: list[RememberResult] = []
        if turns and failure is None:
            stored, failure = await self._appended(keyed, own)
        if failure is not None and not stored:
            stored = [unplaced(failure)] * len(turns)
        results.update(zip(turns, stored, strict=True))
        return [results[place] for place in range(len(prepared))], failure

    async def _appended(
        self, turns: Sequence[tuple[str, PreparedMemory]], own: MutableMapping[str, int]
    ) -> tuple[list[RememberResult], AgentMemoryError | None]:
        async def store() -> list[RememberResult]:
            return await self._appender.append(turns, await self._remembering.layout(), own)

        try:
            results = await self._remembering.storing([item for _, item in turns], store)
        except AgentMemoryError as error:
            return [], error
        return results, hopeless(results)


def _keyed(items: Sequence[PreparedMemory]) -> list[tuple[str, PreparedMemory]]:
    """Each with the key of its session; a digest for each session, not for each turn."""
    keys: dict[tuple[str, MemoryScope], str] = {}
    keyed = []
    for item in items:
        memory = item.memory
        where = memory.session or "", MemoryScope(memory.thread_id, memory.agent_id, memory.namespace)
        if where not in keys:
            keys[where] = session_key(*where)
        keyed.append((keys[where], item))
    return keyed
