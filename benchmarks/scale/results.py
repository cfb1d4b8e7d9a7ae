"""Figures in a file, one cell after the other, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

QUIET_CORES = 0.2
"""What others may take of the machine before times are marked as noisy."""


class BudgetSpentError(Exception):
    """No further cell is begun."""


class Results:
    """`cells` by name (`server/384/100000`), written whenever one was measured.

    A cell is a mapping of figures, with `noise`: how many cores others kept busy meanwhile.
    """

    def __init__(self, path: Path | None, budget_seconds: float | None = None) -> None:
        self._path = path
        self._ends = None if budget_seconds is None else monotonic() + budget_seconds
        kept = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}
        self.machine: dict[str, Any] = kept.get("machine", {})
        self.cells: dict[str, dict[str, Any]] = kept.get("cells", {})

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def stores(self, engine: str, kind: str) -> list[tuple[int, int, dict[str, Any]]]:
        """Dimensions, memories and figures of one kind (`growth`, `asked` ...) in the stores of an engine, in order."""
        found = []
        for name, cell in self.cells.items():
            parts = name.split("/")
            if parts[0] == engine and parts[-1] == kind:
                found.append((int(parts[1]), int(parts[2]), cell))
        return sorted(found, key=lambda one: one[:2])

    def require_time(self) -> None:
        """Raise `BudgetSpentError` where the budget is spent."""
        if self._ends is not None and monotonic() > self._ends:
            raise BudgetSpentError

    @contextmanager
    def measuring(self, name: str) -> Iterator[dict[str, Any]]:
        """A cell to fill; kept when the block ends without an error."""
        self.require_time()
        cell: dict[str, Any] = {}
        began = monotonic()
        noise = Noise()
        yield cell
        cell |= {"noise": round(noise.cores_of_others(), 2), "seconds": round(monotonic() - began, 1)}
        cell["date"] = datetime.now(UTC).isoformat(timespec="minutes")
        self.cells[name] = cell
        self.save()

    def save(self) -> None:
        """Write all figures; a reader sees the old file or the new one."""
        if self._path is not None:
            beside = self._path.with_suffix(".part")
            text = json.dumps({"machine": self.machine, "cells": self.cells}, indent=1)
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(self._path)


class Noise:
    """How busy others keep the machine while something is measured; 0 where there is no /proc to tell."""

    def __init__(self) -> None:
        self._before = _busy()

    def cores_of_others(self) -> float:
        """Cores, on average since this was made."""
        at, busy = _busy()
        began, was_busy = self._before
        return max(0.0, (busy - was_busy) / max(1e-9, at - began))


def _busy() -> tuple[float, float]:
    """Now, and for how many seconds any core was busy with something else than this process and its children."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system, _, _, *rest = map(int, line.split()[1:9])
        ours = sum(map(_ticks, _family(os.getpid())))
    except OSError:
        return monotonic(), 0.0
    return monotonic(), (user + nice + system + sum(rest) - ours) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text(encoding="ascii").split():
            yield from _family(int(child))


def _ticks(pid: int) -> int:
    """What a process and its ended children took."""
    behind_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, behind_name[11:15]))
