"""What stands between clients and a server: a port in a thread and event loop of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


class Relay:
    """`with Relay(port) as relay:` hands what comes to `relay.port` to the server behind it, and its replies back.

    A `port` may be given; otherwise it is a free one.
    """

    def __init__(self, server_port: int, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.server_port = server_port
        self.connections = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, step: Coroutine[Any, Any, _T]) -> _T:
        """What comes of a step that is taken in the relay's own loop."""
        future: Future[_T] = asyncio.run_coroutine_threadsafe(step, self._loop)
        return future.result(10)

    async def linked(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Hand requests on and replies back until one side ends."""
        await until_one_ends(pump(client[0], server[1]), pump(server[0], client[1]))

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self.accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has come."""
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.connections += 1
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            server = await asyncio.open_connection("127.0.0.1", self.server_port)
            await self.linked((reader, writer), server)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            # Both before anything is awaited: this task may be cancelled while it is ending by itself.
            ends = [writer] if server is None else [writer, server[1]]
            for end in ends:
                # One that speaks TLS would say good-bye, and wait for an answer.
                end.transport.abort() if end is writer and self._tls is not None else end.close()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()
            self._links.discard(task)


async def until_one_ends(*pumps: Coroutine[Any, Any, None]) -> None:
    """Run these until the first one ends, and end the others."""
    tasks = [asyncio.ensure_future(one) for one in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes until nothing more does."""
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
