"""The command that deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.confirming import require_yes
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import Session, session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore


def forget(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which memories.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be forgotten.")] = False,
    yes: options.Yes = False,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
    kind: options.Kind = None,
) -> None:
    """Forget memories by id, or all of a scope after asking."""
    session = session_of(context)
    said = thread, agent, namespace, tag, where, kind
    if bool(ids) == any(part is not None and part != [] for part in said):
        raise typer.BadParameter("say which memories: their ids, or a scope")

    async def by_id(memory: MemoryStore) -> int:
        assert ids is not None
        wanted = list(dict.fromkeys(ids))
        if dry_run:
            there = [item is not None for item in await memory.get_many(wanted)]
        else:
            there = await memory.forget_many(wanted)
        missing = [id for id, found in zip(wanted, there, strict=True) if not found]
        _report(session, sum(there), missing, dry_run=dry_run)
        if not missing:
            return Exit.OK
        return Exit.PARTLY if any(there) else Exit.NOTHING

    async def by_scope(memory: MemoryStore) -> int:
        from betterdb_agent_memory import MemoryListOptions

        scope = options.scope(*said)
        matching = (await memory.list(MemoryListOptions(limit=0, **scope))).total
        if not dry_run and matching:
            what = f"forget {output.counted(matching)} of store {memory.name} ({options.described(scope)})"
            require_yes(what, yes=yes)
        forgotten = matching if dry_run or not matching else await memory.forget_by_scope(**scope)
        _report(session, forgotten, [], dry_run=dry_run)
        return Exit.OK if forgotten else Exit.NOTHING

    session.run(by_id if ids else by_scope, reads=dry_run)


def _report(session: Session, count: int, missing: list[str], *, dry_run: bool) -> None:
    if session.json:
        output.print_json({"matching" if dry_run else "forgotten": count, "missing": missing})
        return
    output.say(f"{output.counted(count)} {'would be ' if dry_run else ''}forgotten")
    for id in missing:
        session.complain(f"there is no memory {id}")


def add_to(app: typer.Typer) -> None:
    """Make this a command of the program."""
    app.command("forget")(forget)
