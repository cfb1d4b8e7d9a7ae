"""TLS in front of a server that has none: certificates made on the spot, a terminator that asks for the client's."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import trustme

from tests.relay import Relay

_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection; no command begins with it."""


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


class Terminator(Relay):
    """`with Terminator(port, certificates) as tls:` speaks TLS on `tls.port` and plainly to the server behind it."""

    def __init__(self, server_port: int, certificates: Certificates) -> None:
        super().__init__(server_port, tls=certificates.server)
        # Refusals of certificates are what some tests are for.
        self._loop.set_exception_handler(lambda loop, context: None)


class MixedTerminator(Terminator):
    """One that speaks TLS with whoever begins with it, and hands on what others say: for a server whose port is told to
    clients and to other servers alike. How many came each way say `encrypted` and `plain`.
    """

    def __init__(self, server_port: int, certificates: Certificates) -> None:
        super().__init__(server_port, certificates)
        self.encrypted = self.plain = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting: asyncio.Task[None] | None = None

    async def _open(self) -> None:
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._accepting = asyncio.ensure_future(self._accept_all())

    async def _close(self) -> None:
        assert self._accepting is not None
        self._accepting.cancel()
        self._listener.close()
        links = list(self._links)
        for task in links:
            task.cancel()
        await asyncio.gather(self._accepting, *links, return_exceptions=True)

    async def _accept_all(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            task = asyncio.ensure_future(self._begin(client))
            self._links.add(task)
            task.add_done_callback(self._links.discard)

    async def _begin(self, client: socket.socket) -> None:
        said = self._loop.create_future()
        self._loop.add_reader(client, said.set_result, None)
        try:
            await said
        finally:
            self._loop.remove_reader(client)
        first = client.recv(1, socket.MSG_PEEK)
        if not first:  # it went away without a word
            client.close()
            return
        is_tls = first == _HANDSHAKE
        self.encrypted += is_tls
        self.plain += not is_tls
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.accept)
        with suppress(OSError):  # a certificate that was refused, say
            await self._loop.connect_accepted_socket(lambda: protocol, client, ssl=self._tls if is_tls else None)
