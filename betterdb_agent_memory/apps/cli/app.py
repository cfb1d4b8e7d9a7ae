"""The commands put together, and the options that stand for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from betterdb_agent_memory.apps.cli import (
    asking,
    calibrating,
    changing,
    configuring,
    demonstration,
    dynamics,
    evaluating,
    following,
    forgetting,
    keeping,
    pinning,
    tenanting,
    transferring,
)
from betterdb_agent_memory.apps.cli.session import Session

PROGRAM: Final = "betterdb-memory"

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The options above may also stand behind a command. Documentation: docs/cli.md",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from betterdb_agent_memory.version import package_version

        typer.echo(f"{PROGRAM} {package_version()}")
        raise typer.Exit


@app.callback()
def session(
    context: typer.Context,
    url: Annotated[str | None, typer.Option("--url", help="Server URL or file.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the store.")] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="One tenant of the store: its memories and settings.")
    ] = None,
    embedder: Annotated[str | None, typer.Option("--embedder", help="What makes vectors, by name.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Whose endings are taken off words: english, german ...")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What an agent remembers: store it, ask for it, look after it."""
    del version
    flags = {"url": url, "name": name, "embedder": embedder, "language": language}
    context.obj = Session(flags, config, as_json, debug, tenant)


_MODULES: Final = (
    *(changing, asking, configuring, forgetting, following, keeping, pinning, tenanting, transferring),
    *(calibrating, evaluating, demonstration, dynamics),
)
for _module in _MODULES:
    _module.add_to(app)

_WITH_VALUE: Final = ("--url", "--name", "--tenant", "--embedder", "--language", "--config")
_ALONE: Final = ("--json", "--debug")


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with the options for all commands in front, wherever they stood before a `--`.

    >>> hoisted(["recall", "tea", "--json", "--url", "a.db"])
    ['--json', '--url', 'a.db', 'recall', 'tea']
    """
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in _ALONE or argument.startswith(tuple(f"{option}=" for option in _WITH_VALUE)):
            front.append(argument)
        elif argument in _WITH_VALUE:
            front += [argument, *[value for value in [next(left, None)] if value is not None]]
        else:
            rest.append(argument)
    return front + rest


def run(arguments: Sequence[str]) -> None:
    """Run the command line and end the process."""
    app(hoisted(arguments), prog_name=PROGRAM)
