"""What an engine goes by where it weighs how records were used, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Uses:
    """What the uses of a neighbour add to its worth: the base level of ACT-R less doubt.

    `memory/scoring/activation.py` has the formula. The times of its writing and its last access are those of the worth.
    `count_field` counts accesses, each `share` of a use, the last of which were at the comma-separated times in
    `times_field`; `helped_field` counts those that were whole uses. The effect of a use falls with its age to the power
    of `decay`. `doubt` times what is missing is taken away where the number in `trust_field` is less than usual: less
    than what `trusts` has for the value of `label_field`, or else `usual_trust`.
    """

    decay: float
    share: float
    doubt: float
    count_field: str
    times_field: str
    helped_field: str
    trust_field: str
    label_field: str
    usual_trust: float
    trusts: tuple[tuple[str, float], ...]


class Used(NamedTuple):
    """What an engine made of the uses of a record: their base `level`, and the `doubt` about it, 0 to 1."""

    level: float
    doubt: float
