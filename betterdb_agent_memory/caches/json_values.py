"""Brings what programs pass as arguments into the few types that JSON has.

| given | becomes |
|---|---|
| None, bool, int, float, str | itself; a surrogate pair becomes the character that it stands for |
| dict and other mappings | a dict; names are text, whole numbers (as text) or enum members of either |
| list, tuple, named tuple, deque, range | a list, in the given order |
| set, frozenset | a list in the order of the canonical text of its members |
| Enum member | its value |
| dataclass instance | a dict of all its fields, by their names |
| pydantic model | a dict of all its fields, extras and computed fields, by their aliases; a root model: its root |
| datetime, date, time | ISO 8601 text (`isoformat`), with the offset that it has and none if it has none |
| Decimal | its decimal text, so that no digit is lost: `Decimal("1.10")` -> `"1.10"` |
| UUID | its text |
| numpy bool, integer, float or text; numpy array of these | the Python value; nested lists |
| bytes, bytearray, memoryview | refused: pass text, or `hash_bytes(...)` for a reference |
| iterators | refused: reading them would use them up |
| anything else (SecretStr, timedelta, clients, callables, ...) | refused |

Dataclasses and models count by the members that they hold, not by their class: `Square(2)` and `Circle(2)` are the
same where both have one field of that name, and then a member that names the kind tells them apart. All
fields count, those of a subclass in a place declared as its base and those with `exclude=True`, `repr=False` or
`compare=False` too, each as it is held: serializers are not asked, because two values may be the same to them.
Private attributes do not count, nor does a computed field that has the name of another member.

Refused too are two members that would have the same name (`1` and `"1"`), integers of more than
4096 bits, Decimals that are no number, values that contain themselves, and more than 128 levels. A
refusal names the path, as in `messages[2].content`. Nothing here depends on the locale, the order of a
set, the decimal context or the time zone of the machine.

Two values of different types can become the same: `(1, 2)` and `[1, 2]`, `Decimal("1")` and `"1"`. They
are one and the same request when they are sent.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
from pydantic import BaseModel, RootModel

from betterdb_agent_memory.errors import InvalidInputError

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

MAX_DEPTH: Final = 128
"""Levels of lists and mappings in one value; more is a mistake or an attack, and what reads it must recurse."""
MAX_INTEGER_BITS: Final = 4096

Order: TypeAlias = Callable[[JsonValue], str]
"""What the members of a set are sorted by."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def converted(value: object, *, root: str, order: Order) -> JsonValue:
    """`value` in the types of JSON, by the table of this module; new containers, the given ones are not kept.

    `root` is what errors call the value itself, `order` gives the text by which members of sets are sorted.
    Programs call `canonical.json_value`.

    Raises:
        InvalidInputError: the value, or something in it, has no defined form.
    """
    return _Conversion(root, order).of(value)


class _Conversion:
    """One conversion: where it is, and which containers it is inside of."""

    __slots__ = ("_inside", "_order", "_path", "_root")

    def __init__(self, root: str, order: Order) -> None:
        self._root = root
        self._order = order
        self._path: list[str | int] = []
        self._inside: set[int] = set()

    def of(self, value: object) -> JsonValue:
        if isinstance(value, Enum):
            return self.of(value.value)
        if isinstance(value, str):
            return joined_surrogates(str.__str__(value))
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._integer(int.__int__(value))
        if isinstance(value, float):
            return float.__float__(value)
        return self._container(value) if _is_container(value) else self._scalar(value)

    def _integer(self, value: int) -> int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise self._refused(f"an integer of {value.bit_length():,} bits", "pass it as text")
        return value

    def _scalar(self, value: object) -> JsonValue:
        match value:
            case datetime() | date() | time():
                return value.isoformat()
            case Decimal():
                return self._decimal(value)
            case UUID():
                return str(value)
            case np.generic():
                return self._numpy_scalar(value)
            case bytes() | bytearray() | memoryview():
                raise self._type_refused(value, "pass text, or a reference to the bytes such as hash_bytes(...) gives")
            case Iterable():
                raise self._type_refused(value, "pass list(...) of it")
            case _:
                raise self._type_refused(value, "pass text, numbers, lists, mappings, dataclasses or pydantic models")

    def _decimal(self, value: Decimal) -> str:
        if not value.is_finite():
            raise self._refused(f"Decimal({str(value)!r})", "pass None or text for what is no number")
        return str(value).upper()  # a decimal context may ask for 1e+3

    def _numpy_scalar(self, value: np.generic) -> JsonValue:
        plain = value.item()
        if isinstance(value, np.datetime64 | np.timedelta64) or isinstance(plain, np.generic | bytes | complex):
            raise self._type_refused(value, "pass text or a number")
        return self.of(plain)

    def _container(self, value: object) -> JsonValue:
        if id(value) in self._inside:
            raise self._refused("a value that contains itself", "pass a copy without the reference to itself")
        if len(self._inside) == MAX_DEPTH:
            raise self._refused(f"more than {MAX_DEPTH} levels of lists and mappings", "pass the deeper part as text")
        self._inside.add(id(value))
        try:
            return self._members(value)
        finally:
            self._inside.discard(id(value))

    def _members(self, value: object) -> JsonValue:
        match value:
            case dict() | Mapping():
                return self._named(value.items())
            case list():
                return self._sequence(value)
            case RootModel():
                return self.of(value.root)
            case BaseModel():
                return self._named(_model_members(value))
            case Set():
                return sorted(self._sequence(value), key=self._order)
            case np.ndarray():
                return self._sequence(value) if value.ndim else self.of(value[()])
            case Iterable():
                return self._sequence(value)
            case _:
                fields = dataclasses.fields(value)  # type: ignore[arg-type]
                return self._named((field.name, getattr(value, field.name)) for field in fields)

    def _named(self, pairs: Iterable[tuple[object, object]]) -> dict[str, JsonValue]:
        members: dict[str, JsonValue] = {}
        for name, member in pairs:
            text = self._name(name)
            if text in members:
                raise self._refused(f"two members named {text!r:.80}", "give each its own name")
            self._path.append(text)
            members[text] = self.of(member)
            self._path.pop()
        return members

    def _name(self, name: object) -> str:
        if isinstance(name, Enum):
            name = name.value
        if isinstance(name, np.integer):
            name = name.item()
        if isinstance(name, str):
            return joined_surrogates(str.__str__(name))
        if isinstance(name, int) and not isinstance(name, bool):
            return int.__repr__(self._integer(int.__int__(name)))
        raise self._refused(f"a member with the name {name!r:.80} ({_type_name(name)})", "names of members are text")

    def _sequence(self, value: Iterable[object]) -> list[JsonValue]:
        members: list[JsonValue] = []
        for number, member in enumerate(value):
            self._path.append(number)
            members.append(self.of(member))
            self._path.pop()
        return members

    def _type_refused(self, value: object, advice: str) -> InvalidInputError:
        return self._refused(f"a {_type_name(value)}", advice)

    def _refused(self, what: str, advice: str) -> InvalidInputError:
        where = shown_path(self._path, self._root)
        return InvalidInputError(f"{where} is or has {what}, which has no form in a cache key; {advice}")


def members_held(value: object) -> Collection[object]:
    """What is directly in `value`, as it is; for an array of numbers as many numbers, for no container nothing."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict | Mapping):
        return value.values()
    if not _is_container(value):
        return ()
    match value:
        case BaseModel():
            return [*vars(value).values(), *(value.model_extra or {}).values()]
        case np.ndarray():
            return value.tolist() if value.dtype == object and value.ndim else range(value.size)
        case Collection():
            return value
        case _:
            return [getattr(value, field.name) for field in dataclasses.fields(value)]  # type: ignore[arg-type]


def shown_path(path: Sequence[str | int], root: str = "") -> str:
    """The place of a member as a program would write it.

    >>> shown_path(["messages", 2, "content"]), shown_path([0, "odd name"], "args"), shown_path([])
    ('messages[2].content', "args[0]['odd name']", 'the value')
    """
    text = root
    for step in path:
        if isinstance(step, str) and _PLAIN_NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r:.80}]"
    return text or "the value"


def joined_surrogates(text: str) -> str:
    """`text` with each pair of surrogates as the one character it stands for; lone ones stay."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _model_members(model: BaseModel) -> Iterator[tuple[str, object]]:
    # Not model_dump: it leaves out excluded fields, and those that only the class of a member has and not the declared
    # one. From __dict__, because the attribute of a deprecated field warns.
    held, names = vars(model), set()
    for field_name, field in type(model).model_fields.items():
        if field_name in held:  # model_construct needs not all
            name = field_name if field.serialization_alias is None else field.serialization_alias
            names.add(name)
            yield name, held[field_name]
    extras = model.model_extra or {}
    yield from extras.items()
    # Not model_computed_fields: before pydantic 2.10 instances have it, from then on classes.
    for attribute, computed in model.__pydantic_decorators__.computed_fields.items():
        name = attribute if computed.info.alias is None else computed.info.alias
        if name not in names and name not in extras:
            yield name, getattr(model, attribute)


def _is_container(value: object) -> bool:
    if isinstance(value, dict | list | Mapping | Set | BaseModel | np.ndarray):
        return True
    if isinstance(value, Sequence):
        return not isinstance(value, str | bytes | bytearray | memoryview)
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
