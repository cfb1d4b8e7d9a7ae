"""Commands about links: link, unlink, links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore

One = Annotated[str, typer.Argument(metavar="ID", help="One memory.")]
Other = Annotated[str, typer.Argument(metavar="OTHER", help="The other one.")]


def link(
    context: typer.Context,
    one: One,
    other: Other,
    weight: Annotated[float, typer.Option("--weight", help="How strongly; it halves every 30 days.")] = 1.0,
) -> None:
    """Link two memories, so that each leads to the other in recall --expand."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        await memory.link(one, other, weight)
        if session.json:
            output.print_json({"linked": [one, other], "weight": weight})
        else:
            output.say(f"{one} and {other} are linked, weight {weight:g}")
        return Exit.OK

    session.run(work)


def unlink(context: typer.Context, one: One, other: Other) -> None:
    """Take the link between two memories away."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        was_there = await memory.unlink(one, other)
        if session.json:
            output.print_json({"unlinked": was_there})
        else:
            output.say(f"{one} and {other} {'are linked no more' if was_there else 'were not linked'}")
        return Exit.OK if was_there else Exit.NOTHING

    session.run(work)


def links(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Which memory.")],
    all_links: Annotated[bool, typer.Option("--all", help="Also those too weak to count.")] = False,
) -> None:
    """Show what a memory is linked to, strongest first."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        found = await (memory.links(id, least_weight=0) if all_links else memory.links(id))
        items = await memory.get_many([link.id for link in found])
        if session.json:
            linked = [
                {"id": link.id, "weight": link.weight, "since": link.since, "content": item and item.content}
                for link, item in zip(found, items, strict=True)
            ]
            output.print_json({"links": linked})
        elif found:
            rows = zip(found, items, strict=True)
            output.pairs_table({link.id: f"{link.weight:.3g}  {item.content if item else ''}" for link, item in rows})
        else:
            output.note("it is linked to nothing")
        return Exit.OK if found else Exit.NOTHING

    session.run(work, reads=True)


def add_to(group: typer.Typer) -> None:
    """Make these commands of a group."""
    group.command("link")(link)
    group.command("unlink")(unlink)
    group.command("links")(links)
