"""Commands that write: remember and update."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE, json_object, moment, seconds
from betterdb_agent_memory.apps.cli.session import session_of
from betterdb_agent_memory.errors import InvalidInputError

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore, OnDuplicate


def remember(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="The text; with --lines or --jsonl a file. - reads the pipe.")] = PIPE,
    lines: Annotated[bool, typer.Option("--lines", help="A memory a line.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="A JSON object a line: content, tags, metadata ...")] = False,
    id: Annotated[str | None, typer.Option("--id", help="Under this id.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="The same text is one memory, strengthened.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite what has the id.")] = False,
    importance: options.Importance = None,
    source: options.Source = None,
    subject: options.Subject = None,
    date: options.Date = None,
    occurred_at: options.OccurredAt = None,
    kind: options.OneKind = None,
    entity: options.Entities = None,
    contradicts: options.Contradicts = None,
    metadata: options.Metadata = None,
    ttl: options.Ttl = None,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
) -> None:
    """Remember a text, or many."""
    session = session_of(context)
    if merge and replace:
        raise typer.BadParameter("--merge and --replace exclude each other")
    if lines and jsonl:
        raise typer.BadParameter("--lines and --jsonl exclude each other")
    if id is not None and (lines or jsonl):
        raise typer.BadParameter("--id is for one memory; in a file of --jsonl each line may have its own")
    on_duplicate: OnDuplicate = "merge" if merge else "replace" if replace else "keep"

    def said() -> dict[str, Any]:
        given: dict[str, Any] = {
            "importance": importance,
            "source": source,
            "subject": subject,
            "date": date,
            "occurred_at": moment(occurred_at),
            "kind": kind,
            "entities": entity or None,
            "contradicts": contradicts or None,
            "metadata": json_object("--metadata", metadata),
            "ttl": seconds("--ttl", ttl),
            **options.scope(thread, agent, namespace, tag),
        }
        return {name: value for name, value in given.items() if value is not None}

    from betterdb_agent_memory.apps.cli.remembering import remember_lines, remember_text

    if lines or jsonl:
        remember_lines(session, text, said, jsonl=jsonl, on_duplicate=on_duplicate)
    remember_text(session, sys.stdin.read() if text == PIPE else text, id, said, on_duplicate=on_duplicate)


def update(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Which memory.")],
    content: Annotated[str | None, typer.Option("--content", help="Another text; - reads the pipe.")] = None,
    if_version: Annotated[int | None, typer.Option("--if-version", help="Only if it has this version.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="The new tags; repeat it for several.")] = None,
    importance: options.Importance = None,
    source: options.Source = None,
    subject: options.Subject = None,
    date: options.Date = None,
    occurred_at: options.OccurredAt = None,
    kind: options.OneKind = None,
    entity: options.Entities = None,
    metadata: options.Metadata = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="DURATION", help="Forget it after 90s, 12h, 7d ..., or never.")
    ] = None,
) -> None:
    """Change a memory; what is not said stays."""
    session = session_of(context)
    text = sys.stdin.read() if content == PIPE else content

    async def work(memory: MemoryStore) -> int:
        given: Mapping[str, Any] = {
            "content": text,
            "importance": importance,
            "tags": [] if no_tags else tag or None,
            "source": source,
            "subject": subject,
            "date": date,
            "occurred_at": moment(occurred_at),
            "kind": kind,
            "entities": entity or None,
            "metadata": json_object("--metadata", metadata),
            "ttl": 0 if ttl == "never" else seconds("--ttl", ttl),
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if not changes:
            raise InvalidInputError("say what to change: --content, --importance, --tag, --metadata ...")
        item = await memory.update(id, if_version=if_version, **changes)
        if session.json:
            output.print_json(output.memory_json(item))
        else:
            output.say(f"{item.id} is version {item.version} now")
        return Exit.OK

    session.run(work)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("remember")(remember)
    app.command("update")(update)
