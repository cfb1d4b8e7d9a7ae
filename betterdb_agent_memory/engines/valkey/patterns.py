"""SCAN for the keys below a prefix, as a command: pure."""

from __future__ import annotations

import re

from betterdb_agent_memory.engines.valkey.packing import Argument, Command

_GLOB = re.compile(r"([\\*?\[\]])")


def scan_command(cursor: bytes, prefix: str, page_size: int, kind: str | None = None) -> Command:
    """A page of SCAN, behind `cursor`: keys that begin with `prefix`, of one `kind` (`hash`) or of all."""
    command: tuple[Argument, ...] = ("SCAN", cursor, "MATCH", pattern(prefix), "COUNT", page_size)
    return command if kind is None else (*command, "TYPE", kind)


def pattern(prefix: str) -> str:
    """The pattern of SCAN for all keys that begin with `prefix`."""
    return escape_glob(prefix) + "*"


def escape_glob(text: str) -> str:
    r"""`text` so that a pattern means it literally.

    >>> print(escape_glob("a*[b]?"))
    a\*\[b\]\?
    """
    return _GLOB.sub(r"\\\1", text)
