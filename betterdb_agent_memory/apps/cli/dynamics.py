"""The group of commands about how memories change."""

from __future__ import annotations

import typer

from betterdb_agent_memory.apps.cli import correcting, linking, pinning, plotting, strengthening

group = typer.Typer(no_args_is_help=True, help="How memories strengthen, fade, learn and are linked.")
for _module in (strengthening, linking, pinning):
    _module.add_to(group)
group.command("history")(correcting.history)
plotting.add_to(group)


def add_to(app: typer.Typer) -> None:
    """Make this a group of the program."""
    app.add_typer(group, name="dynamics")
