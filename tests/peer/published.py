"""A hand for tests/peer/worker.py: the published package as a neighbour."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".peers" / "betterdb-0.7.0"
ANSWER_SECONDS = 20.0


class PublishedError(Exception):
    """What the published package raised: `kind` is the class's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Published:
    """`with Published(port) as theirs:` starts the process; `await theirs.call("recall", "store", ...)`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Published:
        if not PEER.is_dir():
            raise RuntimeError(
                f"the published package is not installed in {PEER}: run `make peers` (scripts/install_peers.py)"
            )
        environment = {**os.environ, "PYTHONPATH": str(PEER), "BETTERDB_TELEMETRY": "false"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(self._port)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        package = Path(self._answer())
        assert package.is_relative_to(PEER), f"{package} is not the published package"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    async def call(self, do: str, store: str, **arguments: Any) -> Any:
        """Call a method of the published store of that name; its result as plain dictionaries."""
        return await asyncio.to_thread(self._exchange, {"do": do, "store": store, "arguments": arguments})

    async def cache(self, name: str, do: str, *positional: Any) -> Any:
        """Call `tier.method` of the published cache of that name."""
        return await asyncio.to_thread(
            self._exchange, {"do": do, "store": name, "arguments": {"positional": positional}}
        )

    def _exchange(self, request: dict[str, Any]) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError("the published package's process ended or did not answer; see its error output")
        answer = json.loads(line)
        if "error" in answer:
            raise PublishedError(answer["error"], answer["message"])
        return answer["result"]
