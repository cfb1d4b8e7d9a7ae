"""Providers through pydantic-ai: its own test model, and a real client against a server of OpenAI's protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from betterdb_agent_memory.embedders import CallLimits, CoalescingEmbedder, Embedder, QueryBatchEmbedder, as_embedder
from betterdb_agent_memory.embedders.provider import ProviderEmbedder, ProviderUsage
from betterdb_agent_memory.errors import (
    ConfigurationError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)

pytest.importorskip("pydantic_ai")
pytest.importorskip("openai")

from pydantic_ai.embeddings import EmbeddingResult, TestEmbeddingModel

KEY = "sk-proj-4f9aQ7xZsecretsecretsecret"

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


def numbers(text: str, dimensions: int) -> list[float]:
    return [float(len(text)), *([1.0] * (dimensions - 1))]


def embeddings(request: dict[str, Any]) -> tuple[int, Any]:
    """As OpenAI answers: base64 of little-endian floats when asked for it, which its client does."""
    dimensions = request.get("dimensions", 4)
    vectors = [numbers(text, dimensions) for text in request["input"]]
    if request.get("encoding_format") == "base64":
        coded: list[Any] = [base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() for vector in vectors]
    else:
        coded = vectors
    return 200, {
        "object": "list",
        "model": request["model"],
        "data": [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(coded)],
        "usage": {"prompt_tokens": 3 * len(vectors), "total_tokens": 3 * len(vectors)},
    }


def refusal(status: int, message: str, **more: Any) -> Answer:
    return lambda _: (status, {"error": {"message": message, "type": "some_error", "code": None, **more}})


@dataclass
class OpenAIServer:
    """A loopback server with the answers still to be given; when they run out, it embeds."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def server(monkeypatch) -> Iterator[OpenAIServer]:
    state = OpenAIServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append(request)
            state.keys.add(self.headers["authorization"])
            status, answer = (state.answers.pop(0) if state.answers else embeddings)(request)
            body = json.dumps(answer).encode()
            try:
                self.send_response(status if self.path == "/v1/embeddings" else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True  # a client that had given up

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        monkeypatch.setenv("OPENAI_BASE_URL", state.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
async def openai(server) -> AsyncIterator[Callable[..., ProviderEmbedder]]:
    """Makes embedders from names of OpenAI's models, and closes them."""
    async with contextlib.AsyncExitStack() as stack:

        def make(model: str = "another-model", **options: Any) -> ProviderEmbedder:
            embedder = ProviderEmbedder(f"openai:{model}", **options)
            stack.push_async_callback(embedder.aclose)
            return embedder

        yield make


def coalescing(embedder: Embedder, **limits: Any) -> CoalescingEmbedder:
    return CoalescingEmbedder(embedder, CallLimits(**{"longest_pause_seconds": 0, **limits}))


async def test_a_providers_model_embeds_through_the_librarys_test_model():
    model = TestEmbeddingModel(dimensions=6)
    embedder = as_embedder(ProviderEmbedder(model))
    assert isinstance(embedder, QueryBatchEmbedder)
    assert (embedder.name, embedder.dimensions, embedder.default_threshold) == ("test:test", None, 0.25)
    assert list(await embedder.embed_query("a")) == [1.0] * 6
    assert embedder.dimensions == 6
    assert [list(one) for one in await embedder.embed_documents(["a", "b"])] == [[1.0] * 6] * 2
    assert await embedder.embed_documents([]) == []


async def test_dimensions_and_settings_are_passed_on():
    model = TestEmbeddingModel()
    embedder = ProviderEmbedder(model, dimensions=3, settings={"truncate": True}, default_threshold=0.5)
    assert (embedder.name, embedder.dimensions, embedder.default_threshold) == ("test:test@3", 3, 0.5)
    assert len(await embedder.embed_query("a")) == 3
    assert model.last_settings == {"truncate": True, "dimensions": 3}


async def test_questions_and_documents_are_marked_as_such():
    seen = []

    class Notes(TestEmbeddingModel):
        async def embed(self, inputs, *, input_type, settings=None) -> EmbeddingResult:
            seen.append((inputs, input_type))
            return await super().embed(inputs, input_type=input_type, settings=settings)

    embedder = ProviderEmbedder(Notes())
    await embedder.embed_query("a")
    await embedder.embed_documents(["b", "c"])
    assert seen == [(["a"], "query"), (["b", "c"], "document")]


async def test_a_vector_of_another_length_than_before_is_refused():
    model = TestEmbeddingModel(dimensions=4)
    embedder = ProviderEmbedder(model)
    await embedder.embed_query("a")
    model._dimensions = 5
    with pytest.raises(EmbeddingError, match="test:test returned a vector of 5 numbers, expected 4"):
        await embedder.embed_query("a")


async def test_texts_become_vectors_over_the_wire(server, openai):
    embedder = openai("text-embedding-3-small", dimensions=8)
    assert (embedder.name, embedder.dimensions) == ("openai:text-embedding-3-small@8", 8)
    texts = ["dark mode", "", "日本語 😀"]
    assert [list(one) for one in await embedder.embed_documents(texts)] == [numbers(text, 8) for text in texts]
    assert server.requests[0]["input"] == texts
    assert (server.requests[0]["model"], server.requests[0]["dimensions"]) == ("text-embedding-3-small", 8)
    assert server.keys == {f"Bearer {KEY}"}
    await embedder.embed_query("a")
    assert embedder.usage() == ProviderUsage(requests=2, input_tokens=12)


async def test_the_length_of_a_known_model_needs_no_request(server, openai):
    assert openai("text-embedding-3-large").dimensions == 3072
    unknown = openai()
    before, _, after = unknown.dimensions, await unknown.embed_query("a"), unknown.dimensions
    assert (before, after) == (None, 4)
    assert len(server.requests) == 1


async def test_concurrent_callers_share_a_request(server, openai):
    embedder = coalescing(openai())
    found = await asyncio.gather(*(embedder.embed_query("x" * n) for n in range(60)))
    assert [list(one) for one in found] == [numbers("x" * n, 4) for n in range(60)]
    assert [len(request["input"]) for request in server.requests] == [60]


async def test_too_many_requests_then_an_answer(server, openai):
    server.answers += [refusal(429, "slow down"), refusal(500, "oops"), refusal(503, "overloaded")]
    embedder = coalescing(openai(), attempts=4)
    assert list(await embedder.embed_query("abc")) == numbers("abc", 4)
    assert embedder.statistics().retries == 3
    assert len(server.requests) == 4


async def test_a_provider_that_keeps_failing_is_asked_as_often_as_stated_and_named(server, openai):
    server.answers += [refusal(500, "the machine is on fire")] * 10
    embedder = coalescing(openai(), attempts=3)
    with pytest.raises(
        EmbedderUnavailableError, match="openai:another-model answered with HTTP 500: the machine is on fire"
    ) as failure:
        await embedder.embed_query("a")
    assert failure.value.status_code == 500
    assert len(server.requests) == 3, "the client must not repeat by itself"


async def test_a_used_up_quota_is_not_asked_again(server, openai):
    server.answers += [refusal(429, "You exceeded your current quota", code="insufficient_quota")] * 3
    with pytest.raises(EmbeddingError, match="HTTP 429: You exceeded your current quota") as failure:
        await coalescing(openai()).embed_query("a")
    assert failure.value.status_code == 429
    assert not isinstance(failure.value, EmbedderUnavailableError)
    assert len(server.requests) == 1


async def test_the_pause_the_provider_asks_for_reaches_the_caller(server, openai):
    server.headers["retry-after"] = "77"
    server.answers += [refusal(429, "slow down")] * 3
    with pytest.raises(EmbedderUnavailableError) as failure:
        await coalescing(openai()).embed_query("a")
    assert failure.value.retry_after_seconds == 77
    assert len(server.requests) == 1, "a pause longer than the longest is not waited for"


async def test_a_text_that_is_refused_fails_its_own_caller_only(server, openai):
    def refuses_long_texts(request: dict[str, Any]) -> tuple[int, Any]:
        if any(len(text) > 100 for text in request["input"]):
            return refusal(400, "maximum context length is 8192 tokens")(request)
        return embeddings(request)

    server.answers += [refuses_long_texts] * 10
    embedder = coalescing(openai())
    texts = ["short", "x" * 101, "other"]
    short, long, other = [asyncio.create_task(embedder.embed_documents([text])) for text in texts]
    with pytest.raises(EmbeddingError, match="maximum context length") as failure:
        await long
    assert failure.value.status_code == 400
    assert [list(one) for [one] in (await short, await other)] == [numbers("short", 4), numbers("other", 4)]
    assert len(server.requests) == 4


async def test_a_hanging_answer_is_given_up(server, openai):
    released = threading.Event()

    def hangs(request: dict[str, Any]) -> tuple[int, Any]:
        released.wait(20)
        return embeddings(request)

    server.answers += [hangs, hangs]
    embedder = coalescing(openai(), timeout_seconds=0.2, attempts=2)
    before = time.perf_counter()
    with pytest.raises(EmbedderUnavailableError, match=r"openai:another-model gave no answer within 0\.2 s"):
        await embedder.embed_query("a")
    assert time.perf_counter() - before < 5
    assert len(server.requests) == 2
    released.set()


@pytest.mark.parametrize("miscount", [lambda data: data[:-1], lambda data: [*data, data[0]], lambda data: []])
async def test_a_wrong_count_of_vectors_is_refused(server, miscount, openai):
    def miscounts(request: dict[str, Any]) -> tuple[int, Any]:
        status, answer = embeddings(request)
        return status, {**answer, "data": miscount(answer["data"])}

    server.answers += [miscounts]
    with pytest.raises(EmbeddingError, match="openai:another-model"):
        await openai().embed_documents(["a", "b"])


@pytest.mark.parametrize("answer", [{"no": "data"}, [], "words"])
async def test_an_answer_of_another_shape_is_an_embedding_error(server, answer, openai):
    server.answers += [lambda _: (200, answer)]
    with pytest.raises(EmbeddingError, match="openai:another-model"):
        await openai().embed_documents(["a", "b"])


async def test_a_provider_that_is_not_there_is_unavailable(server, monkeypatch, openai):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(EmbedderUnavailableError, match="openai:another-model was not reached") as failure:
        await openai().embed_query("a")
    assert failure.value.status_code is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("other_key", [KEY, "sk-another0123456789", "Bearer abcdef0123456789"])
async def test_no_message_holds_a_key(server, status, other_key, openai):
    server.answers += [refusal(status, f"Incorrect API key provided: {other_key}. Find yours at example.com")]
    with pytest.raises(EmbeddingError) as failure:
        await openai().embed_query("a")
    assert failure.value.status_code == status
    shown = "".join(traceback.format_exception(failure.value))
    assert KEY not in shown
    assert other_key not in shown
    assert str(status) in shown


async def test_what_is_not_text_costs_no_request(server, openai):
    with pytest.raises(InvalidInputError):
        await openai().embed_documents(["fine", "\ud800"])
    assert not server.requests


def test_a_missing_key_names_its_variable(monkeypatch, openai):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        openai("text-embedding-3-small")


@pytest.mark.parametrize("name", ["nobody:model", "text-embedding-3-small"])
def test_an_unknown_provider_is_refused(name):
    with pytest.raises(ConfigurationError, match=name):
        ProviderEmbedder(name)
