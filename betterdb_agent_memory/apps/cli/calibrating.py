"""The command that measures a threshold on the store's own memories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.confirming import require_yes
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import PIPE
from betterdb_agent_memory.apps.cli.session import session_of
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from betterdb_agent_memory import AgentMemory, AnsweredQuestion, Calibration, CeilingRates, Tenant

_BASIS = {
    "answers": "{questions:,} questions and {true_pairs:,} answers",
    "questions": "{questions:,} questions without answers",
    "memories": "{questions:,} questions made up from the memories, for want of real ones (--questions)",
}


def calibrate(
    context: typer.Context,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions", metavar="FILE", help="JSON lines of question, expected (ids), answers; - is the pipe."
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", help="Memories to compare with, 20 to 5,000.")] = 500,
    false_accept_rate: Annotated[
        float, typer.Option("--false-accept-rate", help="Share of unrelated memories that may pass.")
    ] = 0.05,
    set_it: Annotated[bool, typer.Option("--set", help="Make it the threshold of all workers.")] = False,
    yes: options.Yes = False,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
) -> None:
    """Measure which distance counts as related in this store, and recommend a threshold."""
    session = session_of(context)

    async def work(opened: AgentMemory | Tenant) -> int:
        asked = None if questions is None else _questions(questions)
        # The threshold in force is among those that are measured.
        await opened.config.get()
        with output.progress_bar() as follow:
            measured = await opened.memory.calibrate(
                questions=asked,
                sample=sample,
                false_accept_rate=false_accept_rate,
                on_progress=follow,
                **options.scope(thread, agent, namespace, tag, where),
            )
        if session.json:
            output.print_json(measured)
        else:
            _report(measured)
        if measured.is_rough:
            output.note(
                f"this is a guess: {output.counted(measured.memories)} without known answers say little. Give "
                "questions with the ids that answer them (--questions), or wait until there are some hundred memories"
            )
        if set_it:
            if measured.is_rough and not yes:
                output.note("--set takes a guess only with --yes; nothing was set")
                return Exit.USAGE
            what = f"set the threshold of all workers of {opened.memory.name} to {measured.threshold:g}"
            require_yes(what, yes=yes)
            await opened.config.set(threshold=measured.threshold)
            output.note(
                f"recall.threshold is {measured.threshold:g} now; betterdb-memory config reset threshold undoes it"
            )
        return Exit.OK

    session.run_agent(work, reads=True)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    question: str
    expected: list[str] = []
    answers: list[str] = []


def _questions(file: Path) -> list[AnsweredQuestion]:
    """The questions of a file of JSON lines, `-` for the standard input; empty lines are passed over."""
    if str(file) == PIPE:
        return _parsed("standard input", sys.stdin.buffer.read())
    try:
        return _parsed(str(file), file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror or error}") from error


def _parsed(name: str, content: bytes) -> list[AnsweredQuestion]:
    from betterdb_agent_memory import AnsweredQuestion
    from betterdb_agent_memory.evaluation.texts import lines_of

    found = []
    for number, line in enumerate(lines_of(name, content), 1):
        if line.strip():
            read = _line(f"{name}, line {number}", line)
            found.append(AnsweredQuestion(read.question, read.expected, read.answers))
    if not found:
        raise InvalidInputError(f"{name} has no questions")
    return found


def _line(where: str, line: str) -> _Line:
    from betterdb_agent_memory.evaluation.texts import loaded_from

    try:
        return _Line.model_validate(loaded_from(where, line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        raise InvalidInputError(
            f'{where}: {place}: {first["msg"]}; a line is {{"question": "...", "expected": ["id"]}}'
        ) from None


def _report(measured: Calibration) -> None:
    has_answers = measured.true_pairs > 0
    output.print_table(
        ("threshold", "unrelated let in", *(("answers kept",) if has_answers else ()), ""),
        [
            (
                f"{row.ceiling:.3f}",
                f"{100 * row.false_accepts:.1f} %",
                *((f"{100 * (row.true_accepts or 0):.1f} %",) if has_answers else ()),
                _remark(row, measured),
            )
            for row in measured.rates
        ],
        numbers=("threshold", "unrelated let in", "answers kept"),
    )
    recommended = measured.recommended
    kept = f" and keeps {100 * (recommended.true_accepts or 0):.0f} % of the answers" if has_answers else ""
    output.say(f"measured with {_BASIS[measured.basis].format(**output.plain(measured))},")
    output.say(f"against {measured.sampled:,} of {output.counted(measured.memories)}")
    let_in = round(recommended.false_accepts * measured.memories)
    output.say(f"{measured.threshold:g} lets in about {let_in:,} unrelated ones a question{kept}")


def _remark(row: CeilingRates, measured: Calibration) -> str:
    remarks = []
    if row.ceiling == measured.threshold:
        remarks.append("recommended")
    if row.ceiling == measured.current:
        remarks.append("in force")
    return ", ".join(remarks)


def add_to(app: typer.Typer) -> None:
    """Make this command of the program."""
    app.command("calibrate")(calibrate)
