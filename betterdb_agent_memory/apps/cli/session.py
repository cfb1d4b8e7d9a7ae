"""One run of the command: what it was told, the store it opens, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import platformdirs
import typer

from betterdb_agent_memory.apps.cli.exits import Exit, exit_of
from betterdb_agent_memory.apps.cli.settings import CONFIG_VARIABLE, Setting, resolve
from betterdb_agent_memory.apps.cli.termination import Terminated, Termination, terminations
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError

if TYPE_CHECKING:
    from betterdb_agent_memory import AgentMemory, Embedder, MemoryStore, Tenant

Work: TypeAlias = "Callable[[MemoryStore], Awaitable[int]]"
AgentWork: TypeAlias = "Callable[[AgentMemory | Tenant], Awaitable[int]]"
_Batch = TypeVar("_Batch")


def user_config_file() -> Path:
    """The file that is read when no other is named."""
    return platformdirs.user_config_path("betterdb-agent-memory") / "config.toml"


@dataclass
class Session:
    """What stood before the command, and the settings that follow from it, read when first needed."""

    flags: Mapping[str, object] = field(default_factory=dict)
    config: Path | None = None
    json: bool = False
    debug: bool = False
    tenant: str | None = None
    placement_seconds: float | None = None
    _embedders: list[Embedder] = field(default_factory=list)

    @property
    def config_file(self) -> tuple[Path, bool]:
        """The configuration file, and whether somebody named it, so that it must be there."""
        named = self.config or os.environ.get(CONFIG_VARIABLE) or None
        return (Path(named), True) if named else (user_config_file(), False)

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Every setting and where it came from."""
        file, must_exist = self.config_file
        return resolve(self.flags, os.environ, file, must_exist=must_exist)

    def with_flags(self, **flags: object) -> dict[str, Setting]:
        """The settings with what a command's own options say."""
        file, must_exist = self.config_file
        return resolve({**self.flags, **flags}, os.environ, file, must_exist=must_exist)

    @property
    def url(self) -> str:
        """Where the memories are, secrets and all."""
        from betterdb_agent_memory.agent_memory import default_file

        return self.settings["url"].value or str(default_file())

    def open(self, *, next_embedder: str | None = None) -> AgentMemory:
        """The store as settings say; no I/O. `next_embedder` is what its model is to be changed to.

        A command is no worker: it does not announce itself to the Monitor, and what it changes is
        written before it ends.
        """
        from betterdb_agent_memory import (
            AgentMemory,
            CacheOptions,
            MemoryConfigRefreshConfig,
            MemoryOptions,
            TenantsOptions,
        )
        from betterdb_agent_memory.options.environment import with_environment

        heard: dict[str, Any] = {} if self.placement_seconds is None else {"placement_seconds": self.placement_seconds}
        return AgentMemory.open(
            self.url,
            name=self.settings["name"].value,
            embedder=self._embedder(self.settings["embedder"].value),
            next_embedder=self._embedder(next_embedder),
            memory=with_environment(
                MemoryOptions(
                    discovery=False,
                    reinforcement="immediate",
                    config_refresh=MemoryConfigRefreshConfig(live_updates=False),
                ),
                {name: setting.value for name, setting in self.settings.items()},
            ),
            caches=CacheOptions(discovery=False, config_refresh=False),
            tenants=TenantsOptions(**heard),
        )

    def run(self, work: Work, *, next_embedder: str | None = None, reads: bool = False) -> NoReturn:
        """Do `work` with the open store, close it, and end the process as `work` says.

        Work that only `reads` makes no file: one that is not there is told.
        """
        self.run_agent(lambda owner: work(owner.memory), next_embedder=next_embedder, reads=reads)

    def run_agent(self, work: AgentWork, *, next_embedder: str | None = None, reads: bool = False) -> NoReturn:
        """The same for work that needs more than the store."""

        def steps() -> int:
            if reads and self._is_missing_file():
                if self.settings["url"].value is None:
                    self.complain(f"nothing has been remembered yet: there is no {self.url}")
                    return Exit.NOTHING
                raise ConfigurationError(f"there is no file {self.url}; the first `remember` or `import` makes it")
            return asyncio.run(self._with_agent(work, next_embedder))

        self.finish(steps)

    def _is_missing_file(self) -> bool:
        from betterdb_agent_memory.engines import is_server_url

        url = self.url
        return not (is_server_url(url) or url == ":memory:" or not url.strip() or Path(url).exists())

    def run_over(
        self, batches: Iterable[_Batch], work: Callable[[MemoryStore, _Batch], Awaitable[None]], end: Callable[[], int]
    ) -> NoReturn:
        """Do `work` with the open store for each of `batches`, and end the process as `end` says.

        The batches are made outside of the event loop: they may wait for a pipe, and Ctrl-C must end that.
        """

        def steps() -> int:
            with asyncio.Runner() as runner:
                agent = self.open()
                try:
                    owner = self._owner(agent)
                    for batch in batches:
                        runner.run(_awaited(work(owner.memory, batch)))
                finally:
                    runner.run(self._close(agent))
            return end()

        self.finish(steps)

    def finish(self, work: Callable[[], int]) -> NoReturn:
        """End the process with what `work` returns, or as its error says: one line, no traceback."""
        with terminations() as termination:
            self._finish(work, termination)

    def _finish(self, work: Callable[[], int], termination: Termination) -> NoReturn:
        try:
            code = work()
            sys.stdout.flush()
        except AgentMemoryError as error:
            if self.debug:
                raise
            code = exit_of(error)
            self.complain(error)
        except UnicodeDecodeError as error:
            code = Exit.REFUSED
            self.complain(f"the input is no UTF-8: {error}")
        except BrokenPipeError:
            _let_go_of_stdout()
            code = Exit.PIPE_CLOSED
        except OSError as error:
            _let_go_of_stdout()
            code = Exit.FAILED
            self.complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        except (KeyboardInterrupt, asyncio.CancelledError, Terminated):
            sys.stderr.write("terminated\n" if termination.asked else "interrupted\n")
            code = Exit.TERMINATED if termination.asked else Exit.INTERRUPTED
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if self.debug:
                raise
            code = Exit.FAILED
            self.complain(f"{type(error).__name__}: {error} (this is a bug: --debug shows where)")
        raise typer.Exit(int(code))

    def complain(self, problem: object) -> None:
        """One line on stderr, behind what was printed, without the secrets of the URL."""
        with contextlib.suppress(BrokenPipeError):  # nobody reads what was printed: this may still be read
            sys.stdout.flush()
        sys.stderr.write(f"betterdb-memory: {self.without_secrets(' '.join(str(problem).split()))}\n")

    def without_secrets(self, text: str) -> str:
        """The text with what a URL hides masked in it."""
        from betterdb_agent_memory.options.secrets import masked, secrets_of

        url = self.flags.get("url") or os.environ.get("BETTERDB_URL") or ""
        known = [str(url)]
        if "settings" in self.__dict__:
            known.append(self.url if self.settings["url"].value else "")
        for place in known:
            text = text.replace(place, masked(place)) if place else text
            for secret in secrets_of(place):
                text = text.replace(secret, "***")
        return text

    async def _with_agent(self, work: AgentWork, next_embedder: str | None) -> int:
        agent = self.open(next_embedder=next_embedder)
        try:
            return await work(self._owner(agent))
        finally:
            await self._close(agent)

    def _owner(self, agent: AgentMemory) -> AgentMemory | Tenant:
        """Whose memories and settings are meant: one tenant's, or the agent's own."""
        return agent if self.tenant is None else agent.tenant(self.tenant)

    async def _close(self, agent: AgentMemory) -> None:
        """Close the store, and the embedders that were made for it."""
        try:
            await agent.close()
        finally:
            if self._embedders:
                from betterdb_agent_memory.embedders.named import close_embedder

                for embedder in self._embedders:
                    await close_embedder(embedder)

    def _embedder(self, name: str | None) -> Embedder | None:
        if name is None:
            return None
        from betterdb_agent_memory.embedders.named import embedder_from_name

        self._embedders.append(embedder_from_name(name))
        return self._embedders[-1]


async def _awaited(work: Awaitable[None]) -> None:
    await work


def session_of(context: typer.Context) -> Session:
    """The session that the global options began."""
    session = context.obj
    assert isinstance(session, Session)
    return session


def _let_go_of_stdout() -> None:
    """What could not be written stays unwritten: the interpreter would try again at its end, and say so."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
