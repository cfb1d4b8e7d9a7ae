"""Commands about the tenants of an agent: which there are, how much one uses, and the end of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from betterdb_agent_memory.apps.cli import options, output
from betterdb_agent_memory.apps.cli.confirming import require_yes
from betterdb_agent_memory.apps.cli.exits import Exit
from betterdb_agent_memory.apps.cli.session import Session, session_of

if TYPE_CHECKING:
    from betterdb_agent_memory import AgentMemory, Tenant

Name: TypeAlias = Annotated[str, typer.Argument(metavar="TENANT", help="What the tenant is called.")]


def tenants_list(context: typer.Context) -> None:
    """Show the tenants that somebody has used."""
    session = _session(context)

    async def work(agent: AgentMemory | Tenant) -> int:
        names = await _of_all(agent).tenants.names()
        if session.json:
            output.print_json({"tenants": names})
        else:
            for name in names:
                output.say(name)
        return Exit.OK if names else Exit.NOTHING

    session.run_agent(work, reads=True)


def tenants_status(context: typer.Context, tenant: Name) -> None:
    """Show where a tenant's memories are, how much it uses, and how much it may."""
    session = _session(context)

    async def work(agent: AgentMemory | Tenant) -> int:
        tenants = _of_all(agent).tenants
        if tenant not in await tenants.names():
            session.complain(f"nobody has used a tenant {tenant}")
            return Exit.NOTHING
        status = await tenants.status(tenant)
        _report(session, {**output.plain(status), "limits": status.limits.model_dump()})
        return Exit.OK

    session.run_agent(work, reads=True)


def tenants_delete(
    context: typer.Context,
    tenant: Name,
    placement_seconds: Annotated[
        float | None, typer.Option("--placement-seconds", help="As the workers have it in TenantsOptions.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Delete a tenant whole, after asking: memories, caches, sessions, settings. There is no way back."""
    session = _session(context)
    session.placement_seconds = placement_seconds

    async def work(agent: AgentMemory | Tenant) -> int:
        agent = _of_all(agent)
        if tenant not in await agent.tenants.names():
            session.complain(f"nobody has used a tenant {tenant}")
            return Exit.NOTHING
        require_yes(f"delete tenant {tenant} of {agent.memory.name} with everything that it has", yes=yes)
        _report(session, await agent.tenants.delete(tenant))
        return Exit.OK

    session.run_agent(work, reads=True)


def _session(context: typer.Context) -> Session:
    session = session_of(context)
    if session.tenant is not None:
        raise typer.BadParameter("these commands are about all tenants: name one behind the command, without --tenant")
    return session


def _of_all(agent: AgentMemory | Tenant) -> AgentMemory:
    from betterdb_agent_memory import AgentMemory

    assert isinstance(agent, AgentMemory)
    return agent


def _report(session: Session, result: object) -> None:
    if session.json:
        output.print_json(result)
    else:
        output.pairs_table(output.plain(result))


def add_to(app: typer.Typer) -> None:
    """Make these commands of the program."""
    tenants = typer.Typer(no_args_is_help=True, help="Look at the tenants of an agent, and delete one.")
    tenants.command("list")(tenants_list)
    tenants.command("status")(tenants_status)
    tenants.command("delete")(tenants_delete)
    app.add_typer(tenants, name="tenants")
