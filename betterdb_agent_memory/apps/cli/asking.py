"""Commands that look: recall, list, show, stats, and which settings are in force."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import moment
from betterdb_agent_memory.apps.cli.session import session_of
from betterdb_agent_memory.clock import system_clock

if TYPE_CHECKING:
    from betterdb_agent_memory import MemoryStore


def recall(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What you want to know.")],
    k: Annotated[int | None, typer.Option("-k", help="How many at most, 8 by default.")] = None,
    threshold: Annotated[float | None, typer.Option("--threshold", help="Largest cosine distance, 0 to 2.")] = None,
    retrieval: Annotated[
        str | None, typer.Option("--retrieval", help="vector: by likeness alone; hybrid: by words as well.")
    ] = None,
    scoring: Annotated[
        str | None, typer.Option("--scoring", help="composite, activation, chain or retrievability.")
    ] = None,
    exact: Annotated[
        bool | None, typer.Option("--exact/--no-exact", help="Search on until no better memory can be left.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option("--min-confidence", help="Only what is believed that far, 0 to 1.")
    ] = None,
    cues: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="CUE", help="A word or name that is talked about, for activation."),
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Add what the best are linked to.")] = False,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="What was valid then, also if it was corrected since.")
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--include-superseded", help="What was corrected too, whenever it was valid.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    reinforce: Annotated[bool, typer.Option("--reinforce", help="Let it count as a use of what is found.")] = False,
    subject: options.Subject = None,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
    kind: options.Kind = None,
) -> None:
    """Find the memories that matter most for a question.

    Looking is no use: memories stay as they are unless --reinforce is given.
    """
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        await memory.ensure_config_refresh_started()
        said: dict[str, Any] = {
            "retrieval": retrieval,
            "scoring": scoring,
            "exact": exact,
            "as_of": moment(as_of),
            "include_superseded": superseded,
            "min_confidence": min_confidence,
            "context": cues,
        }
        hits = await memory.recall(
            query,
            k=k,
            threshold=threshold,
            reinforce=reinforce,
            subject=subject,
            expand=expand,
            **said,
            **options.scope(thread, agent, namespace, tag, where, kind),
        )
        if session.json:
            output.print_json({"hits": [output.hit_json(hit) for hit in hits]})
        elif hits:
            output.hits_table(hits, system_clock(), explain=explain)
        else:
            output.note("nothing is close enough; a larger --threshold finds more")
        return Exit.OK if hits else Exit.NOTHING

    session.run(work, reads=True)


def list_memories(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many.")] = 20,
    offset: Annotated[int, typer.Option("--offset", help="How many of the newest to leave out.")] = 0,
    subject: options.Subject = None,
    thread: options.Thread = None,
    agent: options.Agent = None,
    namespace: options.Namespace = None,
    tag: options.Tags = None,
    where: options.Where = None,
    kind: options.Kind = None,
) -> None:
    """List memories, newest first."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory import MemoryListOptions

        scope = options.scope(thread, agent, namespace, tag, where, kind)
        page = await memory.list(MemoryListOptions(limit=limit, offset=offset, subject=subject, **scope))
        if session.json:
            items = [output.memory_json(item) for item in page.items]
            output.print_json({"items": items, "total": page.total, "offset": offset})
        elif page.items:
            output.items_table(page.items, system_clock())
            output.say(f"{offset + 1} to {offset + len(page.items)} of {page.total}")
        else:
            output.note(f"nothing to list; {page.total} in all")
        return Exit.OK if page.items else Exit.NOTHING

    session.run(work, reads=True)


def show(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Which memories.")],
    vector: Annotated[bool, typer.Option("--vector", help="Its vector too, as base64 of float32.")] = False,
) -> None:
    """Show all fields of memories, as an export writes them."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        from betterdb_agent_memory import Id

        lines = io.BytesIO()
        await memory.export_to(lines, where=Id(*ids), vectors=vector, include_superseded=False)
        found = {line["id"]: line for line in map(json.loads, lines.getvalue().splitlines()[1:])}
        missing = [id for id in ids if id not in found]
        if session.json:
            output.print_json({"memories": [found[id] for id in ids if id in found], "missing": missing})
        else:
            for id in dict.fromkeys(ids):
                if id in found:
                    output.pairs_table({name: _readable(name, value) for name, value in found[id].items()})
        for id in missing if not session.json else ():
            session.complain(f"there is no memory {id}")
        if not missing:
            return Exit.OK
        return Exit.PARTLY if found else Exit.NOTHING

    session.run(work, reads=True)


def _readable(name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, int):
        return f"{value} ({output.moment(value)} UTC)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def stats(context: typer.Context) -> None:
    """Show counts, health and the settings in force."""
    session = session_of(context)

    async def work(memory: MemoryStore) -> int:
        await memory.ensure_config_refresh_started()
        values = output.plain(await memory.stats())
        if session.json:
            output.print_json(values)
        else:
            flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
            for group in ("near_misses", "config"):
                flat.update({f"{group}.{name}": value for name, value in values[group].items()})
            output.pairs_table({name: _readable("", value) for name, value in flat.items()})
        return Exit.OK

    session.run(work, reads=True)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    app.command("recall")(recall)
    app.command("list")(list_memories)
    app.command("show")(show)
    app.command("stats")(stats)
