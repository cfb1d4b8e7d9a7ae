"""Commands for files of JSON lines: export and import."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE
from betterdb_agent_memory.apps.cli.session import session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore


def export(
    context: typer.Context,
    file: options.File,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="With or without vectors.")] = True,
    superseded: Annotated[
        bool, typer.Option("--superseded/--no-superseded", help="With or without former versions and what is archived.")
    ] = True,
    no_resume: options.NoResume = False,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
) -> None:
    """Write memories to a file, whole and lossless.

    An interrupted export goes on where it stopped when the same command is given again.
    """
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        is_pipe = str(file) == PIPE
        with output.progress_bar() as follow:
            result = await memory.export_to(
                sys.stdout.buffer if is_pipe else file,
                vectors=vectors,
                include_superseded=superseded,
                resume=not no_resume,
                on_progress=follow,
                **options.scope(thread, agent, namespace, tag, where),
            )
        told = f"{output.counted(result.exported)} in {'the pipe' if is_pipe else file}"
        told += f", {result.versions} former versions" if result.versions else ""
        told += f", {result.resumed} of them from an earlier run" if result.resumed else ""
        told += f"; {result.skipped} fragments left out" if result.skipped else ""
        if session.json and not is_pipe:
            output.print_json(result)
        else:
            (output.note if is_pipe else output.say)(told)
        return Exit.OK

    session.run(work, reads=True)


def import_memories(
    context: typer.Context,
    file: options.File,
    replace: Annotated[bool, typer.Option("--replace", help="Replace memories that are there already.")] = False,
    no_resume: options.NoResume = False,
) -> None:
    """Store the memories of an export under their ids, as they were.

    An interrupted import goes on where it stopped when the same command is given again.
    """
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        with output.progress_bar() as follow:
            result = await memory.import_from(
                sys.stdin.buffer if str(file) == PIPE else file,
                on_existing="replace" if replace else "skip",
                resume=not no_resume,
                on_progress=follow,
            )
        for error in result.errors:
            session.complain(f"line {error.line}: {error.reason}")
        if result.rejected > len(result.errors):
            session.complain(f"... {result.rejected - len(result.errors)} more lines were refused")
        if result.conflicts:
            session.complain(
                f"{result.conflicts} turns are not imported: the store has others of the same session under their ids"
            )
        if session.json:
            output.print_json(result)
        else:
            counted = {
                "imported": result.imported,
                "there already": result.existing,
                "expired": result.expired,
                "refused": result.rejected,
            }
            told = ", ".join(f"{count} {what}" for what, count in counted.items())
            told += f"; {result.resumed} of them by an earlier run" if result.resumed else ""
            output.say(told)
            if result.embedded:
                output.say(f"{result.embedded} vectors were made anew: {result.embedded_because}")
        if not result.rejected:
            return Exit.OK
        return Exit.PARTLY if result.imported + result.existing else Exit.REFUSED

    session.run(work)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("export")(export)
    app.command("import")(import_memories)
