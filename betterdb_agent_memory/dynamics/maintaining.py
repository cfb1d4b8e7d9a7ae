"""Passes over all memories of a store: alone under a lease, a page at a time, gone on with where one broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from time import monotonic

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.dynamics.downscaling import factor_needed
from betterdb_agent_memory.dynamics.learning import traces_written
from betterdb_agent_memory.dynamics.maintenance import MaintenanceResult, Plan, Verdict, verdict
from betterdb_agent_memory.dynamics.pacing import Pace, pause_after
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.dynamics.state import PASS, Unfinished, decode_unfinished, encode_unfinished
from betterdb_agent_memory.engines.base import Fence, Outcome, Position, RecordChange, Row
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.figures import USE_FIELDS, figures_of_rows, seen
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.scoring.chain import Traces
from betterdb_agent_memory.memory.standing.standing import traces_at
from betterdb_agent_memory.memory.workplace import Workplace

_ATTEMPTS = 5
_DOWNSCALING = "downscale by "
_LONGEST_PAUSE_MS = 86_400_000
"""A pass that broke off longer ago than a day is not gone on with: much has changed since."""


class Maintenance:
    """One run of maintenance on one store, by the time `now_ms`. Its passes hold the `lease`, but for a dry run.

    Each page is read, decided about and written before the next one; how far it has come is written down behind it,
    so that whoever comes after a crash goes on there. Nothing that is written could be written twice.
    """

    def __init__(
        self,
        workplace: Workplace,
        parameters: DynamicsParameters,
        lease: HeldLease | None,
        now_ms: int,
        on_progress: ProgressFn | None,
    ) -> None:
        self._workplace = workplace
        self._parameters = parameters
        self._lease = lease
        self._now_ms = now_ms
        self._on_progress = on_progress
        self._pace = Pace()

    async def run(self, plan: Plan, *, downscales: bool = False, factor: float | None = None) -> MaintenanceResult:
        """Carry a plan out. With `downscales` all strengths are multiplied after that: with `factor`, or with what
        brings their mean down to its bound. A downscaling that broke off is finished first; where one with the same
        `factor` is asked for, it was that one, and is not done once more.
        """
        unfinished, finished = await self._unfinished(), None
        if unfinished is not None and unfinished.plan.startswith(_DOWNSCALING):
            finished = float(unfinished.plan.removeprefix(_DOWNSCALING))
            await self._scale(finished, unfinished)
            unfinished = None
        result = await self._carried_out(plan, unfinished)
        if not downscales:
            return result
        if factor is not None and factor == finished:
            return replace(result, downscaled=factor, resumed=True)
        stay = result.looked_at - result.forgotten
        if factor is None:
            factor = factor_needed(result.mean_strength * stay, stay, self._parameters.downscaling)
        if factor < 1 and self._lease is not None:
            await self._scale(factor, None)
        return replace(result, downscaled=factor, mean_strength=result.mean_strength * factor)

    async def _carried_out(self, plan: Plan, unfinished: Unfinished | None) -> MaintenanceResult:
        result, strength, after = MaintenanceResult(days=plan.days, dry_run=self._lease is None), 0.0, None
        if unfinished is not None and unfinished.plan == plan.name:
            result, strength, after = replace(unfinished.result, resumed=True), unfinished.strength, unfinished.after
        async for rows in self._pages(after):
            decided = await off_loop(len(rows), self._decided, rows, plan)
            result = await self._done(rows, decided, result, archive=plan.archive)
            strength += decided.strength
            stay = result.looked_at - result.forgotten
            result = replace(result, mean_strength=strength / stay if stay else 0.0)
            await self._note(plan.name, rows, result, strength)
            self._tell("looking", result.looked_at)
        await self._finished()
        return result

    def _decided(self, rows: Sequence[Row], plan: Plan) -> Verdict:
        return verdict(figures_of_rows(rows), self._now_ms, plan, self._parameters)

    async def _done(
        self, rows: Sequence[Row], decided: Verdict, result: MaintenanceResult, *, archive: bool
    ) -> MaintenanceResult:
        result = result.plus(**decided.counts)
        if self._lease is None:
            faded = len(decided.forget)
            return result.plus(forgotten=faded, put_away=faded if archive else 0, replayed=len(decided.replay))
        let_go = self._workplace.archive if archive else self._workplace.forget
        async for places in self._slices(decided.forget):
            weak = [rows[place] for place in places]
            gone = await let_go([row.id for row in weak], [seen(row.fields, USE_FIELDS) for row in weak], self._fence())
            result = result.plus(
                forgotten=sum(gone), put_away=sum(gone) if archive else 0, used_kept=len(gone) - sum(gone)
            )
        async for places in self._slices(decided.replay):
            changes = traces_written(rows, decided.replayed, places, self._now_ms)
            outcomes = await self._workplace.change(changes, self._fence())
            # One that was taught something meanwhile needs no replay.
            result = result.plus(replayed=sum(outcome is Outcome.CHANGED for outcome in outcomes))
        return result

    async def _scale(self, factor: float, unfinished: Unfinished | None) -> None:
        """A memory that is scaled has traces of the time at which this began, so none is scaled twice; what is written
        or taught later is not made smaller.
        """
        now_ms, after = self._now_ms, None
        result = MaintenanceResult()
        if unfinished is not None:
            now_ms, after, result = unfinished.now_ms, unfinished.after, unfinished.result
        async for rows in self._pages(after):
            async for places in self._slices(range(len(rows))):
                await self._scale_rows([rows[place] for place in places], factor, now_ms)
            result = result.plus(looked_at=len(rows))
            await self._note(f"{_DOWNSCALING}{factor!r}", rows, result, 0.0, now_ms=now_ms)
            self._tell("downscaling", result.looked_at)
        await self._finished()

    async def _scale_rows(self, rows: Sequence[Row], factor: float, now_ms: int) -> None:
        waiting = rows
        for _ in range(_ATTEMPTS):
            changes = self._scaled(waiting, factor, now_ms)
            outcomes = await self._workplace.change(changes, self._fence())
            found = zip(changes, outcomes, strict=True)
            refused = [change.id for change, outcome in found if outcome is Outcome.REFUSED]
            if not refused:
                return
            waiting = await self._workplace.read(refused)

    async def _pages(self, after: Position | None) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of all memories, with time for others behind each."""
        pages = self._workplace.walk(after=after)
        began = monotonic()
        async for rows in pages:
            await asyncio.sleep(pause_after(monotonic() - began))
            yield rows
            began = monotonic()

    async def _slices(self, places: Sequence[int]) -> AsyncIterator[Sequence[int]]:
        """What is written a few at a time, with time for others in between."""
        start = 0
        while start < len(places):
            few = places[start : start + self._pace.size]
            began = monotonic()
            yield few
            await asyncio.sleep(self._pace.took(len(few), monotonic() - began))
            start += len(few)

    def _scaled(self, rows: Sequence[Row], factor: float, now_ms: int) -> list[RecordChange]:
        figures = figures_of_rows(rows)
        taught_ms = figures.candidates.created_at_ms
        if figures.candidates.strength_at_ms is not None:
            taught_ms = np.fmax(taught_ms, figures.candidates.strength_at_ms)
        traces = traces_at(figures, now_ms, self._parameters.chain)
        scaled = Traces(np.asarray(traces.working) * factor, np.asarray(traces.core) * factor)
        return traces_written(rows, scaled, np.flatnonzero(taught_ms < now_ms).tolist(), now_ms)

    def _fence(self) -> Fence:
        assert self._lease is not None
        self._lease.check()
        return self._lease.fence

    async def _unfinished(self) -> Unfinished | None:
        if self._lease is None:
            return None
        batch = self._workplace.values.batch()
        reply = batch.read_fields(self._workplace.state_key, [PASS])
        await batch.send()
        found = decode_unfinished(reply.result().get(PASS))
        if found is None or self._now_ms - found.now_ms > _LONGEST_PAUSE_MS:
            return None
        return found

    async def _note(
        self, plan: str, rows: Sequence[Row], result: MaintenanceResult, strength: float, *, now_ms: int | None = None
    ) -> None:
        if self._lease is None or not rows:
            return
        last = rows[-1]
        created_at = int(figures_of_rows([last]).candidates.created_at_ms[0])
        began_ms = self._now_ms if now_ms is None else now_ms
        note = Unfinished(plan, began_ms, Position(created_at, last.id), result, strength)
        await self._lease.write_map(self._workplace.state_key, {PASS: encode_unfinished(note)})

    async def _finished(self) -> None:
        if self._lease is not None:
            await self._workplace.values.remove_fields(self._workplace.state_key, [PASS])

    def _tell(self, stage: str, done: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(stage, done))
