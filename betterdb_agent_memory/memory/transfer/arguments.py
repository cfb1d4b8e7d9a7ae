"""What an export or an import is given, judged before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True and False: a text such as "no" would count as yes."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} is True or False, got {value!r:.40}")


def check_progress(on_progress: object) -> None:
    """Refuse what cannot be called, before the first page has been paid for."""
    if on_progress is not None and not callable(on_progress):
        raise InvalidInputError(f"on_progress is called with a Progress, got {type(on_progress).__name__}")


def checked_path(path: str | os.PathLike[Any]) -> Path:
    """The path of a file.

    Raises:
        InvalidInputError: it is empty.
        ConfigurationError: it is a folder.
    """
    text: object = os.fspath(path)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidInputError(f"path is the name of a file or a binary stream, got {text!r:.80}")
    if Path(text).is_dir() or text.endswith(("/", os.sep)):
        raise ConfigurationError(f"{text} is a folder; name a file in it")
    return Path(text)


def check_stream(stream: object, method: str) -> None:
    """Refuse what is no stream of bytes; `method` is what will be asked of it."""
    if not callable(getattr(stream, method, None)):
        raise InvalidInputError(f"path is the name of a file or a binary stream, got {type(stream).__name__}")
    if hasattr(stream, "encoding"):
        raise InvalidInputError("the stream is one of text; open it for bytes, or pass its .buffer")
