"""Asking before something is gone for good."""

from __future__ import annotations

import sys

import typer

from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit


def require_yes(what: str, *, yes: bool) -> None:
    """Ask whether to do `what`, such as "forget 3 memories"; ends the command if the answer is no.

    Where nobody can be asked, `yes` must have been said.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        output.note(f"betterdb-memory: this would {what}; say --yes where nobody can be asked")
        raise typer.Exit(Exit.USAGE)
    if not typer.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        output.note("nothing was done")
        raise typer.Exit(Exit.USAGE)
