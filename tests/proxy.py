"""A TCP proxy in front of a server: counts round trips on the wire, and breaks connections on purpose."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Literal

Fault = Literal["before", "after", "stall"]
"""`before`: the request never reaches the server. `after`: the server has executed it, the reply is
lost. `stall`: the request is held back until `release`."""


class Proxy:
    """`with Proxy(port) as proxy:` listens on `proxy.port`, in a thread and event loop of its own.

    A round trip is a burst from the client that follows a reply (or opens the connection):
    pipelined commands count once, however many packets they take.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.round_trips = 0
        self.connections = 0
        self._server_port = server_port
        self._faults: list[tuple[Fault, bytes]] = []
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._released: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    def fail_next(self, fault: Fault, containing: bytes = b"") -> None:
        """Apply `fault` to the next request that contains `containing`."""
        self._faults.append((fault, containing))

    def release(self) -> None:
        """Let stalled requests go on."""
        assert self._released is not None
        self._loop.call_soon_threadsafe(self._released.set)

    def cut_all(self) -> None:
        """Close every connection that is open now."""

        async def cut() -> None:
            for writer in list(self._writers):
                writer.close()

        self._run(cut())

    def _run(self, step: object) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(step, self._loop)  # type: ignore[arg-type]
        future.result(10)

    async def _open(self) -> None:
        self._released = asyncio.Event()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.connections += 1
        try:
            await _Link(self, reader, writer).run(self._server_port)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            await _closed(writer)
            self._links.discard(task)

    def take_fault(self, request: bytes) -> Fault | None:
        for index, (fault, containing) in enumerate(self._faults):
            if containing in request:
                del self._faults[index]
                return fault
        return None

    async def wait_released(self) -> None:
        assert self._released is not None
        self._released.clear()
        await self._released.wait()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class _Link:
    """One client connection and its connection to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._awaiting_reply = False
        self._drop_reply = False

    async def run(self, server_port: int) -> None:
        server = await asyncio.open_connection("127.0.0.1", server_port)
        self._proxy._writers |= {self._client[1], server[1]}
        pumps = [
            asyncio.create_task(self._requests(self._client[0], server[1])),
            asyncio.create_task(self._replies(server[0], self._client[1])),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything is awaited: `_close` may cancel this task while it is ending by itself.
            server[1].close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await _closed(server[1])
            self._proxy._writers -= {self._client[1], server[1]}

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65536):
            if not self._awaiting_reply:
                self._proxy.round_trips += 1
            self._awaiting_reply = True
            fault = self._proxy.take_fault(request)
            if fault == "before":
                return
            if fault == "stall":
                await self._proxy.wait_released()
            if fault == "after":
                self._drop_reply = True
            writer.write(request)
            await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while reply := await reader.read(65536):
            if self._drop_reply:
                return
            self._awaiting_reply = False
            writer.write(reply)
            await writer.drain()
