"""Which fields a vector search returns, and what it calls them: pure functions.

An answer repeats the name of a field in every row. One letter instead of each name makes that of a recall a quarter
smaller, and a little faster on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters

DISTANCE_FIELD = "__score"
"""It keeps its name: RediSearch leaves out a distance that is to be called otherwise than its KNN clause says."""


@dataclass(frozen=True, slots=True)
class Returning:
    """`arguments` ask for the distance and some fields; `names` says which field a name in the answer means."""

    arguments: tuple[bytes, ...]
    names: Mapping[bytes, str]


@lru_cache(maxsize=64)
def returning(fields: tuple[str, ...]) -> Returning:
    """RETURN for the distance and `fields`, in this order."""
    arguments = [DISTANCE_FIELD.encode()]
    names = {arguments[0]: DISTANCE_FIELD}
    letters = iter([letter for letter in ascii_letters if letter not in fields])
    for field in fields:
        name = field.encode()
        arguments.append(name)
        if len(name) > 1 and (letter := next(letters, None)) is not None:
            name = letter.encode()
            arguments += [b"AS", name]
        names[name] = field
    return Returning((b"RETURN", b"%d" % len(arguments), *arguments), names)
