"""Commands that write: remember and update."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final, NoReturn

import typer

from betterdb_agent_memory import AgentMemoryError, ConfigurationError, InvalidInputError, MemoryStore
from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import json_object, moment, seconds
from betterdb_agent_memory.apps.cli.session import Session, session_of
from betterdb_agent_memory.errors import MemoryExistsError
from betterdb_agent_memory.memory.drafts import MemoryDraft, OnDuplicate, RememberResult, as_draft
from betterdb_agent_memory.memory.progress import Progress

BATCH: Final = 500
PIPE: Final = "-"

_Line = tuple[int, MemoryDraft | AgentMemoryError]
"""A line's number, and what it says or why it is refused."""


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
            "metadata": json_object("--metadata", metadata),
            "ttl": seconds("--ttl", ttl),
            **options.scope(thread, agent, namespace, tag),
        }
        return {name: value for name, value in given.items() if value is not None}

    if lines or jsonl:
        _remember_lines(session, text, said, jsonl=jsonl, on_duplicate=on_duplicate)
    content = sys.stdin.read() if text == PIPE else text

    async def work(memory: MemoryStore) -> int:
        [result] = await memory.remember_many([MemoryDraft(content, id=id, **said())], on_duplicate=on_duplicate)
        result = _in_words_of_the_shell(result, id)
        if session.json:
            output.print_json(_result_json(None, result))
        if result.error is not None:
            raise result.error
        if not session.json:
            output.say(str(result.id))
        return Exit.OK

    session.run(work)


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


def _remember_lines(
    session: Session, path: str, said: Callable[[], Mapping[str, Any]], *, jsonl: bool, on_duplicate: OnDuplicate
) -> NoReturn:
    """Remember a file of lines, a batch at a time; a line that is refused costs no other."""
    outcomes: Counter[str] = Counter()

    async def remember_batch(memory: MemoryStore, batch: Sequence[_Line]) -> None:
        good = [draft for _, draft in batch if isinstance(draft, MemoryDraft)]
        written = iter(await memory.remember_many(good, on_duplicate=on_duplicate))
        for number, draft in batch:
            refused = draft if isinstance(draft, AgentMemoryError) else None
            result = next(written) if refused is None else RememberResult("rejected", None, refused)
            result = _in_words_of_the_shell(result, draft.id if isinstance(draft, MemoryDraft) else None)
            outcomes[result.outcome] += 1
            if session.json:
                output.print_json(_result_json(number, result))
            elif result.error is not None:
                session.complain(f"line {number}: {result.error}")

    def batches() -> Iterator[list[_Line]]:
        with _opened(path) as file, output.progress_bar() as follow:
            drafts = _drafts(file, said(), jsonl=jsonl)
            while batch := list(itertools.islice(drafts, BATCH)):
                yield batch
                follow(Progress("remembering", outcomes.total()))

    def end() -> int:
        if not session.json:
            output.say(", ".join(f"{outcomes[outcome]} {outcome}" for outcome in ("stored", "merged", "rejected")))
        if not outcomes["rejected"]:
            return Exit.OK
        return Exit.PARTLY if outcomes["stored"] + outcomes["merged"] else Exit.REFUSED

    session.run_over(batches(), remember_batch, end)


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    if path == PIPE:
        yield sys.stdin
        return
    try:
        file = Path(path).open(encoding="utf-8")  # noqa: SIM115 - an error while reading it has another meaning
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file


def _drafts(file: Iterable[str], said: Mapping[str, Any], *, jsonl: bool) -> Iterator[_Line]:
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        try:
            own = (json_object("a line", text) or {}) if jsonl else {"content": text}
            yield number, as_draft({**said, **own})
        except InvalidInputError as error:
            yield number, error


def _in_words_of_the_shell(result: RememberResult, id: str | None) -> RememberResult:
    """The result; that an id is taken is told with what a shell can do about it."""
    if not isinstance(result.error, MemoryExistsError):
        return result
    told = f"a memory has the id {id!r} already: --replace overwrites it, the command update changes it"
    return RememberResult(result.outcome, result.id, MemoryExistsError(told))


def _result_json(number: int | None, result: RememberResult) -> dict[str, Any]:
    line = {} if number is None else {"line": number}
    error = None if result.error is None else str(result.error)
    return {**line, "outcome": result.outcome, "id": result.id, "error": error}


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("remember")(remember)
    app.command("update")(update)
