"""Files of JSON: UTF-8 with or without a byte order mark, and what is wrong with one named by its line."""

from __future__ import annotations

import codecs
import json
from typing import Any, Final

from betterdb_agent_memory.errors import InvalidInputError

_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_of(name: str, content: bytes) -> str:
    """What a file says.

    Raises:
        InvalidInputError: it is no UTF-8; the message names the line.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        advice = "it looks like UTF-16: save it as UTF-8" if content.startswith(_UTF16) else "is it a file of text?"
        raise InvalidInputError(f"{name}, line {line} is no UTF-8 ({error.reason}); {advice}") from None


def lines_of(name: str, content: bytes) -> list[str]:
    """The lines of a file, which end with a line feed alone. Raises as `text_of`."""
    return text_of(name, content).split("\n")


def loaded_from(where: str, text: str) -> Any:
    """A text parsed as JSON.

    Raises:
        InvalidInputError: it is none, or is nested deeper than Python's parser goes.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{where} is no JSON: {error}") from None
    except RecursionError:
        raise InvalidInputError(f"{where} is nested too deeply to be read") from None
