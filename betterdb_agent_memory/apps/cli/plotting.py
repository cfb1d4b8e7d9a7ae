"""Commands that draw: forgetting under a preset, the strength of a scope over time, the links around a memory."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE
from betterdb_agent_memory.apps.cli.session import Session, session_of
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore
    from betterdb_agent_memory.drawing.markup import Node

_NEAR: Final = 12
_FAR: Final = 5
"""Links that are drawn of the memory, and of each that it is linked to: the strongest."""

_BEGINNING: Final = b"<svg"

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE.svg", help="Where to draw it; - is the pipe.", show_default=False),
]

group = typer.Typer(no_args_is_help=True, help="Draw what parameters and uses do, as SVG.")


def forgetting(
    context: typer.Context,
    preset: Annotated[
        list[str] | None, typer.Option("--preset", help="Whose curve; repeat it for several, by default all.")
    ] = None,
    importance: Annotated[
        list[float] | None, typer.Option("--importance", help="Of a memory of this importance; repeat it for several.")
    ] = None,
    days: Annotated[float, typer.Option("--days", help="How many days.")] = 360.0,
    file: Output = None,
) -> None:
    """Draw how likely a memory is to be recalled that is never used, by preset."""
    session = session_of(context)

    def work() -> int:
        from betterdb_agent_memory.dynamics.plots import forgetting_curves
        from betterdb_agent_memory.dynamics.presets import PRESETS
        from betterdb_agent_memory.dynamics.presets import preset as parameters_of_preset

        names = list(dict.fromkeys(preset or PRESETS))
        importances = tuple(dict.fromkeys(importance or (0.5,)))
        for one in importances:
            if not 0 <= one <= 1:
                raise InvalidInputError(f"--importance is from 0 to 1, got {one:g}")
        curves = {name: parameters_of_preset(name) for name in names}
        drawing = forgetting_curves(curves, importances=importances, days=days)
        return _drawn(session, drawing, file, "-".join(["forgetting", *(preset or ())]))

    session.finish(work)


def strength(
    context: typer.Context,
    ahead: Annotated[float, typer.Option("--days", help="How many days to look ahead, as if nothing were used.")] = 180,
    preset: Annotated[str, typer.Option("--preset", help="Parameters, as those of dynamics maintain.")] = "default",
    file: Output = None,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
    kind: options.Kind = None,
) -> None:
    """Draw the layers and the mean strength of memories, since the first was written and in the days to come."""
    session = session_of(context)
    scope = options.scope(thread, agent, namespace, tag, where, kind)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory.dynamics.dynamics import Dynamics
        from betterdb_agent_memory.dynamics.plots import strength_over_time
        from betterdb_agent_memory.dynamics.presets import preset as parameters_of_preset

        found = await Dynamics(memory, parameters_of_preset(preset)).timeline(ahead_days=ahead, **scope)
        if found is None:
            session.complain("there are no memories to be drawn")
            return Exit.NOTHING
        what = options.described(scope) or f"store {memory.name}"
        return _drawn(session, strength_over_time(found, what), file, "strength")

    session.run(work, reads=True)


def links(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Which memory.")],
    file: Output = None,
) -> None:
    """Draw what a memory is linked to, and what that is linked to."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory.dynamics.plots import link_graph

        near = (await memory.links(id))[:_NEAR]
        if not near:
            session.complain(f"memory {id} is linked to nothing, or is not there")
            return Exit.NOTHING
        weights: dict[str, dict[str, float]] = {id: {link.id: link.weight for link in near}}
        for link in near:
            weights[link.id] = {one.id: one.weight for one in (await memory.links(link.id))[:_FAR]}
        ids = list(dict.fromkeys([id, *(other for ends in weights.values() for other in ends)]))
        items = await memory.get_many(ids)
        labels = {one: " ".join(item.content.split()) for one, item in zip(ids, items, strict=True) if item}
        return _drawn(session, link_graph(id, labels, weights), file, f"links-{id}")

    session.run(work, reads=True)


def _drawn(session: Session, drawing: Node, file: Path | None, name: str) -> int:
    """Write the drawing and tell where; by default into the present folder, under this name.

    Raises:
        ConfigurationError: there is another file, or it cannot be written.
    """
    from betterdb_agent_memory.drawing.markup import svg_file

    text = svg_file(drawing)
    if str(file) == PIPE:
        sys.stdout.write(text)
        return Exit.OK
    path = Path(re.sub(r"[^\w.-]+", "_", name)[:100] + ".svg") if file is None else file
    if path.suffix.lower() != ".svg":
        raise ConfigurationError(f"drawings are SVG: name a file that ends in .svg, not {path}")
    try:
        if path.exists() and not path.read_bytes().startswith(_BEGINNING):
            raise ConfigurationError(f"{path} is there already and no drawing; it stays as it is")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error
    told: dict[str, Any] = {"file": str(path)}
    if session.json:
        output.print_json(told)
    else:
        output.say(str(path))
    return Exit.OK


for _command in (forgetting, strength, links):
    group.command(_command.__name__)(_command)


def add_to(app: typer.Typer) -> None:
    """Make this a group of a group."""
    app.add_typer(group, name="plot")
