"""Dynamics: what a fleet does about how its memories stand, learn from outcomes, and are maintained."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.dynamics.arguments import (
    MAINTENANCE_LEASE_SECONDS,
    check_conduct,
    checked_archive,
    checked_days,
    checked_hits,
    checked_replay,
    checked_strength,
    id_of,
    scope_of,
)
from betterdb_agent_memory.dynamics.feedback import FeedbackDetector, feedback_value
from betterdb_agent_memory.dynamics.learning import used
from betterdb_agent_memory.dynamics.maintaining import Maintenance
from betterdb_agent_memory.dynamics.maintenance import MaintenanceResult, Plan, Replay
from betterdb_agent_memory.dynamics.outcomes import checked_outcome
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.dynamics.presets import Preset, parameters_of
from betterdb_agent_memory.dynamics.recent_recalls import RecentRecalls
from betterdb_agent_memory.dynamics.reporting import (
    DynamicsHealth,
    DynamicsStats,
    Tallying,
    health_of,
    observations,
)
from betterdb_agent_memory.dynamics.state import OUTCOMES, OUTCOMES_THOUSANDTHS, RECALLS, RECALLS_EMPTY
from betterdb_agent_memory.dynamics.teaching import OutcomeResult, teach
from betterdb_agent_memory.dynamics.timeline import TIMES_A_ROW, Timeline, Tracing
from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.drafts import checked_content
from betterdb_agent_memory.memory.figures import figures_of_items, figures_of_rows
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import MemoryItem, checked_id
from betterdb_agent_memory.memory.requests import checked_integer, exact_filter
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope
from betterdb_agent_memory.memory.standing.standing import Standing, standings
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.memory.times import MAX_TIME_MS
from betterdb_agent_memory.memory.where import Where
from betterdb_agent_memory.memory.workplace import Workplace
from betterdb_agent_memory.options import DEFAULT_MAX_CONTENT_BYTES, is_number


class Dynamics:
    """How the memories of a store strengthen, fade and are believed: `agent.dynamics`, or around any `MemoryStore`.

    `parameters` are the name of a preset ("chatbot", "task_agent", "personal_assistant", "researcher", "default") or
    `DynamicsParameters`. A store of your own ranks recalls by them if it is made with
    `scoring_parameters=parameters.scoring`; an agent does that by itself. `detector` reads an outcome from what a
    person says, in place of `feedback_value`: text to a number from -1 to 1 or None, plain or async.

    It works on memories that any client wrote, and many workers may do it at once: what one learns, none loses.

    Raises:
        ConfigurationError: there is no such preset, or an argument is of another type.
    """

    def __init__(
        self,
        store: MemoryStore,
        parameters: Preset | DynamicsParameters | None = None,
        *,
        detector: FeedbackDetector | None = None,
    ) -> None:
        if not isinstance(store, MemoryStore):
            raise ConfigurationError(f"Dynamics goes around a MemoryStore, got {type(store).__name__}")
        if detector is not None and not callable(detector):
            raise ConfigurationError(f"detector must be a function from a text to an outcome, got {detector!r:.80}")
        self._store = store
        self._parameters = parameters_of(parameters)
        self._detector = detector
        self._recent = RecentRecalls()
        self._recalls = 0
        self._recalls_empty = 0

    @property
    def parameters(self) -> DynamicsParameters:
        """What it goes by."""
        return self._parameters

    async def recall(self, query: str, **options: Any) -> list[MemoryHit]:
        """`recall` of the store with its options, of which the last in each scope is kept in mind for `reward`.

        The round trips of the store's `recall`.

        Raises:
            InvalidInputError: an argument is refused, before the embedder was called.
        """
        scope = scope_of(options)
        workplace = await self._store.workplace()
        hits = await self._store.recall(query, **options)
        self._recalls += 1
        self._recalls_empty += not hits
        self._recent.note(scope, [hit.item.id for hit in hits], workplace.clock())
        return hits

    async def standing(self, hits: Sequence[MemoryHit | str]) -> list[Standing]:
        """How memories stand, hits or ids, in their order; those that are gone are left out.

        By the parameters of this object, at the time of the call; `hit.standing` goes by those of the store, at the
        time of the recall. No round trip for hits, which are taken as they were read; one per 500 ids.

        Raises:
            InvalidInputError: one is neither a hit nor an id.
        """
        checked = checked_hits(hits)
        workplace = await self._store.workplace()
        now_ms = workplace.clock()
        items = [hit.item for hit in checked if isinstance(hit, MemoryHit)]
        ids = [hit for hit in checked if isinstance(hit, str)]
        parameters = self._parameters.scoring
        known = {one.id: one for one in standings(figures_of_items(items), now_ms, parameters)}
        if ids:
            rows = await workplace.read(ids)
            known |= {one.id: one for one in standings(figures_of_rows(rows), now_ms, parameters)}
        wanted = [id_of(hit) for hit in checked]
        return [known[id] for id in wanted if id in known]

    async def outcome(
        self, hits: Sequence[MemoryHit | str], value: float, *, recalled_at: int | None = None
    ) -> OutcomeResult:
        """Learn how good an answer was that rests on these hits, best first: `value` from -1 (it did harm) to 1.

        The outcome belongs to the hits by rank, and the less, the longer ago they were recalled (`recalled_at`, ms, now
        by default). What surprises teaches: counts of uses and successes, the traces of strength, and, for a success,
        stability, which grows with what had been forgotten. Two round trips and one for the statistics; two more
        each time that somebody else taught one of the memories at the same moment. A memory that was deleted
        meanwhile is not brought back.

        Raises:
            InvalidInputError: a hit, the value or the time is refused.
            VersionConflictError: others taught a memory without a pause; the lessons of the others are learnt.
        """
        ids = [id_of(hit) for hit in checked_hits(hits)]
        number = checked_outcome(value)
        workplace = await self._store.workplace()
        now_ms = workplace.clock()
        since_ms = now_ms if recalled_at is None else checked_integer("recalled_at", recalled_at, 0, 0, MAX_TIME_MS)
        result = await teach(workplace, ids, number, (now_ms - since_ms) / 1000, self._parameters)
        await self._count(workplace, number)
        return result

    async def reward(
        self,
        feedback: str,
        hits: Sequence[MemoryHit | str] | None = None,
        *,
        recalled_at: int | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
    ) -> OutcomeResult | None:
        """Learn from what a person says of an answer, such as "that was exactly it"; None where it says nothing of it.

        It is about `hits`, or, without them, about those of the last `recall` of this object in exactly this scope. The
        round trips of `outcome`.

        Raises:
            InvalidInputError: nothing was recalled in this scope, or the detector's answer is no outcome.
        """
        checked_content("feedback", feedback, DEFAULT_MAX_CONTENT_BYTES)
        wanted = checked_scope(scope, thread_id, agent_id, namespace)
        about = hits
        if about is None:
            last = self._recent.last(wanted)
            if last is None:
                raise InvalidInputError(
                    f"nothing was recalled in {wanted} through this object; use its recall, or say which hits are meant"
                )
            about, recalled_at = last.ids, last.at_ms if recalled_at is None else recalled_at
        value = await self._detected(feedback)
        return None if value is None else await self.outcome(about, value, recalled_at=recalled_at)

    async def maintain(
        self,
        *,
        forget_below: float | None = None,
        archive: bool = False,
        replay: Replay | None = None,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """All that should be done now and then, as one call for a scheduler; once a day is enough.

        Memories with less strength than `forget_below` (the chain's parameter by default) are forgotten, or put away
        (`archive`, see `forget`), weak ones
        that are important gone through again (`replay`), strengths scaled down where their mean is above its bound,
        and metrics observed for `health`. Pinned memories are spared, and so is what is used while it goes on.

        One worker at a time does it, for which others wait up to `wait_seconds`; what a worker that died had done is
        gone on with. Numbers are read, no texts and no vectors: four round trips per 1,000 memories, and as many as
        changes need. Every memory of the store is looked at.

        Raises:
            InvalidInputError: an argument is refused.
            LeaseHeldError: another worker is at it.
            LeaseLostError: this one stood still for longer than `lease_seconds`.
        """
        below = self._parameters.chain.forget_below if forget_below is None else checked_strength(forget_below)
        plan = Plan(forget_below=below, replay=checked_replay(replay) or Replay(), archive=checked_archive(archive))
        return await self._run(plan, dry_run, wait_seconds, lease_seconds, on_progress, whole=True)

    async def consolidate(
        self,
        *,
        days: float = 0.0,
        forget_below: float | None = None,
        archive: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Look `days` (0 to 36,500) ahead, and forget what will have faded by then if nobody uses it, or `archive` it.

        What comes to the core, leaves it or comes to the archive by then is counted. Since strength is a closed form,
        seven days ahead are what one day ahead is on each of seven days. Otherwise as `maintain`.
        """
        below = self._parameters.chain.forget_below if forget_below is None else checked_strength(forget_below)
        plan = Plan(days=checked_days(days), forget_below=below, archive=checked_archive(archive))
        return await self._run(plan, dry_run, wait_seconds, lease_seconds, on_progress)

    async def forget(
        self,
        threshold: float | None = None,
        *,
        archive: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Delete memories with less strength than `threshold` (the chain's `forget_below`), but no pinned ones.

        With `archive` they are put away instead: to where superseded versions are, for the store's `superseded_ttl`
        and no longer than they would have lived. No client recalls, lists or counts them, but who asks for them
        (`recall(include_superseded=True)`, `recall(as_of=...)`, `history`); `restore` brings one back, and who forgets
        it or its scope forgets it there, too.
        `dry_run` counts and writes nothing. Otherwise as `maintain`.
        """
        return await self.consolidate(
            forget_below=threshold,
            archive=archive,
            dry_run=dry_run,
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
            on_progress=on_progress,
        )

    async def restore(self, id: str) -> MemoryItem:
        """Bring a memory back that was archived, with all that it had but its links, and return it.

        It is as strong as after a use now, so that the next maintenance does not put it away again. Where its scope is
        full another memory leaves for it. Four round trips, and an embedding call where the store's model has been
        changed since.

        Raises:
            MemoryNotFoundError: no such memory is archived.
            MemoryExistsError: it is not archived, or another memory has its id by now.
            SupersededError: it is the former version of another memory, and no archived one.
            ConfigurationError: it would have to be embedded anew, and the store has no embedder.
        """
        workplace = await self._store.workplace()
        return await workplace.restore(checked_id(id), lambda row, now_ms: used(row, now_ms, self._parameters))

    async def replay(
        self,
        replay: Replay | None = None,
        *,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Go through weak memories that are important again, as in sleep: worth a share of a use each.

        Otherwise as `maintain`.
        """
        plan = Plan(replay=checked_replay(replay) or Replay())
        return await self._run(plan, dry_run, wait_seconds, lease_seconds, on_progress)

    async def downscale(
        self,
        factor: float | None = None,
        *,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Multiply all strengths with `factor` (above 0, at most 1); by default with what brings their mean down to
        its bound, which is 1 where it is not above.

        The traces of every memory are written, so that every reader finds them; nothing where the factor is 1. Where
        a worker that died had begun with this factor within a day, that is finished, and none is scaled twice.
        Otherwise as `maintain`.
        """
        if factor is not None and not (is_number(factor) and 0 < factor <= 1):
            raise InvalidInputError(f"factor must be a number above 0 and at most 1, got {factor!r:.80}")
        return await self._run(
            Plan(), dry_run, wait_seconds, lease_seconds, on_progress, factor=factor, downscales=True
        )

    async def stats(self) -> DynamicsStats:
        """How the memories stand, in all and by kind: numbers by layer, mean strength and confidence.

        A pass over all memories, as `maintain`, that writes nothing and holds no lease.
        """
        workplace = await self._store.workplace()
        tallying = Tallying(workplace.clock(), self._parameters)
        async for rows in workplace.walk():
            await off_loop(len(rows), _tally, tallying, rows)
        return tallying.stats()

    async def timeline(
        self,
        *,
        ahead_days: float = 180.0,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
    ) -> Timeline | None:
        """How strong the memories of a scope were since the first was written, and will be in the days to come; None
        where there are none. For `plots.strength_over_time`.

        What is to come is as if none were used. What has been is what can be known: each as since its last use, and
        before that as if it had not been used. The round trips of `stats`, for the memories of the scope.

        Raises:
            InvalidInputError: the scope or a condition is refused, or `ahead_days` (0 to 36,500).
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where, kind=kind)
        days = checked_days(ahead_days)
        workplace = await self._store.workplace()
        now_ms = workplace.clock()
        tracing: Tracing | None = None
        async for rows in workplace.walk(filter):
            candidates = figures_of_rows(rows).candidates
            if tracing is None:
                first_ms = float(np.nanmin(candidates.created_at_ms))
                tracing = Tracing(int(first_ms), now_ms, days, self._parameters)
            await off_loop(TIMES_A_ROW * len(rows), tracing.add, candidates)
        return None if tracing is None else tracing.timeline()

    async def health(self) -> DynamicsHealth:
        """What the last maintenance observed, and what of it is out of the ordinary. One round trip.

        A metric is judged once it was observed as often as the parameters' `warm_up`.
        """
        workplace = await self._store.workplace()
        return health_of(await workplace.values.read_map(workplace.state_key), self._parameters)

    async def _detected(self, feedback: str) -> float | None:
        found = feedback_value(feedback) if self._detector is None else self._detector(feedback)
        value = await found if inspect.isawaitable(found) else found
        return None if value is None else checked_outcome(value)

    async def _count(self, workplace: Workplace, value: float | None = None) -> None:
        """Add what this worker has seen to the counts of the fleet. One round trip, none where there is nothing."""
        amounts = {RECALLS: self._recalls, RECALLS_EMPTY: self._recalls_empty}
        if value is not None:
            amounts |= {OUTCOMES: 1, OUTCOMES_THOUSANDTHS: round(value * 1000)}
        amounts = {name: amount for name, amount in amounts.items() if amount}
        if not amounts:
            return
        self._recalls = self._recalls_empty = 0
        batch = workplace.values.batch()
        reply = batch.increment_many(workplace.state_key, amounts)
        await batch.send()
        reply.result()

    async def _run(
        self,
        plan: Plan,
        dry_run: bool,
        wait_seconds: float,
        lease_seconds: float,
        on_progress: ProgressFn | None,
        *,
        whole: bool = False,
        downscales: bool = False,
        factor: float | None = None,
    ) -> MaintenanceResult:
        check_conduct(dry_run, wait_seconds, lease_seconds, on_progress)
        workplace = await self._store.workplace()
        if dry_run:
            maintenance = Maintenance(workplace, self._parameters, None, workplace.clock(), on_progress)
            return await maintenance.run(plan, downscales=whole or downscales, factor=factor)
        async with workplace.alone(wait_seconds, lease_seconds) as lease:
            maintenance = Maintenance(workplace, self._parameters, lease, workplace.clock(), on_progress)
            result = await maintenance.run(plan, downscales=whole or downscales, factor=factor)
            if whole:
                await self._count(workplace)
                state = await workplace.values.read_map(workplace.state_key)
                seen = observations(state, result, workplace.clock(), self._parameters)
                await lease.write_map(workplace.state_key, seen)
        return result


def _tally(tallying: Tallying, rows: Sequence[Row]) -> None:
    tallying.add(figures_of_rows(rows))
