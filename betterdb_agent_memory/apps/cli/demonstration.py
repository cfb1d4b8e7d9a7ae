"""The command that shows what all this is about."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import session_of


def demo(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", help="Keep the memories in this file, or on the server of --url.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier run first.")] = False,
    ask: Annotated[str | None, typer.Option("--ask", metavar="QUESTION", help="Only ask this, as Maya.")] = None,
    width: Annotated[int, typer.Option("--width", help="Columns of the output.")] = 110,
) -> None:
    """Tell seven weeks of conversations: remembered, asked about, strengthened, forgotten, opened again."""
    session = session_of(context)
    place = file or session.flags.get("url")
    if ask is not None and place is None:
        raise typer.BadParameter("--ask is for the memories of an earlier run: say where with --file or --url")

    def work() -> int:
        from betterdb_agent_memory.apps.demo.story import run

        if place is not None:
            run(str(place), ask, fresh=fresh, width=width)
            return Exit.OK
        with tempfile.TemporaryDirectory(prefix="betterdb-memory-demo-") as folder:
            run(str(Path(folder) / "demo.db"), ask, fresh=fresh, width=width)
        return Exit.OK

    session.finish(work)


def add_to(app: typer.Typer) -> None:
    """Make this a command of the program."""
    app.command("demo")(demo)
