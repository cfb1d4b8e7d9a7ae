"""Who may see a memory: the scope, its filter, and what a scope value may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES, TAG_SEPARATOR, Clause, Equals, Filter, HasTag
from betterdb_agent_memory.engines.groups import group_name, set_value
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record

# Room for what a search adds after the filter: `=>[KNN ... @vector $vec EF_RUNTIME ... AS ...]`.
_SEARCH_CLAUSE_BYTES = 128


@dataclass(frozen=True, slots=True)
class MemoryScope:
    """Whose memory it is. None means "not said"; an empty string is a value like any other.

    Values are compared byte for byte: `alice`, `Alice` and ` alice ` are three scopes.
    """

    thread_id: str | None = None
    agent_id: str | None = None
    namespace: str | None = None

    def merged(self, *, thread_id: str | None, agent_id: str | None, namespace: str | None) -> MemoryScope:
        """This scope with the given keywords; saying one thing twice and differently is an error."""
        return MemoryScope(
            thread_id=_one_of("thread_id", self.thread_id, thread_id),
            agent_id=_one_of("agent_id", self.agent_id, agent_id),
            namespace=_one_of("namespace", self.namespace, namespace),
        )


def _one_of(name: str, in_scope: str | None, keyword: str | None) -> str | None:
    if in_scope is not None and keyword is not None and in_scope != keyword:
        raise InvalidInputError(f"{name} is {in_scope!r} in scope= and {keyword!r} as a keyword; say it once")
    return keyword if keyword is not None else in_scope


def require_text(name: str, value: object) -> str:
    """`value` if it is text that UTF-8 can carry, else an error that names it."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text, got {type(value).__name__}: {value!r:.80}")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name} holds a lone surrogate at position {error.start}, which is not valid Unicode text; "
            "decode the source with the right encoding or with errors='replace'"
        ) from None
    return value


def optional_text(name: str, value: object) -> str | None:
    """None, or text as `require_text` has it."""
    return None if value is None else require_text(name, value)


def checked_scope(
    scope: MemoryScope | None, thread_id: str | None, agent_id: str | None, namespace: str | None
) -> MemoryScope:
    """The scope said by `scope=` and by keywords, validated."""
    if scope is not None and not isinstance(scope, MemoryScope):
        raise InvalidInputError(f"scope must be a MemoryScope, got {type(scope).__name__}")
    merged = (scope or MemoryScope()).merged(thread_id=thread_id, agent_id=agent_id, namespace=namespace)
    for name in ("thread_id", "agent_id", "namespace"):
        optional_text(name, getattr(merged, name))
    return merged


def checked_tags(tags: Sequence[str] | None) -> tuple[str, ...]:
    """Tags in the given order; a comma would split one, a control character could not be searched."""
    if tags is None:
        return ()
    if isinstance(tags, str | bytes) or not isinstance(tags, Sequence):
        raise InvalidInputError(f"tags must be a list of texts, got {type(tags).__name__}: {tags!r:.80}")
    for tag in tags:
        require_text("a tag", tag)
        if TAG_SEPARATOR in tag:
            raise InvalidInputError(f"tag {tag!r} contains a comma, which separates tags; pass two tags instead")
        if record.has_control_character(tag):
            raise InvalidInputError(f"tag {tag!r} contains a control character")
    return tuple(tags)


def group_of(scope: MemoryScope, tags: Sequence[str] | None = None) -> str:
    """The name of the group that the memories of exactly this scope are (`record.SCOPE_FIELDS`); with `tags`, which may
    be empty, where groups are set apart by these, too.
    """
    values = (scope.thread_id, scope.agent_id, scope.namespace)
    encoded = [None if value is None else value.encode() for value in values]
    return group_name(encoded if tags is None else [*encoded, set_value(TAG_SEPARATOR.join(tags).encode())])


def scope_filter(
    scope: MemoryScope, tags: Sequence[str] = (), subject: str | None = None, *conditions: Clause | None
) -> Filter:
    """Exactly this scope, all these tags, and what all `conditions` ask for.

    Raises:
        InvalidInputError: the filter is longer than search engines accept (10,240 bytes).
    """
    clauses: list[Clause] = [
        Equals(field, value)
        for field, value in (
            (record.THREAD, scope.thread_id),
            (record.AGENT, scope.agent_id),
            (record.NAMESPACE, scope.namespace),
        )
        if value is not None
    ]
    clauses += [HasTag(record.TAGS, tag) for tag in dict.fromkeys(tags)]
    if subject is not None:
        clauses.append(Equals(record.SUBJECT, subject))
    clauses += [condition for condition in conditions if condition is not None]
    filter = Filter(tuple(clauses))
    if filter.size_bytes + _SEARCH_CLAUSE_BYTES > MAX_FILTER_BYTES:
        raise InvalidInputError(
            f"scope, tags and conditions make a filter of {filter.size_bytes:,} bytes; search engines accept "
            f"{MAX_FILTER_BYTES:,} in all. Shorten the scope values or pass fewer tags and conditions"
        )
    return filter
