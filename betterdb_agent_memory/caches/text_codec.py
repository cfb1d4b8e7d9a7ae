"""What a function returns, as the text that the tool cache keeps, and back.

The function's return annotation says how:

| annotated as | kept as | given back as |
|---|---|---|
| `str` | the text itself | the text |
| nothing, `Any`, `object` | JSON; a text that does not read as JSON itself | what the JSON says, else the text |
| anything else that pydantic knows | JSON | validated as that type |

Nothing is kept that would not come back equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from betterdb_agent_memory.errors import ConfigurationError

_T = TypeVar("_T")

UNANNOTATED: Final = object()
"""Stands for a return type that is not stated."""

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


def _encode_text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnencodableError(f"the function is annotated to return str, it returned {value!r:.80}")
    return value


_TEXT: Final[TextCodec[Any]] = TextCodec(_encode_text, str)


def _encode_described(value: Any) -> str:
    # A text that does not read as JSON is told from JSON by just that; one that does is written as JSON.
    if isinstance(value, str) and _decode_described(value) is value:
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
    """`text`, when `value` comes back from it equal."""
    try:
        came_back = decode(text)
        if came_back == value:
            return text
    except _UNENCODABLE as error:
        raise UnencodableError(f"its JSON cannot be read back: {error}") from error
    raise UnencodableError(f"it comes back from JSON as {came_back!r:.80}")
