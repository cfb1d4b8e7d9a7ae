"""Values of live configuration as the text that the hash holds, read and written as every language does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final, TypeAlias

Value: TypeAlias = float | int | bool | str
"""What a field may mean: a number, a whole number, true or false, or one of a few words."""
Reader: TypeAlias = Callable[[bytes], Value | None]
"""What a text means; None for one that cannot be used."""

_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SWITCH: Final = {"true": True, "false": False}


def read_number(value: bytes) -> float | None:
    """A finite decimal number in ASCII digits with blanks around it allowed; None for anything else, empty included."""
    text = value.decode(errors="replace").strip()
    if not _DECIMAL.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def write_number(number: float) -> bytes:
    """A finite number as plain decimal text, which every published package reads as the same number.

    Round trip: `read_number(write_number(x)) == x`.

    >>> write_number(0.25), write_number(604_800.0), write_number(1e-7)
    (b'0.25', b'604800', b'0.0000001')
    """
    text = f"{Decimal(repr(number)):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return b"0" if text == "-0" else text.encode()


def write(value: Value) -> bytes:
    """Any value as its reader reads it back.

    >>> write(True), write("hybrid"), write(64), write(0.5)
    (b'true', b'hybrid', b'64', b'0.5')
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return write_number(value)


def numbers(is_valid: Callable[[float], bool]) -> Reader:
    """Numbers for which `is_valid`."""

    def read(value: bytes) -> Value | None:
        number = read_number(value)
        return number if number is not None and is_valid(number) else None

    return read


def rounded_down(least: int) -> Reader:
    """Numbers of at least `least`, of which the fraction does not count."""

    def read(value: bytes) -> Value | None:
        number = read_number(value)
        return math.floor(number) if number is not None and number >= least else None

    return read


def accepted(check: Callable[[Any], Any], *, whole: bool) -> Reader:
    """Numbers that an option's `check` accepts, only `whole` ones if it is of whole numbers."""

    def read(value: bytes) -> Value | None:
        number = read_number(value)
        if number is None or (whole and not number.is_integer()):
            return None
        try:
            checked: Value = check(int(number) if whole else number)
        except (ValueError, TypeError):
            return None
        return checked

    return read


def switch(value: bytes) -> Value | None:
    """`true` or `false`, with blanks around it allowed."""
    return _SWITCH.get(value.decode(errors="replace").strip())


def one_of(words: Iterable[str]) -> Reader:
    """One of these words, with blanks around it allowed."""
    known = frozenset(words)

    def read(value: bytes) -> Value | None:
        text = value.decode(errors="replace").strip()
        return text if text in known else None

    return read
