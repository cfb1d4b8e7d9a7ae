"""A server on this machine that answers as providers do: whatever a test says next, over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class ProviderServer:
    """`with ProviderServer(answer) as server:` serves on `server.url`; `server.requests` are the bodies it got."""

    def __init__(self, answer: dict[str, Any] | None = None, *, seconds: float = 0.0) -> None:
        self.answer: dict[str, Any] | list[dict[str, Any]] = answer or {}
        self.status = 200
        self.seconds = seconds
        self.requests: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(body)
                time.sleep(server.seconds)
                if body.get("stream"):
                    events = server.answer if isinstance(server.answer, list) else [server.answer]
                    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
                    self._send(text, "text/event-stream")
                else:
                    self._send(json.dumps(server.answer), "application/json")

            def _send(self, text: str, kind: str) -> None:
                content = text.encode()
                self.send_response(server.status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the tests look at the requests."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> ProviderServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
