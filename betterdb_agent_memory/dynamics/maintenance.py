"""What a pass over all memories decides, a page at a time, and what it says at its end. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.memory.scoring.base import BoolArray
from betterdb_agent_memory.memory.scoring.chain import Traces, ahead, current_traces, layer_numbers, reinforced
from betterdb_agent_memory.memory.standing.figures import Figures

_ARCHIVE, _CORE = 0, 2


@dataclass(frozen=True, slots=True)
class Replay:
    """Which memories are gone through again, as in sleep: those of at least this `importance` whose strength has fallen
    below `promote_at` of the chain. It is worth `share` of a use.
    """

    importance: float = 0.7
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass does. It looks `days` ahead: what will have less strength than `forget_below` by then is forgotten
    (None: nothing is), or with `archive` put away, and layers are compared with those of now.
    """

    days: float = 0.0
    forget_below: float | None = None
    replay: Replay | None = None
    archive: bool = False

    @property
    def name(self) -> str:
        """Tells plans apart, so that a pass that broke off is gone on with by one of the same plan."""
        return repr(self)


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """What a pass over all memories did; with `dry_run` what it would have done.

    `looked_at` memories, of which `forgotten` have left: `put_away` of them are archived, the others deleted. Of those
    that were weak enough `pinned_kept` are pinned, and `used_kept` were used, changed or gone when it came to it.
    `replayed` were gone through again. `promoted`, `demoted` and `archived` come to the core, leave it for the working
    layer, and come to the archive within the `days` that were looked ahead: layers follow from traces, and nothing is
    written for them. `mean_strength` is that of all memories that stay, and `downscaled` what all strengths were
    multiplied with. `resumed` says that it went on where another pass had broken off, and counts what that did, too.
    """

    days: float = 0.0
    looked_at: int = 0
    forgotten: int = 0
    put_away: int = 0
    pinned_kept: int = 0
    used_kept: int = 0
    replayed: int = 0
    promoted: int = 0
    demoted: int = 0
    archived: int = 0
    doubted: int = 0
    mean_strength: float = 0.0
    downscaled: float = 1.0
    resumed: bool = False
    dry_run: bool = False

    def plus(self, **counts: Any) -> MaintenanceResult:
        """With these counts added."""
        return replace(self, **{name: getattr(self, name) + count for name, count in counts.items()})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided about a page: the places of memories to forget and to replay, the traces after a replay, and
    counts by the names of `MaintenanceResult`. `strength` is the sum over those that stay.
    """

    forget: tuple[int, ...]
    replay: tuple[int, ...]
    replayed: Traces
    counts: dict[str, int]
    strength: float


def verdict(figures: Figures, now_ms: int, plan: Plan, parameters: DynamicsParameters) -> Verdict:
    """What the plan means for these memories at `now_ms`. A pinned one neither fades out nor needs replays."""
    chain, importance = parameters.chain, figures.candidates.importance
    before, days = current_traces(figures.candidates, now_ms, chain)
    now = ahead(before, importance, days, chain)
    then = ahead(before, importance, days + plan.days, chain)
    layers, later = (
        layer_numbers(before, importance, days, chain),
        layer_numbers(before, importance, days + plan.days, chain),
    )
    weak: BoolArray = np.zeros(len(figures), dtype=bool)
    if plan.forget_below is not None:
        weak = then.strength < plan.forget_below
    forget = weak & ~figures.pinned
    replay: BoolArray = np.zeros(len(figures), dtype=bool)
    replayed = now
    if plan.replay is not None:
        is_due = (importance >= plan.replay.importance) & (now.strength < chain.promote_at)
        replay = is_due & ~forget & ~figures.pinned
        replayed = reinforced(before, importance, days, chain, share=plan.replay.share)
    stays = ~forget
    strengths = np.where(replay, replayed.strength, now.strength)
    return Verdict(
        forget=tuple(np.flatnonzero(forget).tolist()),
        replay=tuple(np.flatnonzero(replay).tolist()),
        replayed=replayed,
        counts={
            "looked_at": len(figures),
            "pinned_kept": int((weak & figures.pinned).sum()),
            "promoted": int(((later == _CORE) & (layers != _CORE) & stays).sum()),
            "demoted": int(((layers == _CORE) & (later != _CORE) & (later != _ARCHIVE) & stays).sum()),
            "archived": int(((later == _ARCHIVE) & (layers != _ARCHIVE) & stays).sum()),
            "doubted": int((figures.reliability < figures.kind_reliability).sum()),
        },
        strength=float(strengths[stays].sum()),
    )
