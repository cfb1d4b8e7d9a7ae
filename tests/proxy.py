"""A TCP proxy in front of a server: counts round trips on the wire, and breaks connections on purpose."""

from __future__ import annotations

import asyncio
from typing import Literal

from tests.relay import Relay, until_one_ends

Fault = Literal["before", "after", "stall"]
"""`before`: the request never reaches the server. `after`: the server has executed it, the reply is
lost. `stall`: the request is held back until `release`."""


class Proxy(Relay):
    """`with Proxy(port) as proxy:` listens on `proxy.port`, in a thread and event loop of its own.

    A round trip is a burst from the client that follows a reply (or opens the connection):
    pipelined commands count once, however many packets they take.
    """

    def __init__(self, server_port: int, *, port: int = 0) -> None:
        super().__init__(server_port, port=port)
        self.round_trips = 0
        self._faults: list[tuple[Fault, bytes]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._released: asyncio.Event | None = None

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

        self.run(cut())

    async def linked(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Hand requests on and replies back, with the faults that were asked for."""
        writers = {client[1], server[1]}
        self._writers |= writers
        try:
            link = _Link(self)
            await until_one_ends(link.requests(client[0], server[1]), link.replies(server[0], client[1]))
        finally:
            self._writers -= writers

    async def _open(self) -> None:
        self._released = asyncio.Event()
        await super()._open()

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


class _Link:
    """One client connection and its connection to the server."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._awaiting_reply = False
        self._drop_reply = False

    async def requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    async def replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while reply := await reader.read(65536):
            if self._drop_reply:
                return
            self._awaiting_reply = False
            writer.write(reply)
            await writer.drain()
