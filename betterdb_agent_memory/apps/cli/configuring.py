"""The commands for settings: this command's own, and the live configuration of all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from betterdb_agent_memory.apps.cli import output
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.reading import seconds
from betterdb_agent_memory.apps.cli.session import Session, session_of
from betterdb_agent_memory.caches.tool_names import checked_tool_name
from betterdb_agent_memory.errors import InvalidInputError

if TYPE_CHECKING:
    from betterdb_agent_memory import AgentMemory, ConfigInForce, RecallWeights, Tenant, ToolPolicy


def config_show(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="What is in force in the store, for all workers.")] = False,
) -> None:
    """Show every setting and where it comes from; secrets are masked."""
    session = session_of(context)

    def own() -> int:
        settings = session.settings
        if session.json:
            output.print_json({name: {"value": s.shown, "source": s.source} for name, s in settings.items()})
        else:
            rows = [(name, "" if s.shown is None else s.shown, s.source) for name, s in settings.items()]
            output.print_table(("setting", "value", "source"), rows)
        return Exit.OK

    async def of_all(agent: AgentMemory | Tenant) -> int:
        _report(session, await agent.config.get())
        return Exit.OK

    if live:
        session.run_agent(of_all, reads=True)
    session.finish(own)


def config_set(
    context: typer.Context,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Largest cosine distance of a hit, 0 to 2.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="S,R,I", help="Weights of similarity, recency, importance: 0.6,0.25,0.15."),
    ] = None,
    half_life: Annotated[
        str | None, typer.Option("--half-life", metavar="DURATION", help="Age at which recency is one half: 7d ...")
    ] = None,
    max_items: Annotated[int | None, typer.Option("--max-items", help="Memories kept in one scope.")] = None,
    retrieval: Annotated[
        str | None, typer.Option("--retrieval", help="vector: likeness alone; hybrid: words as well.")
    ] = None,
    scoring: Annotated[
        str | None, typer.Option("--scoring", help="composite, activation, chain or retrievability.")
    ] = None,
    exact: Annotated[
        bool | None, typer.Option("--exact/--no-exact", help="Whether a recall searches on until it is exact.")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option("--diversity", help="0 to 1: how relevance counts beside being unlike other hits.")
    ] = None,
    hybrid: Annotated[
        list[str] | None,
        typer.Option("--hybrid", metavar="NAME=NUMBER", help="words_weight=0.5 and the like; repeatable."),
    ] = None,
    tool_ttl: Annotated[
        list[str] | None,
        typer.Option("--tool-ttl", metavar="TOOL=DURATION", help="How long a tool's results are kept; repeatable."),
    ] = None,
) -> None:
    """Change the live configuration of all workers."""
    session = session_of(context)

    async def work(agent: AgentMemory | Tenant) -> int:
        given: dict[str, Any] = {
            "threshold": threshold,
            "weights": _weights(weights),
            "half_life_seconds": seconds("--half-life", half_life),
            "max_items_per_scope": max_items,
            "retrieval": retrieval,
            "scoring": scoring,
            "exact": exact,
            "diversity": diversity,
            "hybrid": _hybrid(hybrid),
        }
        # All is checked before anything is written.
        ttls = [_tool_ttl(text) for text in tool_ttl or []]
        if not ttls or any(value is not None for value in given.values()):
            await agent.config.set(**given)
        for tool, policy in ttls:
            await agent.config.set_tool_ttl(tool, policy.ttl)
        _report(session, await agent.config.get(), whole=False)
        return Exit.OK

    session.run_agent(work)


def config_reset(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING]...", help="threshold, weights, retrieval, hybrid, hybrid.words_weight ..."),
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="Take away this tool's policy; repeat it for several.")
    ] = None,
) -> None:
    """Take settings of the live configuration away, all of them if none is named; tool policies by --tool alone."""
    session = session_of(context)

    async def work(agent: AgentMemory | Tenant) -> int:
        removed = [await agent.config.remove_tool_policy(name) for name in tool or []]
        if names or not tool:
            await agent.config.reset(*names or [])
        _report(session, await agent.config.get(), whole=False)
        return Exit.OK if all(removed) else Exit.NOTHING

    session.run_agent(work)


def _weights(text: str | None) -> RecallWeights | None:
    from betterdb_agent_memory import RecallWeights

    if text is None:
        return None
    try:
        similarity, recency, importance = [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInputError(f"--weights are three numbers such as 0.6,0.25,0.15, got {text!r:.40}") from None
    return RecallWeights(similarity, recency, importance)


def _hybrid(texts: list[str] | None) -> dict[str, float] | None:
    said: dict[str, float] = {}
    for text in texts or []:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise InvalidInputError(
                f"--hybrid is a name and a number such as words_weight=0.5, got {text!r:.60}"
            ) from None
        said[name] = int(value) if value.is_integer() else value
    return said or None


def _tool_ttl(text: str) -> tuple[str, ToolPolicy]:
    from betterdb_agent_memory import ToolPolicy

    tool, _, duration = text.rpartition("=")
    ttl_seconds = seconds("--tool-ttl", duration) if tool and duration else None
    if ttl_seconds is None:
        raise InvalidInputError(f"--tool-ttl is a tool and a duration such as search=5m, got {text!r:.60}")
    return checked_tool_name(tool), ToolPolicy(ttl_seconds)


def _report(session: Session, config: ConfigInForce, *, whole: bool = True) -> None:
    """What is in force; not `whole` leaves out signs of relevance that nobody has set."""
    if session.json:
        output.print_json(
            {
                "settings": config.settings,
                "tool_ttl_seconds": config.tool_ttl_seconds,
                "ignored_tools": config.ignored_tools,
            }
        )
        return
    rows: list[tuple[str, object, str]] = []
    for name, setting in config.settings.items():
        if not whole and name.startswith("hybrid.") and setting.source == "constructor" and setting.ignored is None:
            continue
        why = "" if setting.ignored is None else f", since {setting.ignored!r} cannot be used"
        rows.append((name, _shown(setting.value), setting.source + why))
    rows += [(f"tool_ttl_seconds {tool}", ttl, "live") for tool, ttl in config.tool_ttl_seconds.items()]
    rows += [(f"tool_ttl_seconds {tool}", "", f"ignored: {why}") for tool, why in config.ignored_tools.items()]
    output.print_table(("setting", "value", "source"), rows)


def _shown(value: float | int | bool | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return str(value).lower() if isinstance(value, bool) else f"{value:.15g}"


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    config = typer.Typer(no_args_is_help=True, help="Look at settings, and change those of all workers.")
    config.command("show")(config_show)
    config.command("set")(config_set)
    config.command("reset")(config_reset)
    app.add_typer(config, name="config")
