"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from betterdb_agent_memory.apps.cli.reading import json_object

_SCOPE = "Scope"

Thread = Annotated[str | None, typer.Option("--thread", help="The conversation.", rich_help_panel=_SCOPE)]
Agent = Annotated[str | None, typer.Option("--agent", help="The agent.", rich_help_panel=_SCOPE)]
Namespace = Annotated[str | None, typer.Option("--namespace", help="The user, team or tenant.", rich_help_panel=_SCOPE)]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat it for several.", rich_help_panel=_SCOPE)]
Kind = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", help="Of this kind: fact, rule, episodic ...; repeat it for several.", rich_help_panel=_SCOPE
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="JSON",
        help='Conditions, such as \'{"importance": {"gte": 0.5}, "not": {"source": "summary"}}\'.',
        rich_help_panel=_SCOPE,
    ),
]

Importance = Annotated[float | None, typer.Option("--importance", help="From 0 to 1.")]
Source = Annotated[str | None, typer.Option("--source", help="Where it comes from.")]
Subject = Annotated[str | None, typer.Option("--subject", help="What a fact is about.")]
Date = Annotated[str | None, typer.Option("--date", help="When a fact holds.")]
OccurredAt = Annotated[
    str | None, typer.Option("--occurred-at", metavar="TIME", help="When it happened: 2026-05-08T14:30:00Z.")
]
OneKind = Annotated[str | None, typer.Option("--kind", help="What kind it is: fact, rule, episodic ...")]
Entities = Annotated[
    list[str] | None, typer.Option("--entity", help="Whom or what it is about; repeat it for several.")
]
Contradicts = Annotated[
    list[str] | None,
    typer.Option("--contradicts", metavar="ID", help="A memory that it speaks against; repeat it for several."),
]
Metadata = Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="An object of anything.")]
Ttl = Annotated[str | None, typer.Option("--ttl", metavar="DURATION", help="Forget it after 90s, 12h, 7d ...")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoResume = Annotated[bool, typer.Option("--no-resume", help="Begin anew where an earlier run was interrupted.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of JSON lines; .gz packs it, - is the pipe.")]


def scope(
    thread: str | None,
    agent: str | None,
    namespace: str | None,
    tags: list[str] | None,
    where: str | None = None,
    kind: list[str] | None = None,
) -> dict[str, Any]:
    """The keywords of the store for a scope, without those that were not said."""
    said: Mapping[str, Any] = {
        "thread_id": thread,
        "agent_id": agent,
        "namespace": namespace,
        "tags": tags or None,
        "where": json_object("--where", where),
        "kind": kind or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def described(said: Mapping[str, Any]) -> str:
    """A scope for people: `thread_id "dinner", tags ["food"]`."""
    return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in said.items())
