"""Commands that keep a memory whatever happens to others, and that let it go again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import Session, session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore

_Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Which memories.")]


def pin(context: typer.Context, ids: _Ids) -> None:
    """Keep memories from being evicted or summarised away."""
    _each(session_of(context), ids, "pinned", lambda memory, id: memory.pin(id))


def unpin(context: typer.Context, ids: _Ids) -> None:
    """Let pinned memories be as others again."""
    _each(session_of(context), ids, "unpinned", lambda memory, id: memory.unpin(id))


def _each(session: Session, ids: list[str], done: str, verb: Callable[[MemoryStore, str], Awaitable[bool]]) -> None:
    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory import MemoryNotFoundError

        changed = 0
        missing: list[str] = []
        wanted = list(dict.fromkeys(ids))
        for id in wanted:
            try:
                changed += await verb(memory, id)
            except MemoryNotFoundError:
                missing.append(id)
        if session.json:
            output.print_json({done: changed, "missing": missing})
        else:
            output.say(f"{output.counted(changed)} {done}")
            for id in missing:
                session.complain(f"there is no memory {id}")
        if not missing:
            return Exit.OK
        return Exit.PARTLY if len(missing) < len(wanted) else Exit.NOTHING

    session.run(work)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("pin")(pin)
    app.command("unpin")(unpin)
