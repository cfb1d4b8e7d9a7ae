"""References to binary content: the recorded ones of both packages, and what fetching may and may not do."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.caches.fetching import fetched
from betterdb_agent_memory.caches.references import (
    BinaryRef,
    compose_normalizer,
    default_normalizer,
    fetch_and_hash,
    hash_base64,
    hash_bytes,
    hash_url,
    passthrough,
)
from betterdb_agent_memory.errors import ContentUnavailableError
from tests.interop.replay import FIXTURES

VECTORS: dict[str, Any] = json.loads((FIXTURES / "function_vectors.json").read_text())

DIFFERENCES = {
    "hash_base64": {
        "not base64!!": "only TypeScript skips what is no base64",
        "a-_b": "only TypeScript reads the URL-safe alphabet",
    },
    "hash_url": {
        "HTTP://example.com:80/": "default port",
        "https://example.com:443/x": "default port",
        "ftp://Example.com:21/x": "default port",
        "https://example.com": "empty path",
        "https://example.com/a b?q=x y": "escapes in the path",
        "https://example.com/../a/./b": "dot segments",
        "https://example.com/?a=1&a=0&b=": "order of equal names, empty values",
        "https://example.com/?flag": "names without a value",
        "https://exämple.com/": "host in another script",
    },
}
"""Where the published packages have different references; ours is the TypeScript one."""


def vectors(name: str) -> list[Any]:
    return [pytest.param(vector, id=f"{name}-{number}") for number, vector in enumerate(VECTORS[name])]


@pytest.mark.parametrize("vector", vectors("hash_base64"))
def test_base64_is_hashed_as_in_typescript(vector: dict[str, Any]) -> None:
    assert hash_base64(vector["input"]) == vector["ts"]


@pytest.mark.parametrize("vector", vectors("hash_url"))
def test_urls_are_normalised_as_in_typescript(vector: dict[str, Any]) -> None:
    assert hash_url(vector["input"]) == vector["ts"]


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_of_the_packages_is_named(name: str) -> None:
    assert {vector["input"] for vector in VECTORS[name] if not vector["agree"]} == set(DIFFERENCES[name])


@pytest.mark.parametrize("vector", vectors("passthrough"))
async def test_a_source_is_passed_through_as_in_both_packages(vector: dict[str, Any]) -> None:
    assert vector["agree"]
    ref = python_ref(vector["input"])
    assert passthrough(ref) == await default_normalizer(ref) == await compose_normalizer()(ref) == vector["ts"]


def python_ref(ref: dict[str, Any]) -> BinaryRef:
    """A recorded reference with the members that Python programs give."""
    source = dict(ref["source"])
    if "hex" in source:
        source["data"] = bytes.fromhex(source.pop("hex"))
    if "fileId" in source:
        source["file_id"] = source.pop("fileId")
        source["type"] = "file_id"
    made: BinaryRef = {"kind": ref["kind"], "source": source}  # type: ignore[typeddict-item]
    return made


@given(st.binary())
def test_base64_in_every_form_is_its_bytes(data: bytes) -> None:
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    for text in (standard, url_safe, standard.rstrip("="), "\n".join(standard), f"data:image/png;base64,{standard}"):
        assert hash_base64(text) == hash_bytes(data)


@pytest.mark.parametrize(
    ("text", "data"),
    [("a", b""), ("aG=Vs", b"h"), ("áaGk=", b"hi"), ("aGVsa", b"hel"), ("data:;BASE64,aGk=", None)],
)
def test_base64_is_read_as_node_reads_it(text: str, data: bytes | None) -> None:
    """Recorded from `Buffer.from(text, "base64")` of Node.js 20."""
    if data is None:
        assert hash_base64(text) != hash_bytes(b"hi"), "the mark is in lower case"
    else:
        assert hash_base64(text) == hash_bytes(data)


@pytest.mark.parametrize("text", ["not a url", "", "/rel?b=1&a=2", "http://a b/", "//host/x"])
def test_what_is_no_absolute_url_is_kept_as_it_is(text: str) -> None:
    assert hash_url(text) == f"url:{text}"


@given(st.permutations(["b=2", "a=1", "c", "d=%C3%BC"]))
def test_the_order_of_different_names_in_a_query_does_not_matter(query: list[str]) -> None:
    assert hash_url(f"https://e.com/x?{'&'.join(query)}") == "url:https://e.com/x?a=1&b=2&c=&d=%C3%BC"


async def test_a_normalizer_asks_by_kind_then_by_source_then_passes_through() -> None:
    async def of_audio(ref: BinaryRef) -> str:
        return f"audio:{ref['source']['type']}"

    async def of_url(url: str) -> str:
        return f"async:{url}"

    normalizer = compose_normalizer(
        {
            "by_kind": {"audio": of_audio},
            "url": of_url,
            "file_id": lambda file_id, provider: f"{provider}/{file_id}",
            "bytes": lambda data: data.hex(),
        }
    )
    url: Any = {"type": "url", "url": "u"}
    assert await normalizer({"kind": "audio", "source": url}) == "audio:url"
    assert await normalizer({"kind": "image", "source": url}) == "async:u"
    assert await normalizer({"kind": "image", "source": {"type": "file_id", "file_id": "f", "provider": "p"}}) == "p/f"
    assert await normalizer({"kind": "image", "source": {"type": "bytes", "data": b"\x01"}}) == "01"
    assert await normalizer({"kind": "image", "source": {"type": "base64", "data": "aGk="}}) == "base64:aGk="


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"urls": hash_url}, "got 'urls'"),
        ({"by_kind": {"video": default_normalizer}}, "got 'video'"),
        ({"url": "hash_url"}, "the normalizer's url must be a function"),
        ({"by_kind": {"image": 1}}, "the normalizer's image must be a function"),
    ],
)
def test_a_normalizer_that_would_never_be_asked_is_refused(config: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        compose_normalizer(config)


async def test_a_normalizer_must_give_text() -> None:
    broken: Any = {"url": lambda url: None}
    with pytest.raises(InvalidInputError, match="function url must give a text, got None"):
        await compose_normalizer(broken)({"kind": "image", "source": {"type": "url", "url": "u"}})


@pytest.mark.parametrize(
    "ref",
    [
        {},
        None,
        {"source": {"type": "url", "url": "u"}},
        {"kind": "image", "source": {"type": "fileId", "fileId": "f", "provider": "p"}},
        {"kind": "image", "source": {"type": "url"}},
        {"kind": "image", "source": {"type": "bytes", "data": "text"}},
        {"kind": "image", "source": {"type": "base64", "data": b"bytes"}},
    ],
)
async def test_what_is_no_reference_is_refused(ref: Any) -> None:
    with pytest.raises(InvalidInputError, match="not a reference to binary content"):
        passthrough(ref)
    with pytest.raises(InvalidInputError, match="not a reference to binary content"):
        await compose_normalizer({"url": hash_url})(ref)


@pytest.mark.parametrize("function", [hash_base64, hash_url, hash_bytes])
def test_a_hash_of_another_type_is_refused(function: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{function.__name__} takes"):
        function(5)


class Answers(BaseHTTPRequestHandler):
    """Answers by path; `asked` is what was asked for."""

    asked: ClassVar[list[str]] = []
    plain: ClassVar[dict[str, tuple[int, bytes, dict[str, str]]]] = {
        "/image": (200, b"image", {}),
        "/empty": (200, b"", {}),
        "/large": (200, b"x" * 200_000, {}),
        "/cut": (200, b"half", {"Content-Length": "8"}),
        "/moved": (302, b"", {"Location": "/image"}),
        "/round": (302, b"", {"Location": "/round"}),
        "/to-file": (302, b"", {"Location": Path(__file__).as_uri()}),
        "/to-ftp": (302, b"", {"Location": "ftp://127.0.0.1/x"}),
    }

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path == "/silent":
            time.sleep(2)
        elif path == "/dripping-headers":
            self.send_response(200)
            for number in range(60):
                self.send_header(f"X-{number}", "x")
                self.flush_headers()
                time.sleep(0.05)
        elif path == "/drip":
            self.answer(200, b"", {"Content-Length": "100"})
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif path == "/chunked":
            self.answer(200, b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})
        else:
            self.answer(*self.plain.get(path, (404, b"no", {})))

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not headers.keys() & {"Content-Length", "Transfer-Encoding"}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that has had enough hangs up, which is what is tested."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a real HTTP server on this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Answers.asked.clear()
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_what_is_there_is_hashed(web: str) -> None:
    assert await fetch_and_hash(f"{web}/image") == hash_bytes(b"image")
    assert await fetch_and_hash(f"{web}/moved") == hash_bytes(b"image")
    assert await fetch_and_hash(f"{web}/empty") == hash_bytes(b"")
    assert await fetch_and_hash(f"{web}/image?q=a b#part") == hash_bytes(b"image")
    assert Answers.asked[-1] == "/image?q=a%20b"


async def test_nothing_is_fetched_unless_asked_for(web: str) -> None:
    url: Any = {"kind": "image", "source": {"type": "url", "url": f"{web}/image"}}
    passthrough(url)
    await default_normalizer(url)
    await compose_normalizer({"url": hash_url, "base64": hash_base64})(url)
    assert Answers.asked == []
    assert await compose_normalizer({"url": fetch_and_hash})(url) == hash_bytes(b"image")


@pytest.mark.parametrize("path", ["/large", "/chunked"])
async def test_more_than_the_bound_is_not_read(web: str, path: str) -> None:
    with pytest.raises(InvalidInputError, match="larger than max_bytes, 1,000 bytes"):
        await fetch_and_hash(f"{web}{path}", max_bytes=1000)
    assert (await fetch_and_hash(f"{web}{path}")).startswith("sha256:")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/missing?token=hush", "/missing answered with status 404"),
        ("/cut", "ended 4 bytes early"),
        ("/round", "status 302"),
        ("/to-ftp", "could not be fetched: .*unknown url type: ftp"),
        ("/to-file", "answered with status 302"),
    ],
)
async def test_what_cannot_be_fetched_is_no_hash(web: str, path: str, said: str) -> None:
    with pytest.raises(ContentUnavailableError, match=said) as refused:
        await fetch_and_hash(f"{web}{path}")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("path", ["/drip", "/dripping-headers", "/silent"])
async def test_a_slow_answer_is_not_waited_for(web: str, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(ContentUnavailableError):
        await fetch_and_hash(f"{web}{path}", timeout_seconds=0.3)
    assert time.monotonic() - started < 1.5


def test_the_thread_that_fetches_stops_too(web: str) -> None:
    started = time.monotonic()
    with pytest.raises(ContentUnavailableError, match="/drip took too long"):
        fetched(f"{web}/drip", 1000, 0.3)
    assert time.monotonic() - started < 1.5


async def test_nobody_there_is_no_hash() -> None:
    with Server(("127.0.0.1", 0), Answers) as server:
        port = server.server_port
    with pytest.raises(ContentUnavailableError, match="could not be fetched"):
        await fetch_and_hash(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (Path(__file__).as_uri(), "only http and https"),
        ("ftp://example.com/x", "only http and https"),
        ("data:text/plain,x", "only http and https"),
        ("example.com/x", "no absolute URL"),
        ("", "no absolute URL"),
        (None, "no absolute URL"),
        ("https://user:pw@127.0.0.1:9/x", "a user or a password"),
    ],
)
async def test_only_plain_web_addresses_are_fetched(url: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as refused:
        await fetch_and_hash(url)
    assert "pw" not in str(refused.value)


async def test_fetching_does_not_hold_up_the_loop(web: str) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(ContentUnavailableError):
        await fetch_and_hash(f"{web}/silent", timeout_seconds=0.3)
    turning.cancel()
    assert turns > 5
