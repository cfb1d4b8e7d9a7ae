"""Commands that put memories in the places of others, and look back: correct, supersede, contradict and history."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE, json_object, moment, seconds
from betterdb_agent_memory.apps.cli.session import Session, session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore


def correct(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Which memory is wrong, or out of date.")],
    text: Annotated[str, typer.Argument(help="What is right; - reads the pipe.")],
    valid_from: Annotated[
        str | None, typer.Option("--valid-from", metavar="TIME", help="Since when that holds, by default from now on.")
    ] = None,
    if_version: Annotated[int | None, typer.Option("--if-version", help="Only if it has this version.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="The new tags; repeat it for several.")] = None,
    importance: options.Importance = None,
    source: options.Source = None,
    subject: options.Subject = None,
    date: options.Date = None,
    occurred_at: options.OccurredAt = None,
    metadata: options.Metadata = None,
    ttl: options.Ttl = None,
) -> None:
    """Put a new memory in the place of one that is wrong; what is not said it takes over."""
    session = session_of(context)
    content = sys.stdin.read() if text == PIPE else text

    async def work(memory: MemoryStore) -> int:
        given: Mapping[str, Any] = {
            "importance": importance,
            "tags": tag or None,
            "source": source,
            "subject": subject,
            "date": date,
            "occurred_at": moment(occurred_at),
            "metadata": json_object("--metadata", metadata),
            "ttl": seconds("--ttl", ttl),
            "valid_from": moment(valid_from),
        }
        changes = {name: value for name, value in given.items() if value is not None}
        item = await memory.correct(id, content, if_version=if_version, **changes)
        if session.json:
            output.print_json(output.memory_json(item))
        else:
            output.say(item.id)
        return Exit.OK

    session.run(work)


_Former = Annotated[str, typer.Argument(metavar="ID", help="A memory.")]
_By = Annotated[str, typer.Argument(metavar="BY", help="The memory that takes its place, or speaks against it.")]


def supersede(context: typer.Context, id: _Former, by: _By) -> None:
    """Say that one memory has taken the place of another, which no recall finds from then on."""
    _said(session_of(context), id, by, "superseded", lambda memory: memory.supersede(id, by))


def contradict(context: typer.Context, id: _Former, by: _By) -> None:
    """Say that one memory speaks against another, which is trusted less from then on."""
    _said(session_of(context), id, by, "contradicted", lambda memory: memory.contradict(id, by))


def _said(session: Session, id: str, by: str, done: str, verb: Callable[[MemoryStore], Awaitable[bool]]) -> None:
    async def work(memory: MemoryStore) -> int:
        is_new = await verb(memory)
        if session.json:
            output.print_json({done: is_new, "id": id, "by": by})
        else:
            output.say(f"{id} {'is' if is_new else 'was'} {done} by {by}{'' if is_new else ' already'}")
        return Exit.OK

    session.run(work)


def history(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="A memory, as it is or as it was.")],
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="How many of the newest, 100 by default.")] = None,
) -> None:
    """Show the versions of a memory, oldest first."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        versions = await memory.history(id, limit=limit)
        if session.json:
            output.print_json(
                {
                    "versions": [
                        {
                            "valid_from": one.valid_from,
                            "valid_until": one.valid_until,
                            "superseded_by": one.superseded_by,
                            "archived_at": one.archived_at,
                            "memory": output.memory_json(one.item),
                        }
                        for one in versions
                    ]
                }
            )
        elif versions:
            output.versions_table(versions)
        else:
            output.note(f"there is no memory {id}, and no version of one")
        return Exit.OK if versions else Exit.NOTHING

    session.run(work, reads=True)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("correct")(correct)
    app.command("supersede")(supersede)
    app.command("contradict")(contradict)
    app.command("history")(history)
