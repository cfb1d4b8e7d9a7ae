"""How far long work has come, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` memories in this `stage` of the work; `total` is None while it is not known."""

    stage: str
    done: int
    total: int | None = None


ProgressFn: TypeAlias = Callable[[Progress], None]
"""Told of progress, on the event loop, about once a page; what it raises ends the work."""
