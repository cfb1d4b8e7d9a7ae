"""TLS in front of a server that has none: certificates made on the spot, a terminator that asks for the client's."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import trustme


class Certificates:
    """Files in `folder`: a CA, what it has signed for the server and for a client, and a CA that nobody trusts."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1") -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.authority = folder / "ca.pem"
        self.stranger = folder / "stranger.pem"
        self.client_certificate, self.client_key = folder / "client.pem", folder / "client.key"
        self.stranger_certificate, self.stranger_key = folder / "other.pem", folder / "other.key"
        authority.cert_pem.write_to_path(self.authority)
        stranger.cert_pem.write_to_path(self.stranger)
        for made, chain, key in (
            (authority.issue_cert("agent@example.org"), self.client_certificate, self.client_key),
            (stranger.issue_cert("agent@example.org"), self.stranger_certificate, self.stranger_key),
        ):
            made.private_key_and_cert_chain_pem.write_to_path(key)
            made.cert_chain_pems[0].write_to_path(chain)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(host).configure_cert(self.server)
        authority.configure_trust(self.server)
        self.server.verify_mode = ssl.CERT_REQUIRED

    @property
    def settings(self) -> str:
        """The settings of a URL of a client that is in order."""
        return self.query(self.authority, self.client_certificate, self.client_key)

    @staticmethod
    def query(authority: Path, certificate: Path | None = None, key: Path | None = None) -> str:
        settings = {"ssl_ca_certs": authority, "ssl_certfile": certificate, "ssl_keyfile": key}
        given = [f"{name}={quote(str(path), safe='')}" for name, path in settings.items() if path is not None]
        return "&".join(given)


class Terminator:
    """`with Terminator(port, certificates) as tls:` speaks TLS on `tls.port` and plainly to the server behind it."""

    def __init__(self, server_port: int, certificates: Certificates) -> None:
        self.port = 0
        self._server_port = server_port
        self._certificates = certificates
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Terminator:
        # Refusals of certificates are what some tests are for.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(step, self._loop)
        future.result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._certificates.server)
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
        server = await asyncio.open_connection("127.0.0.1", self._server_port)
        pumps = [asyncio.ensure_future(_pump(reader, server[1])), asyncio.ensure_future(_pump(server[0], writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()
            server[1].transport.abort()
            self._links.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
