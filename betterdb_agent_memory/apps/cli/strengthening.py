"""Commands about how memories strengthen, fade and learn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.confirming import require_yes
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import Dynamics, DynamicsStats, MaintenanceResult

Preset = Annotated[
    str,
    typer.Option("--preset", help="Parameters: default, chatbot, task_agent, personal_assistant or researcher."),
]
Below = Annotated[
    float | None, typer.Option("--below", metavar="STRENGTH", help="Forget what has less; the preset's by default.")
]
Archive = Annotated[bool, typer.Option("--archive", help="Put it away, to be asked for, and do not delete it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def maintain(
    context: typer.Context,
    below: Below = None,
    archive: Archive = False,
    preset: Preset = "default",
    dry_run: DryRun = False,
    yes: options.Yes = False,
) -> None:
    """Do all that should be done once a day."""
    _pass(
        context,
        preset,
        dry_run,
        yes,
        lambda dynamics, more: dynamics.maintain(forget_below=below, archive=archive, **more),
    )


def consolidate(
    context: typer.Context,
    days: Annotated[float, typer.Option("--days", help="How far to look ahead.")] = 0.0,
    below: Below = None,
    archive: Archive = False,
    preset: Preset = "default",
    dry_run: DryRun = False,
    yes: options.Yes = False,
) -> None:
    """Look ahead, and forget what will have faded by then."""
    _pass(
        context,
        preset,
        dry_run,
        yes,
        lambda dynamics, more: dynamics.consolidate(days=days, forget_below=below, archive=archive, **more),
    )


def forget(
    context: typer.Context,
    below: Below = None,
    archive: Archive = False,
    preset: Preset = "default",
    dry_run: DryRun = False,
    yes: options.Yes = False,
) -> None:
    """Forget what has faded."""
    _pass(context, preset, dry_run, yes, lambda dynamics, more: dynamics.forget(below, archive=archive, **more))


def restore(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Which memories.")],
    preset: Preset = "default",
) -> None:
    """Bring memories back that were put away with --archive."""
    session = session_of(context)

    async def work(dynamics: Dynamics) -> int:
        from betterdb_agent_memory.errors import MemoryExistsError, MemoryNotFoundError, SupersededError

        wanted = list(dict.fromkeys(ids))
        refused: dict[str, str] = {}
        for id in wanted:
            try:
                await dynamics.restore(id)
            except (MemoryExistsError, MemoryNotFoundError, SupersededError) as error:
                refused[id] = str(error)
        done = [id for id in wanted if id not in refused]
        if session.json:
            output.print_json({"restored": done, "refused": refused})
        else:
            output.say(f"{output.counted(len(done))} restored")
            for reason in refused.values():
                session.complain(reason)
        if not refused:
            return Exit.OK
        return Exit.PARTLY if done else Exit.NOTHING

    _with_dynamics(context, preset, work)


def replay(
    context: typer.Context,
    importance: Annotated[float, typer.Option("--importance", help="Of at least this importance, from 0 to 1.")] = 0.7,
    share: Annotated[float, typer.Option("--share", help="What share of a use it is worth, from 0 to 1.")] = 0.5,
    preset: Preset = "default",
    dry_run: DryRun = False,
) -> None:
    """Go through weak memories that are important again."""
    from betterdb_agent_memory.dynamics.maintenance import Replay

    which = Replay(importance, share)
    _pass(context, preset, dry_run, True, lambda dynamics, more: dynamics.replay(which, **more))


def downscale(
    context: typer.Context,
    factor: Annotated[
        float | None, typer.Option("--factor", help="What strengths are multiplied with; by default what is needed.")
    ] = None,
    preset: Preset = "default",
    dry_run: DryRun = False,
) -> None:
    """Make all strengths smaller by one factor."""
    _pass(context, preset, dry_run, True, lambda dynamics, more: dynamics.downscale(factor, **more))


def stats(context: typer.Context, preset: Preset = "default") -> None:
    """Show how memories stand, by kind."""
    session = session_of(context)

    async def work(dynamics: Dynamics) -> int:
        found = await dynamics.stats()
        if session.json:
            output.print_json(found)
        else:
            output.pairs_table(_lines(found))
        return Exit.OK if found.all.memories else Exit.NOTHING

    _with_dynamics(context, preset, work, reads=True)


def health(context: typer.Context, preset: Preset = "default") -> None:
    """Show what the last maintenance saw, and whether it is out of the ordinary."""
    session = session_of(context)

    async def work(dynamics: Dynamics) -> int:
        found = await dynamics.health()
        if session.json:
            output.print_json(found)
        elif not found.metrics:
            output.say("nothing has been observed yet: dynamics maintain does that")
        else:
            output.pairs_table(
                {
                    one.name: f"{one.value:.3g} (mean {one.mean:.3g}, z {one.z:.1f})"
                    + (" out of the ordinary" if one.anomalous else "")
                    for one in found.metrics
                }
            )
        return Exit.NOTHING if not found.metrics else Exit.PARTLY if found.anomalies else Exit.OK

    _with_dynamics(context, preset, work, reads=True)


def reward(
    context: typer.Context,
    feedback: Annotated[str, typer.Argument(metavar="TEXT", help='What was said: "that was exactly it".')],
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The memories of the answer, best first.")],
    preset: Preset = "default",
) -> None:
    """Learn from what somebody said of an answer."""
    session = session_of(context)

    async def work(dynamics: Dynamics) -> int:
        result = await dynamics.reward(feedback, ids)
        if session.json:
            output.print_json(result)
        elif result is None:
            output.say("that says nothing of the answer; nothing was learnt")
        else:
            output.pairs_table(
                {one.id: f"strength {one.strength_before:.3g} to {one.strength_after:.3g}" for one in result.lessons}
            )
            for id in result.missing:
                session.complain(f"there is no memory {id}")
        if result is None or not result.lessons:
            return Exit.NOTHING
        return Exit.PARTLY if result.missing else Exit.OK

    _with_dynamics(context, preset, work)


def _pass(
    context: typer.Context,
    preset: str,
    dry_run: bool,
    yes: bool,
    verb: Callable[[Dynamics, dict[str, Any]], Awaitable[MaintenanceResult]],
) -> None:
    """A pass over all memories; before it forgets something it asks."""
    session = session_of(context)

    async def work(dynamics: Dynamics) -> int:
        if not (dry_run or yes):
            planned = await verb(dynamics, {"dry_run": True})
            if planned.forgotten:
                what = "put away" if planned.put_away else "forget"
                require_yes(f"{what} {output.counted(planned.forgotten)} that have faded", yes=False)
        with output.progress_bar() as follow:
            result = await verb(dynamics, {"dry_run": dry_run, "on_progress": follow})
        if session.json:
            output.print_json(result)
        else:
            output.pairs_table(output.plain(result))
        return Exit.OK if result.looked_at else Exit.NOTHING

    _with_dynamics(context, preset, work, reads=dry_run)


def _with_dynamics(
    context: typer.Context, preset: str, work: Callable[[Dynamics], Awaitable[int]], *, reads: bool = False
) -> None:
    from betterdb_agent_memory.dynamics.dynamics import Dynamics
    from betterdb_agent_memory.dynamics.presets import preset as parameters_of_preset

    async def with_store(store: Any) -> int:
        return await work(Dynamics(store, parameters_of_preset(preset)))

    session_of(context).run(with_store, reads=reads)


def _lines(stats: DynamicsStats) -> dict[str, Any]:
    groups = {"all": stats.all, **stats.by_kind}
    return {
        name: ", ".join(f"{number} {layer}" for layer, number in reversed(list(group.layers.items())))
        + f"; strength {group.mean_strength:.2f}, confidence {group.mean_confidence:.2f}"
        for name, group in groups.items()
    }


def add_to(group: typer.Typer) -> None:
    """Make these commands of a group."""
    for command in (maintain, consolidate, forget, restore, replay, downscale, stats, health, reward):
        group.command(command.__name__)(command)
