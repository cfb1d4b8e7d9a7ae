"""How numbers and names are spelled in records."""

from __future__ import annotations

import re
from collections.abc import Iterable

from betterdb_agent_memory.engines.filters import TAG_SEPARATOR

_TO_ESCAPE = re.compile(r"[%,\x00-\x1f\x7f]")
_ESCAPED = re.compile("%(25|2C|7F|[01][0-9A-F])")


def number_text(value: float) -> str:
    """A number from 0 on as JavaScript spells it (`1`, `0.00001`, `1e-7`): the shared spelling."""
    if value == int(value):
        return str(int(value))
    digits, _, exponent = repr(float(value)).partition("e")
    if not exponent:
        return digits
    if int(exponent) >= -6:
        fraction = digits.partition(".")[2]
        return f"{float(value):.{len(fraction) - int(exponent)}f}"
    return f"{digits}e{int(exponent)}"


def listed_name(name: str) -> str:
    """A name as one of a comma-separated list, to be had back from it.

    Commas and percent signs are escaped as in URLs, and control characters, since search indexes read a list up to the
    first NUL.
    """
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def joined_names(names: Iterable[str]) -> str:
    """Names of any characters as one text."""
    return TAG_SEPARATOR.join(map(listed_name, names))


def split_names(stored: str) -> list[str]:
    """The names in a text that `joined_names` made."""
    names = stored.split(TAG_SEPARATOR)
    if "%" not in stored:
        return names
    return [_ESCAPED.sub(lambda found: chr(int(found[1], 16)), name) for name in names]
