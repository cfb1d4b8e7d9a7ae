"""Commands that look after a store: consolidate, reindex and the change of the embedding model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.confirming import require_yes
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import seconds
from betterdb_agent_memory.apps.cli.session import session_of
from betterdb_agent_memory.errors import ConfigurationError

if TYPE_CHECKING:
    from betterdb_agent_memory import EmbeddingMigration, MemoryStore, MigrationStatus

NextEmbedder = Annotated[
    str, typer.Option("--to", metavar="EMBEDDER", help="What shall make the vectors in future, by name.")
]


def consolidate(
    context: typer.Context,
    facts: Annotated[bool, typer.Option("--facts/--summary", help="Distil facts, or write one summary.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="The language model, as pydantic-ai names it: openai:gpt-5-mini.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DURATION", help="Only what is older: 12h, 30d ...")
    ] = None,
    max_importance: Annotated[float | None, typer.Option("--max-importance", help="Only what is at most that.")] = None,
    keep_sources: Annotated[bool, typer.Option("--keep-sources", help="Do not forget what was summarised.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: options.Yes = False,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
) -> None:
    """Make one summary, or a few facts, of many memories."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory import ConsolidateResult

        named = session.with_flags(model=model)["model"].value
        if named is None and (facts or not dry_run):
            raise ConfigurationError(
                "say which language model writes: --model openai:gpt-5-mini, BETTERDB_MODEL, or model in the file"
            )
        said: dict[str, Any] = {
            "older_than_seconds": seconds("--older-than", older_than),
            "max_importance": max_importance,
            **options.scope(thread, agent, namespace, tag, where),
        }
        if not facts:
            said["delete_sources"] = not keep_sources
        if not (facts or dry_run or keep_sources or yes):
            planned = await memory.consolidate(mode="summary", dry_run=True, **said)
            if isinstance(planned, ConsolidateResult) and planned.consolidated:
                what = f"summarize {output.counted(planned.consolidated)} of store {memory.name} and forget them"
                require_yes(what, yes=False)
        callback = {"extract_facts" if facts else "summarize": named}
        with output.progress_bar() as follow:
            result = await memory.consolidate(
                mode="facts" if facts else "summary", dry_run=dry_run, on_progress=follow, **callback, **said
            )
        if session.json:
            output.print_json(result)
        else:
            output.pairs_table(output.plain(result))
        read = result.consolidated if isinstance(result, ConsolidateResult) else result.candidates
        return Exit.OK if read else Exit.NOTHING

    session.run(work, reads=dry_run)


def reindex(context: typer.Context) -> None:
    """Drop the search index and build it anew over the memories that are there."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        with output.progress_bar() as follow:
            result = await memory.reindex(on_progress=follow)
        values = output.plain(result)
        if session.json:
            output.print_json(values)
        else:
            output.pairs_table(values)
        return Exit.OK

    session.run(work)


Step: TypeAlias = "Callable[[EmbeddingMigration], Awaitable[MigrationStatus]]"


def _migrate(context: typer.Context, next_embedder: str, step: Step, *, reads: bool = False) -> None:
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        status = output.plain(await step(memory.migration))
        if session.json:
            output.print_json(status)
        else:
            output.pairs_table({name: "" if value is None else value for name, value in status.items()})
        return Exit.OK

    session.run(work, next_embedder=next_embedder, reads=reads)


def migrate_start(context: typer.Context, to: NextEmbedder) -> None:
    """Open a generation of new vectors beside the memories; from now on writes go to both."""
    _migrate(context, to, lambda migration: migration.start())


def migrate_run(
    context: typer.Context,
    to: NextEmbedder,
    batch: Annotated[int, typer.Option("--batch", help="Memories embedded at once.")] = 256,
) -> None:
    """Fill the generation. After an interruption it goes on where it stopped."""

    async def step(migration: EmbeddingMigration) -> MigrationStatus:
        with output.progress_bar() as follow:
            return await migration.run(on_progress=follow, batch_size=batch)

    _migrate(context, to, step)


def migrate_status(context: typer.Context, to: NextEmbedder) -> None:
    """Show how far the change has come."""
    _migrate(context, to, lambda migration: migration.status(), reads=True)


def migrate_switch(context: typer.Context, to: NextEmbedder) -> None:
    """Recall with the new model, on every worker that has it."""
    _migrate(context, to, lambda migration: migration.switch())


def migrate_rollback(context: typer.Context, to: NextEmbedder) -> None:
    """Recall with the former model again."""
    _migrate(context, to, lambda migration: migration.roll_back())


def migrate_abandon(context: typer.Context, to: NextEmbedder, yes: options.Yes = False) -> None:
    """Give the change up and delete the new vectors."""
    require_yes("delete the new vectors", yes=yes)
    _migrate(context, to, lambda migration: migration.abandon())


def migrate_finish(context: typer.Context, to: NextEmbedder, yes: options.Yes = False) -> None:
    """Make the new vectors the memories' own and rebuild their index. There is no way back."""
    require_yes("replace the vectors of all memories, for good,", yes=yes)

    async def step(migration: EmbeddingMigration) -> MigrationStatus:
        with output.progress_bar() as follow:
            return await migration.finish(on_progress=follow)

    _migrate(context, to, step)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("consolidate")(consolidate)
    app.command("reindex")(reindex)
    migrate = typer.Typer(no_args_is_help=True, help="Change the embedding model without downtime.")
    for name, command in (
        ("start", migrate_start),
        ("run", migrate_run),
        ("status", migrate_status),
        ("switch", migrate_switch),
        ("rollback", migrate_rollback),
        ("abandon", migrate_abandon),
        ("finish", migrate_finish),
    ):
        migrate.command(name)(command)
    app.add_typer(migrate, name="migrate")
