"""What the command `remember` does with a text, and with a file of many."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from betterdb_agent_memory import MemoryDraft, MemoryStore, OnDuplicate, Progress, RememberResult
from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE, json_object
from betterdb_agent_memory.apps.cli.session import Session
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, InvalidInputError, MemoryExistsError
from betterdb_agent_memory.memory.drafts import as_draft

BATCH: Final = 500

_Line = tuple[int, MemoryDraft | AgentMemoryError]
"""A line's number, and what it says or why it is refused."""


def remember_text(
    session: Session, content: str, id: str | None, said: Callable[[], Mapping[str, Any]], *, on_duplicate: OnDuplicate
) -> NoReturn:
    """Remember one text, with what else is `said` of it. Ends the process."""

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


def remember_lines(
    session: Session, path: str, said: Callable[[], Mapping[str, Any]], *, jsonl: bool, on_duplicate: OnDuplicate
) -> NoReturn:
    """Remember a file of lines, a batch at a time; a line that is refused costs no other. Ends the process."""
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
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
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
