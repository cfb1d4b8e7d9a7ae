"""The command that shows what happens to memories."""

from __future__ import annotations

import re
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import moment
from betterdb_agent_memory.apps.cli.session import session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import Change, MemoryScope, MemoryStore

_ID: Final = re.compile(r"\d+-\d+")


def changes(
    context: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; switches the change feed on.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHERE", help="oldest, now, the id of a change, or a time.")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", help="Share them with all who read with this name.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; repeat it for several.")] = None,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
) -> None:
    """Show what happened to memories, oldest first, and what happens with --follow."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory import InvalidInputError, MemoryScope

        if group is not None and not follow:
            raise InvalidInputError("--group goes with --follow: a group reads on and on")
        scope = MemoryScope(thread, agent, namespace)
        status = await memory.change_feed()
        if status is None and not follow:
            session.complain("the change feed of this store is off; --follow switches it on (docs/change-feed.md)")
            return Exit.NOTHING
        last = 0 if status is None or status.last_id is None else _number(status.last_id)
        begin, after_ms = (moment(since), 0) if follow else _places(since, last)
        if begin == "now" and not follow:
            return Exit.NOTHING
        # Without --follow everything is read up to what is the last one now, so scope and time are looked at here.
        asked = {"thread_id": thread, "agent_id": agent, "namespace": namespace} if follow else {}
        shown = 0
        found = memory.changes(since=begin, group=group, **asked)  # type: ignore[arg-type]
        async with aclosing(found) as following:  # type: ignore[type-var]
            async for change in following:
                if change.at_ms >= after_ms and _is_within(change.scope, scope) and (not kind or change.kind in kind):
                    _show(change, as_json=session.json)
                    shown += 1
                if not follow and _number(change.id) >= last:
                    break
        return Exit.OK if shown else Exit.NOTHING

    session.run(work, reads=not follow)


def _places(since: str | None, last: int) -> tuple[str, int]:
    """Where to begin, and before which time nothing is shown; "now" where there is nothing to show."""
    from betterdb_agent_memory.memory.times import checked_time_ms

    begin = moment(since) or "oldest"
    if not last or begin == "now":
        return "now", 0
    if begin == "oldest":
        return "oldest", 0
    if isinstance(begin, str) and _ID.fullmatch(begin):
        return ("now" if _number(begin) >= last else begin), 0
    return "oldest", checked_time_ms("--since", begin)


def _number(change_id: str) -> int:
    return int(change_id.partition("-")[2])


def _is_within(scope: MemoryScope, asked: MemoryScope) -> bool:
    pairs = (
        (asked.thread_id, scope.thread_id),
        (asked.agent_id, scope.agent_id),
        (asked.namespace, scope.namespace),
    )
    return all(wanted is None or wanted == value for wanted, value in pairs)


def _show(change: Change, *, as_json: bool) -> None:
    if as_json:
        output.print_json(change)
    else:
        scope = change.scope
        said = {"thread_id": scope.thread_id, "agent_id": scope.agent_id, "namespace": scope.namespace}
        where = options.described({name: value for name, value in said.items() if value is not None})
        line = f"{output.moment(change.at_ms)}  {change.kind:<12}  {change.memory_id}  {where}"
        output.say(output.printable(line).rstrip())
    sys.stdout.flush()


def add_to(app: typer.Typer) -> None:
    """Make this a command of the program."""
    app.command("changes")(changes)
