"""The command that measures how well recall finds what it should."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import Session, session_of
from betterdb_agent_memory.errors import InvalidInputError

if TYPE_CHECKING:
    from betterdb_agent_memory.evaluation import Dataset, Evaluation, Strategy

_DATASET: Final = typer.Argument(
    metavar="[DATASET]",
    help="LoCoMo's file, or JSON lines of your own (docs/evaluation.md); without one, a small set of ours.",
    show_default=False,
)


def evaluate(
    context: typer.Context,
    dataset: Annotated[Path | None, _DATASET] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", metavar="A,B", help="Ways to recall: default, vector, hybrid, hybrid+exact ..."),
    ] = None,
    embedders: Annotated[
        str | None, typer.Option("--embedders", metavar="A,B", help="Several embedders, by name; else --embedder.")
    ] = None,
    reranker: Annotated[
        str | None, typer.Option("--reranker", metavar="NAME", help="What +rerank puts hits in order with.")
    ] = None,
    questions: Annotated[
        int | None, typer.Option("--questions", min=1, metavar="N", help="Only N of the questions, drawn at random.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots, too.")] = None,
) -> None:
    """Measure how well and how fast recall finds what a dataset expects, several ways side by side.

    Works in a temporary file, or with --url in that file or on that server, under a name that is removed afterwards.
    """
    session = session_of(context)

    def work() -> int:
        from betterdb_agent_memory.evaluation import EXAMPLE, load_dataset
        from betterdb_agent_memory.evaluation import strategies as ways
        from betterdb_agent_memory.evaluation.report import html_report
        from betterdb_agent_memory.evaluation.strategies import DEFAULT_STRATEGIES

        chosen = ways(DEFAULT_STRATEGIES if strategies is None else strategies)
        models = _models(session, embedders)
        if html is not None:
            _require_writable(html)
        loaded = load_dataset(EXAMPLE if dataset is None else dataset)
        if questions is not None:
            loaded = loaded.sampled(questions)
        found = asyncio.run(_evaluated(session, loaded, chosen, models, reranker))
        # First what was found: a page that cannot be written after all must not cost the figures.
        if session.json:
            output.print_json(found)
        else:
            _print(found)
        if html is not None:
            html.write_text(html_report(found), encoding="utf-8")
        return Exit.OK

    session.finish(work)


def _require_writable(file: Path) -> None:
    """Refuse a place for the page in which none can be written, before minutes were spent on it."""
    if not file.parent.is_dir():
        raise InvalidInputError(f"--html: there is no folder {file.parent}")
    if file.is_dir():
        raise InvalidInputError(f"--html: {file} is a folder; name a file in it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidInputError(f"--html: {file} cannot be written")


def _models(session: Session, embedders: str | None) -> list[str]:
    """Names of embedders: those of `--embedders`, else that of the settings."""
    from betterdb_agent_memory.embedders.named import DEFAULT_NAME

    if embedders is None:
        return [session.settings["embedder"].value or DEFAULT_NAME]
    names = list(dict.fromkeys(name.strip() for name in embedders.split(",") if name.strip()))
    if not names:
        raise InvalidInputError(f"--embedders names none: {embedders!r:.80}")
    return names


async def _evaluated(
    session: Session, dataset: Dataset, chosen: Sequence[Strategy], models: Sequence[str], reranker: str | None
) -> Evaluation:
    from betterdb_agent_memory import MemoryOptions
    from betterdb_agent_memory.embedders.named import close_embedder, embedder_from_name
    from betterdb_agent_memory.evaluation import evaluate as run
    from betterdb_agent_memory.options.environment import with_environment
    from betterdb_agent_memory.rerankers.named import close_reranker, reranker_from_name

    place = session.flags.get("url")
    async with AsyncExitStack() as closing:
        made = {name: embedder_from_name(name) for name in models}
        for embedder in made.values():
            closing.push_async_callback(close_embedder, embedder)
        options = MemoryOptions()
        if reranker is not None:
            orders = reranker_from_name(reranker)
            closing.push_async_callback(close_reranker, orders)
            options = MemoryOptions(reranker=orders)
        settings = {name: setting.value for name, setting in session.settings.items()}
        follow = closing.enter_context(output.progress_bar())
        return await run(
            dataset,
            chosen,
            made,
            url=None if place is None else str(place),
            memory=with_environment(options, settings),
            on_progress=follow,
        )


def _print(found: Evaluation) -> None:
    from betterdb_agent_memory.evaluation import report

    output.say(f"{found.dataset}: {report.summary(found)}")
    output.print_table(report.QUALITY_COLUMNS, report.quality_rows(found), numbers=report.QUALITY_COLUMNS[1:])
    if found.categories:
        columns = report.category_columns(found)
        output.say(f"R@{report.CATEGORY_DEPTH} by kind of question")
        output.print_table(columns, report.category_rows(found), numbers=columns[1:])
    output.print_table(report.SPEED_COLUMNS, report.speed_rows(found), numbers=report.SPEED_COLUMNS[1:])
    for line in report.near_miss_lines(found):
        output.say(line)


def add_to(app: typer.Typer) -> None:
    """Make this a command of the program."""
    app.command("eval")(evaluate)
