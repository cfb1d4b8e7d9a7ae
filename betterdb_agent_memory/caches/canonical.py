r"""Canonical JSON: one text for every value that means the same, in the spelling of the TypeScript package.

It is close to RFC 8785: no blanks, members sorted by name, text unescaped where JSON allows, numbers as
ECMAScript writes them. It differs where `JSON.stringify` of an object does:

| | RFC 8785 | here |
|---|---|---|
| order of names | UTF-16 code units | array indices (`0` to `4294967294`) first, by number, then the same |
| integers beyond 2^53 | refused | the nearest double: 9007199254740993 -> `9007199254740992` |
| infinities, NaN | refused | `null` |
| lone surrogates | refused | `\udxxx` |
| member `__proto__` | kept | left out |

Of these the second, third and last give one text to different values. `Spelling.loss` says where that
happened, and then the text is good for comparing with what others wrote, and not for telling calls apart.

`python_json` is the spelling of the published Python package, which loses nothing: names by code point,
integers exact, floats by `repr` (`1.0`, `1e-05`), `Infinity` and `NaN`.

Which values that are not JSON have a form, and which, is the table of `json_values.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from betterdb_agent_memory.caches.json_values import MAX_DEPTH, JsonValue, converted, shown_path

MAX_EXACT_INTEGER: Final = 2**53

_SORTED: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_AS_GIVEN: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_INDEX: Final = re.compile("0|[1-9][0-9]{0,9}")
_LARGEST_INDEX: Final = 2**32 - 2
_FIRST_SURROGATE: Final = "\ud800"
_UNQUOTED: Final = (f'"{_FIRST_SURROGATE}', f'{_FIRST_SURROGATE}"')
"""Around text that is no string but a number. In a value that UTF-8 can hold nothing else looks like this."""
_LOST_NAME: Final = "__proto__"
_CONSTANTS: Final = {None: "null", True: "true", False: "false"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """A value in the TypeScript spelling, as UTF-8.

    `python` is how the published Python package spells it; None where only `python_json` says it. `loss` is
    what the spelling does not tell from something else, None where it tells everything.
    """

    utf8: bytes
    python: bytes | None
    loss: str | None


def canonical_json(value: object) -> str:
    r"""`value` as the TypeScript package writes it before hashing.

    Raises:
        InvalidInputError: something in it has no defined form; the error names its path.

    >>> canonical_json({"b": [1.0, 1e21, 0.00001], "a": None, "10": "x", "9": "\u00fc"})
    '{"9":"ü","10":"x","a":null,"b":[1,1e+21,0.00001]}'
    """
    return spelled(value).utf8.decode()


def json_value(value: object, *, root: str = "") -> JsonValue:
    """`value` in the types of JSON (see `json_values.py`), for whoever stores it beside its key.

    Raises:
        InvalidInputError: something in it has no defined form; the error names its path, from `root` on.

    >>> json_value({"when": (1, 2), "who": {"b", "a"}})
    {'when': [1, 2], 'who': ['a', 'b']}
    """
    return converted(value, root=root, order=_exact_text)


def spelled(value: object, *, root: str = "") -> Spelling:
    """`value` in the TypeScript spelling, with what is lost in it.

    The standard library's C encoder writes it when one look at every member proves that it would write
    the same (`is_plain`), or of a copy in which it would, if numbers are all that is different; else it is written
    member by member.

    Raises:
        InvalidInputError: something in it has no defined form; the error names its path, from `root` on.
    """
    try:
        # First, because it finds out in C whether the value contains itself.
        python = _SORTED.encode(value).encode()
        return Spelling(python if is_plain(value) else _respelled(value), python, None)
    except (TypeError, ValueError, RecursionError):  # of another type, lone surrogates, too deep, a loss: said below
        return _spelled_exactly(value, root)


def spelled_members(members: Mapping[str, bytes]) -> bytes:
    """An object of members that are spelled already, in the order of their names.

    >>> spelled_members({"b": b"1", "a": b"[]"})
    b'{"a":[],"b":1}'
    """
    texts = (b"%b:%b" % (_string(name).encode(), members[name]) for name in sorted(members, key=_name_order))
    return b"{%b}" % b",".join(texts)


def python_json(value: object) -> str:
    """`value` as the published Python package writes it before hashing, exact for every value.

    What that package cannot write is converted first (`json_values.py`), and lone surrogates are escaped:
    the text is then nobody's but ours.

    Raises:
        InvalidInputError: something in it has no defined form; the error names its path.

    >>> python_json({"b": [1.0, 1e21, 0.00001], "a": None, "10": "x", "9": "\u00fc"})
    '{"10":"x","9":"ü","a":null,"b":[1.0,1e+21,1e-05]}'
    """
    try:
        text = _AS_GIVEN.encode(_sorted_members(value))
    except (TypeError, ValueError, RecursionError):
        text = _AS_GIVEN.encode(_sorted_members(json_value(value)))
    return _escaped(text)


def hexadecimal_hash(utf8: bytes) -> str:
    """SHA-256 as keys carry it: 64 lower-case hexadecimal digits."""
    return sha256(utf8).hexdigest()


def is_plain(value: object) -> bool:
    """Whether the C encoder writes `value` as TypeScript does; False where that takes more than a look.

    Lone surrogates are not looked for: UTF-8 refuses them.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                continue
            if kind is dict:
                if not _are_plain_names(item):
                    return False
                deeper.extend(item.values())
            elif kind is list:
                deeper.extend(item)
            elif not _is_plain_constant(item):
                return False
        if not deeper:
            return True
        level = deeper
    return False


def _are_plain_names(names: Iterable[object]) -> bool:
    for name in names:
        if type(name) is not str or name == _LOST_NAME or "0" <= name[:1] <= "9":
            return False
        if not name.isascii() and max(name) >= _FIRST_SURROGATE:
            return False
    return True


def _is_plain_constant(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER  # type: ignore[operator]
    if kind is float:
        return _is_plain_float(value)  # type: ignore[arg-type]
    return value is None or kind is bool


def _is_plain_float(number: float) -> bool:
    # Between these bounds neither spelling has an exponent; both have the shortest digits that read back the same.
    return 1e-4 <= abs(number) < 1e16 and not number.is_integer()


def _respelled(value: object) -> bytes:
    """`value`, which UTF-8 can hold, as TypeScript writes it; a ValueError where more than numbers are different."""
    text = _SORTED.encode(_renumbered([value], MAX_DEPTH)[0])
    return text.replace(_UNQUOTED[0], "").replace(_UNQUOTED[1], "").encode()


def _renumbered(value: Any, levels: int) -> Any:
    """A copy of a list or dict with numbers that the C encoder writes as TypeScript does those of `value`."""
    if levels < 0 or (type(value) is dict and not _are_plain_names(value)):
        raise ValueError
    copy = value.copy()
    for place, member in value.items() if type(value) is dict else enumerate(value):
        kind = type(member)
        if kind is str:
            continue
        if kind is float:
            if not _is_plain_float(member):
                copy[place] = _as_typescript(member)
        elif kind is dict or kind is list:
            copy[place] = _renumbered(member, levels - 1)
        elif not _is_plain_constant(member):
            raise ValueError
    return copy


def _as_typescript(number: float) -> int | str:
    if -MAX_EXACT_INTEGER <= number <= MAX_EXACT_INTEGER and number.is_integer():
        return int(number)
    if not math.isfinite(number):
        raise ValueError
    return f"{_FIRST_SURROGATE}{_number(number)}{_FIRST_SURROGATE}"


def _spelled_exactly(value: object, root: str) -> Spelling:
    writer = _Writer(root)
    text = writer.text(json_value(value, root=root))
    return Spelling(text.encode(), None, writer.loss)


def _exact_text(value: JsonValue) -> str:
    return _Writer("").text(value)


class _Writer:
    """Writes JSON values as `JSON.stringify` writes an object whose members were added in sorted order."""

    __slots__ = ("_path", "_root", "loss")

    def __init__(self, root: str) -> None:
        self._root = root
        self._path: list[str | int] = []
        self.loss: str | None = None

    def text(self, value: JsonValue) -> str:
        if isinstance(value, str):
            return _string(value)
        if isinstance(value, dict):
            return self._dict(value)
        if isinstance(value, list):
            return self._list(value)
        if value is None or isinstance(value, bool):
            return _CONSTANTS[value]
        return self._integer(value) if isinstance(value, int) else self._float(value)

    def _integer(self, value: int) -> str:
        if -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
            return int.__repr__(value)
        try:
            nearest = float(value)
        except OverflowError:
            nearest = math.inf
        if nearest != value:
            self._lost(f"the integer {value}")
        return _number(nearest)

    def _float(self, value: float) -> str:
        if not math.isfinite(value):
            self._lost(f"the number {value}")
        return _number(value)

    def _list(self, value: list[JsonValue]) -> str:
        texts = []
        for number, member in enumerate(value):
            self._path.append(number)
            texts.append(self.text(member))
            self._path.pop()
        return f"[{','.join(texts)}]"

    def _dict(self, value: dict[str, JsonValue]) -> str:
        texts = []
        for name in sorted(value, key=_name_order):
            if name == _LOST_NAME:
                self._lost("the member __proto__")
                continue
            self._path.append(name)
            texts.append(f"{_string(name)}:{self.text(value[name])}")
            self._path.pop()
        return f"{{{','.join(texts)}}}"

    def _lost(self, what: str) -> None:
        if self.loss is None:
            self.loss = f"{what} at {shown_path(self._path, self._root)}"


def _string(value: str) -> str:
    text = _AS_GIVEN.encode(value)
    return _escaped(text)


def _name_order(name: str) -> tuple[int, bytes]:
    """Array indices by number, then all others by UTF-16 code units."""
    if _INDEX.fullmatch(name) and int(name) <= _LARGEST_INDEX:
        return int(name), b""
    return _LARGEST_INDEX + 1, name.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """A double as ECMAScript's Number::toString writes it; what is no number as JSON.stringify does.

    Both languages write the fewest digits that read back the same number (Python's `repr` since 3.1), so
    that only the place of the point and the exponent differ.
    """
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """`digits` as 0.digits * 10^point."""
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"


def _sorted_members(value: object) -> object:
    """Members of mappings and lists in order of name; what is inside a tuple stays as it is, as published."""
    if isinstance(value, dict):
        return {name: _sorted_members(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted_members(member) for member in value]
    return value


def _escaped(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
