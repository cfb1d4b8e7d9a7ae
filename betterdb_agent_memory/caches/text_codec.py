"""What a function returns, as the text that the tool cache keeps, and back.

The function's return annotation says how:

| annotated as | kept as | given back as |
|---|---|---|
| `str` | the text itself | the text |
| nothing, `Any`, `object` | JSON; a text that does not read as JSON itself | what the JSON says, else the text |
| anything else that pydantic knows | JSON | validated as that type |

Nothing is kept that would not come back equal, member by member and type by type (`same_value`).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from betterdb_agent_memory.errors import ConfigurationError

_T = TypeVar("_T")

UNANNOTATED: Final = object()
"""Stands for a return type that is not stated."""

_WITHOUT_MEMBERS: Final = frozenset({str, int, float, bool, type(None)})
_UNENCODABLE: Final = (ValueError, TypeError, RecursionError)


class UnencodableError(ValueError):
    """A value has no text from which it would come back equal."""


@dataclass(frozen=True, slots=True)
class TextCodec(Generic[_T]):
    """`encode` raises UnencodableError, `decode` ValueError where a text or a value is not of its kind."""

    encode: Callable[[_T], str]
    decode: Callable[[str], _T]


def codec_for(annotation: Any) -> TextCodec[Any]:
    """The codec for values of a type, by the table of this module.

    Raises:
        ConfigurationError: pydantic cannot make JSON of the type.
    """
    if annotation is str:
        return _TEXT
    if annotation is UNANNOTATED or annotation is Any or annotation is object:
        return _SELF_DESCRIBING
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticUserError as error:
        raise ConfigurationError(
            f"pydantic can make no JSON of results of type {annotation!r:.80} ({str(error).splitlines()[0]}); give "
            "encode= and decode="
        ) from error
    return _typed(adapter)


def codec_of(encode: Callable[[_T], str], decode: Callable[[str], _T]) -> TextCodec[_T]:
    """The codec of a caller's own two functions; whether values come back equal is the caller's business."""

    def encoded(value: _T) -> str:
        try:
            text: object = encode(value)
        except _UNENCODABLE as error:
            raise UnencodableError(f"encode= does not take it: {error}") from error
        if not isinstance(text, str):
            raise ConfigurationError(f"encode= must return a text, it returned {text!r:.80}")
        return text

    return TextCodec(encoded, decode)


def same_value(value: Any, other: Any) -> bool:
    """Whether nobody can tell them apart by types and members, whatever `==` of their classes leaves out.

    Of a model or a dataclass all fields count. A whole number may stand for a float in `other`, as in Python's
    annotations.

    >>> same_value([1, 2], [1, 2.0]), same_value(1, True), same_value((1,), [1])
    (True, False, False)
    """
    if value is other:
        return True
    kind = type(value)
    if kind is not type(other):
        return kind is int and type(other) is float and bool(value == other)
    if kind in _WITHOUT_MEMBERS:
        return bool(value == other)
    if isinstance(value, dict):
        return _same_members(value, other) and all(map(same_value, value.values(), map(other.__getitem__, value)))
    if isinstance(value, list | tuple | deque):
        return len(value) == len(other) and all(map(same_value, value, other))
    if isinstance(value, set | frozenset):
        return _same_members(value, other)
    return _same_fields(value, other) and bool(value == other)


def _same_members(value: Iterable[Any], other: Iterable[Any]) -> bool:
    """Whether two sets, or the names of two dicts, are the same."""
    if set(value) != set(other):
        return False
    if {*map(type, value), *map(type, other)} <= {str}:
        return True
    others = {member: member for member in other}
    return all(same_value(member, others[member]) for member in value)


def _same_fields(value: Any, other: Any) -> bool:
    names: Iterable[str] = ()
    if isinstance(value, BaseModel):
        names = [*type(value).model_fields, "__pydantic_extra__", "__pydantic_private__"]
    elif is_dataclass(value):
        names = [field.name for field in fields(value)]
    return all(same_value(getattr(value, name, None), getattr(other, name, None)) for name in names)


def _encode_text(value: Any) -> str:
    if type(value) is not str:
        raise UnencodableError(f"the function is annotated to return str, it returned {_shown(value)}")
    return value


_TEXT: Final[TextCodec[Any]] = TextCodec(_encode_text, str)


def _encode_described(value: Any) -> str:
    # A text that does not read as JSON is told from JSON by just that; one that does is written as JSON.
    if type(value) is str and _decode_described(value) is value:
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except _UNENCODABLE as error:
        raise UnencodableError(f"it has no JSON form: {error}") from error
    return _checked(value, text, _decode_described)


def _decode_described(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_SELF_DESCRIBING: Final[TextCodec[Any]] = TextCodec(_encode_described, _decode_described)


def _typed(adapter: TypeAdapter[Any]) -> TextCodec[Any]:
    def encode(value: Any) -> str:
        try:
            text = adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error").decode()
        except _UNENCODABLE as error:
            raise UnencodableError(f"it has no JSON form of the annotated type: {error}") from error
        return _checked(value, text, adapter.validate_json)

    return TextCodec(encode, adapter.validate_json)


def _checked(value: Any, text: str, decode: Callable[[str], Any]) -> str:
    """`text`, when `value` comes back from it as it is."""
    try:
        came_back = decode(text)
        if same_value(value, came_back) and came_back == value:
            return text
    except _UNENCODABLE as error:
        raise UnencodableError(f"its JSON cannot be read back: {error}") from error
    raise UnencodableError(f"{_shown(value)} comes back from JSON as {_shown(came_back)}, or with other members")


def _shown(value: Any) -> str:
    return f"the {type(value).__qualname__} {value!r:.80}"
