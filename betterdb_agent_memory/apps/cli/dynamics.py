"""The group of commands about how memories change."""

from __future__ import annotations

import typer

from betterdb_agent_memory.apps.cli import linking

group = typer.Typer(no_args_is_help=True, help="How memories change and are linked.")
for _module in (linking,):
    _module.add_to(group)


def add_to(app: typer.Typer) -> None:
    """Make this a group of the program."""
    app.add_typer(group, name="dynamics")
