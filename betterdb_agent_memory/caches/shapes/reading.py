"""Reads a provider's request member by member and remembers what nobody asked for.

A key may be shared with other languages only as far as they put the same things into it. What a
request says beyond that is not lost here: it is kept by its path, so that a caller who wants a key
that tells everything apart can have one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, cast

from betterdb_agent_memory.caches.content import LlmCacheParams
from betterdb_agent_memory.caches.references import BinaryNormalizer, BinaryRef
from betterdb_agent_memory.errors import InvalidInputError

LEFT_OUT: Final = "left_out"
"""The member under which a complete key takes in what the shared key does not see."""

Unknown: TypeAlias = Literal["refuse", "leave_out"]
"""What to do with a role or a kind of content that has no canonical form."""

_SAYS_NOTHING: Final[tuple[object, ...]] = ([], {})
_NOT_SENT: Final = frozenset({"NotGiven", "Omit"})
"""Types of the values by which SDKs mark an argument that is left out of the request."""


@dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """A provider's request as parameters of the LLM cache.

    `params` are what the shared key is made of. `left_out` is what may change the answer and is not in
    it: `{path in the request: value}`, empty when the shared key says everything.
    """

    params: LlmCacheParams
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> LlmCacheParams:
        """The parameters for a complete key: `params`, with a member `left_out` where there is something."""
        if not self.left_out:
            return self.params
        return cast("LlmCacheParams", {**self.params, LEFT_OUT: dict(self.left_out)})


class Reading:
    """One pass over one request: collects what is left out, and the content whose reference is to be made."""

    __slots__ = ("_pending", "_unknown", "left_out")

    def __init__(self, unknown: Unknown) -> None:
        if unknown not in ("refuse", "leave_out"):
            raise InvalidInputError(f"unknown must be 'refuse' or 'leave_out', got {unknown!r:.80}")
        self._unknown = unknown
        self._pending: list[tuple[dict[str, Any], BinaryRef]] = []
        self.left_out: dict[str, Any] = {}

    def members(self, value: object, path: str) -> Members:
        """The members of a mapping or an SDK object; anything else is an error that names `path`."""
        plain = as_sent(value, path)
        if not isinstance(plain, dict):
            raise InvalidInputError(f"{path or 'the request'} must be a mapping, got {_shown(value)}")
        return Members(self, plain, path)

    def unknown(self, found: Members, what: str, kind: object, known: Collection[str]) -> None:
        """Refuse something that has no canonical form, or leave all of it out.

        Raises:
            InvalidInputError: the request was to be refused then; the path and the kinds are named.
        """
        if self._unknown == "refuse":
            raise InvalidInputError(
                f"{found.path}: the {what} {kind!r:.80} has no canonical form, it must be one of "
                f"{', '.join(sorted(known))}; unknown='leave_out' leaves it out of the shared key"
            )
        found.leave_out()

    def binary(self, block: dict[str, Any], kind: str, source: dict[str, Any]) -> dict[str, Any]:
        """`block`, a binary one whose `ref` is filled in by `resolve`."""
        self._pending.append((block, cast("BinaryRef", {"kind": kind, "source": source})))
        return block

    async def resolve(self, normalizer: BinaryNormalizer) -> None:
        """Ask `normalizer` for the references, one after another."""
        for block, reference in self._pending:
            block["ref"] = await normalizer(reference)


class Members:
    """The members of one mapping of a request; null counts as absent, as the published packages have it."""

    __slots__ = ("_left", "_reading", "_whole", "path")

    def __init__(self, reading: Reading, members: dict[str, Any], path: str) -> None:
        self._reading = reading
        self._whole = members
        self._left = {name: value for name, value in members.items() if value is not None}
        self.path = path

    def at(self, name: str) -> str:
        """The path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str, default: Any = None) -> Any:
        """A member, which is dealt with then; `default` where it is absent or null."""
        return self._left.pop(name, default)

    def text(self, name: str, default: str | None = None) -> str:
        """A member that must be a text; `default` where it is absent, which is an error without one."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise InvalidInputError(f"{self.at(name)} must be a text, got {_shown(value)}")
        return value

    def mapping(self, name: str) -> Members:
        """A member that must be a mapping."""
        return self._reading.members(self.take(name), self.at(name))

    def each(self, name: str) -> Iterator[Members]:
        """The mappings of a member that must be a list; none where it is absent."""
        value = self.take(name, [])
        if not isinstance(value, list):
            raise InvalidInputError(f"{self.at(name)} must be a list, got {_shown(value)}")
        for number, item in enumerate(value):
            yield self._reading.members(item, f"{self.at(name)}[{number}]")

    def copied(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The members that are copied as they are: `{name in the request: name of the parameter}`."""
        taken = ((parameter, self.take(name)) for name, parameter in names.items())
        return {parameter: value for parameter, value in taken if value is not None}

    def peek(self, name: str) -> Any:
        """A member that is not dealt with yet, None where it is absent."""
        return self._left.get(name)

    def leave_out(self) -> None:
        """None of it is in the shared key."""
        self._left = {}
        self._reading.left_out[self.path] = self._whole

    def done(self, harmless: Collection[str] = (), defaults: Mapping[str, object] | None = None) -> None:
        """What nobody took is left out, except for what cannot change an answer.

        Those are the names in `harmless`, values equal to those in `defaults`, and empty lists and mappings.
        """
        usual = defaults or {}
        for name, value in self._left.items():
            if name in harmless or value in _SAYS_NOTHING or (name in usual and value == usual[name]):
                continue
            self._reading.left_out[self.at(name)] = value
        self._left = {}


Readers: TypeAlias = Mapping[str, Callable[[Members], Any]]
"""What reads the members of each kind of thing."""


def as_sent(value: object, path: str) -> Any:
    """`value` in the plain types that JSON has, as an SDK would send it.

    Mappings, lists and tuples, and objects with `model_dump` (what an SDK gave back, for example) are
    taken apart; arguments that an SDK marks as not given are left out.

    Raises:
        InvalidInputError: something else is in it; the path is named.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            str(name): as_sent(member, f"{path}.{name}" if path else str(name))
            for name, member in value.items()
            if type(member).__name__ not in _NOT_SENT
        }
    if isinstance(value, list | tuple):
        return [as_sent(item, f"{path}[{number}]") for number, item in enumerate(value)]
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return as_sent(dump(mode="json", by_alias=True, exclude_unset=True, warnings=False), path)
    raise InvalidInputError(
        f"{path or 'the request'} must be what JSON can hold, a list where there are several, got {_shown(value)}"
    )


def parsed_arguments(text: str) -> Any:
    """What the arguments of a tool call say: the JSON in `text`, `{}` for none, `{"__raw": text}` for no JSON."""
    if text == "":
        return {}
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return {"__raw": text}


def spelled_arguments(arguments: object) -> str:
    """The text of a tool call's arguments, the way back from `parsed_arguments` except for blanks."""
    if isinstance(arguments, dict) and list(arguments) == ["__raw"] and isinstance(arguments["__raw"], str):
        return arguments["__raw"]
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def media_type_of(data: str, default: str) -> str:
    """The media type that a data URL names, `default` for any other text."""
    named, semicolon, _ = data.removeprefix("data:").partition(";")
    return named if data.startswith("data:") and semicolon and named else default


def url_source(url: str) -> dict[str, Any]:
    """What a URL refers to: its own data, or what is found there."""
    return {"type": "base64", "data": url} if url.startswith("data:") else {"type": "url", "url": url}


def file_source(file_id: str, provider: str) -> dict[str, Any]:
    """What a provider's id of an uploaded file refers to."""
    return {"type": "file_id", "file_id": file_id, "provider": provider}


def text_block(text: str) -> dict[str, Any]:
    """A canonical block of text."""
    return {"type": "text", "text": text}


def dispatched(found: Members, what: str, kind: object, readers: Readers, reading: Reading) -> Any:
    """What the reader for `kind` makes of `found`; None where there is no such reader."""
    reader = readers.get(kind) if isinstance(kind, str) else None
    if reader is None:
        reading.unknown(found, what, kind, readers)
        return None
    return reader(found)


def _refuse_constant(name: str) -> Any:
    """NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(name)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return f"{type(value).__name__} {value!r:.80}" if isinstance(value, str | int | float) else type(value).__name__
