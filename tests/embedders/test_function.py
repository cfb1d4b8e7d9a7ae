from __future__ import annotations

import asyncio
import errno
import functools
import re
import socket
import ssl
from collections.abc import Awaitable

import numpy as np
import pytest

from betterdb_agent_memory.embedders import Embedder, FunctionEmbedder, WordLlamaEmbedder, as_embedder
from betterdb_agent_memory.embedders.failures import is_passing
from betterdb_agent_memory.errors import ConfigurationError, EmbedderUnavailableError, EmbeddingError, InvalidInputError


async def embed(text: str) -> list[float]:
    return [float(len(text)), 1.0]


def not_async(text: str) -> list[float]:
    return [1.0]


def returns_an_awaitable(text: str) -> Awaitable[list[float]]:
    return embed(text)


@functools.wraps(embed)
def wraps_an_async_function(*args):
    return embed(*args)


class Model:
    async def encode(self, text: str) -> np.ndarray:
        return np.array([1.0, 2.0])

    def encode_blocking(self, text: str) -> list[float]:
        return [1.0]

    async def __call__(self, text: str) -> list[float]:
        return [1.0, 3.0]


async def test_a_function_becomes_an_embedder():
    embedder = FunctionEmbedder(embed)
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dimensions, embedder.default_threshold) == ("embed_fn", None, 0.25)
    assert (await embedder.embed_query("abc")).tolist() == [3.0, 1.0]
    assert await embedder.embed_documents([]) == []


async def test_many_texts_keep_their_order_and_at_most_eight_calls_are_in_flight():
    in_flight = most = 0

    async def slow_for_early_texts(text: str) -> list[float]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02 - 0.0005 * int(text))
        in_flight -= 1
        return [float(text), 1.0]

    vectors = await FunctionEmbedder(slow_for_early_texts).embed_documents([str(n) for n in range(40)])
    assert [vector[0] for vector in vectors] == list(range(40))
    assert most == 8


async def test_the_first_failure_cancels_the_calls_in_flight_and_starts_no_more():
    started, cancelled = [], []

    async def fails_once(text: str) -> list[float]:
        started.append(text)
        if text == "3":
            raise OSError("quota used up")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return [1.0]

    with pytest.raises(EmbeddingError, match="OSError: quota used up") as failure:
        await FunctionEmbedder(fails_once).embed_documents([str(n) for n in range(20)])
    assert isinstance(failure.value.__cause__, OSError)
    assert sorted(started) == [str(n) for n in range(8)]
    assert sorted([*cancelled, "3"]) == sorted(started)


async def test_each_text_has_its_own_outcome_and_at_most_eight_calls_are_in_flight():
    in_flight = most = 0

    async def slow_for_early_texts(text: str) -> list[float]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02 - 0.0005 * int(text))
        in_flight -= 1
        if text in ("3", "30"):
            raise ConnectionError(text)
        return [float(text), 1.0]

    found = await FunctionEmbedder(slow_for_early_texts).embed_each([str(n) for n in range(40)])
    assert [one[0] for one in found if not isinstance(one, Exception)] == [n for n in range(40) if n not in (3, 30)]
    assert isinstance(found[3], EmbedderUnavailableError)
    assert most == 8
    assert await FunctionEmbedder(embed).embed_each([]) == []


async def test_calls_that_fail_at_once_do_not_end_what_slow_ones_still_answer():
    async def seven_slow(text: str) -> list[float]:
        if int(text) < 7:
            await asyncio.sleep(0.05)
        elif int(text) < 30:
            raise ConnectionRefusedError(text)
        return [1.0 + int(text)]

    found = await FunctionEmbedder(seven_slow).embed_each([str(n) for n in range(60)])
    assert [isinstance(one, Exception) for one in found[:7]] == [False] * 7


async def test_cancelling_each_cancels_its_calls():
    cancelled = []

    async def waits(text: str) -> list[float]:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return [1.0]

    each = asyncio.create_task(FunctionEmbedder(waits).embed_each(["a", "b"]))
    await asyncio.sleep(0.01)
    each.cancel()
    with pytest.raises(asyncio.CancelledError):
        await each
    assert sorted(cancelled) == ["a", "b"]


async def test_cancelling_a_batch_cancels_its_calls():
    started, cancelled = asyncio.Event(), []

    async def waits(text: str) -> list[float]:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return [1.0]

    batch = asyncio.create_task(FunctionEmbedder(waits).embed_documents(["a", "b"]))
    await started.wait()
    await asyncio.sleep(0)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert sorted(cancelled) == ["a", "b"]


async def test_a_function_that_does_not_answer_is_given_up_and_not_called_again():
    calls, cancelled = [], []

    async def hangs(text: str) -> list[float]:
        calls.append(text)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return [1.0]

    with pytest.raises(EmbedderUnavailableError, match=r"no answer within 0\.05 s"):
        await FunctionEmbedder(hangs, timeout_seconds=0.05).embed_query("a")
    assert calls == cancelled == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("read timed out"),
        ConnectionResetError("reset by peer"),
        socket.gaierror(-2, "name not known"),
        ssl.SSLError("record too short"),
        OSError(errno.EHOSTUNREACH, "no route to host"),
        OSError("Multiple exceptions: [Errno 111] ::1, [Errno 111] 127.0.0.1"),
    ],
)
async def test_a_function_that_does_not_reach_its_model_says_that_it_may_pass(error):
    async def fails(text: str) -> list[float]:
        raise error

    with pytest.raises(EmbedderUnavailableError, match=re.escape(str(error))) as failure:
        await FunctionEmbedder(fails, timeout_seconds=None).embed_query("a")
    assert failure.value.__cause__ is error


async def test_what_httpx_says_of_a_closed_port_and_of_a_status_may_pass():
    httpx = pytest.importorskip("httpx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with httpx.AsyncClient() as client:
        for address in (f"http://127.0.0.1:{port}", f"http://localhost:{port}", "http://no-such-host.invalid"):
            with pytest.raises(httpx.ConnectError) as failure:
                await client.get(address)
            assert is_passing(failure.value)
    request = httpx.Request("POST", "http://service/embed")
    for status, passes in ((429, True), (503, True), (400, False), (413, False)):
        with pytest.raises(httpx.HTTPStatusError) as refusal:
            httpx.Response(status, request=request).raise_for_status()
        assert is_passing(refusal.value) is passes


@pytest.mark.parametrize(
    ("module", "name", "passes"),
    [
        ("requests.exceptions", "ConnectionError", True),
        ("requests.exceptions", "Timeout", True),
        ("requests.exceptions", "InvalidJSONError", False),
        ("aiohttp.client_exceptions", "ClientConnectionError", True),
        ("somewhere.else", "Timeout", False),
    ],
)
def test_the_errors_of_client_libraries_are_known_by_name(module, name, passes):
    kind = type(name, (OSError,), {"__module__": module})
    assert is_passing(type("Narrower", (kind,), {})("no answer")) is passes


def test_a_status_that_is_no_http_status_says_nothing():
    class ExitStatusError(Exception):
        status = 7

    assert not is_passing(ExitStatusError())


async def test_several_addresses_that_were_not_reached_may_pass_and_one_other_fault_may_not():
    refused = ConnectionRefusedError("::1"), ConnectionRefusedError("127.0.0.1")
    assert is_passing(ExceptionGroup("connecting", refused))
    assert not is_passing(ExceptionGroup("connecting", [*refused, ValueError("no port")]))


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no attachment.png"), PermissionError(13, "a.png"), OSError()])
async def test_what_the_machine_refuses_for_one_text_is_the_texts(error):
    async def fails(text: str) -> list[float]:
        raise error

    with pytest.raises(EmbeddingError) as failure:
        await FunctionEmbedder(fails).embed_query("a")
    assert not isinstance(failure.value, EmbedderUnavailableError)


async def test_an_error_of_ours_from_a_function_passes_unchanged():
    async def refuses(text: str) -> list[float]:
        raise InvalidInputError("too long")

    with pytest.raises(InvalidInputError, match="too long"):
        await FunctionEmbedder(refuses).embed_documents(["a"])


@pytest.mark.parametrize("answer", [[], [0.0, 0.0], [float("nan")], [True], "text", None])
async def test_an_unusable_answer_is_an_embedding_error(answer):
    async def answers(text: str):
        return answer

    with pytest.raises(EmbeddingError):
        await FunctionEmbedder(answers).embed_query("a")


async def test_an_answer_of_another_length_than_stated_is_refused():
    with pytest.raises(EmbeddingError, match="has 2 numbers, expected 3"):
        await FunctionEmbedder(embed, dimensions=3).embed_query("a")


@pytest.mark.parametrize(
    "function",
    [
        embed,
        returns_an_awaitable,
        wraps_an_async_function,
        functools.partial(embed),
        lambda text: embed(text.strip()),
        Model().encode,
        Model(),
    ],
)
async def test_what_returns_an_awaitable_is_an_embedding_function(function):
    assert len(await as_embedder(function).embed_query("a")) == 2


def test_a_function_that_is_not_async_is_refused_at_once():
    with pytest.raises(ConfigurationError, match=r"not_async is not async.*async def"):
        as_embedder(not_async)
    with pytest.raises(ConfigurationError, match="not async"):
        FunctionEmbedder(not_async)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [lambda text: [1.0], functools.partial(not_async), Model().encode_blocking])
async def test_a_callable_that_turns_out_not_to_be_async_is_refused_at_its_first_call(function):
    with pytest.raises(ConfigurationError, match="not async"):
        await as_embedder(function).embed_documents(["a", "b"])


def test_an_embedder_is_taken_as_it_is():
    for embedder in (WordLlamaEmbedder(), FunctionEmbedder(embed, name="mine", dimensions=2, default_threshold=0)):
        assert as_embedder(embedder) is embedder


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "NoneType"),
        ("text-embedding-3-small", "str"),
        (object(), "neither an Embedder nor"),
        (WordLlamaEmbedder, r"pass an instance: WordLlamaEmbedder\(\.\.\.\)"),
    ],
)
def test_anything_else_is_refused(value, reason):
    with pytest.raises(ConfigurationError, match=reason):
        as_embedder(value)


def test_an_object_with_half_the_protocol_is_told_what_it_lacks():
    class Half:
        name = "half"

        def embed_query(self, text): ...

    with pytest.raises(ConfigurationError, match=r"it lacks default_threshold, dimensions, embed_documents\)"):
        as_embedder(Half())


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": 2.0}, "dimensions"),
        ({"default_threshold": -0.1}, "from 0 to 2, got -0.1"),
        ({"default_threshold": 2.1}, "default_threshold"),
        ({"default_threshold": float("nan")}, "default_threshold"),
        ({"default_threshold": True}, "default_threshold"),
        ({"default_threshold": "0.3"}, "default_threshold"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_statements_that_cannot_be_are_refused(stated, reason):
    with pytest.raises(ConfigurationError, match=reason):
        FunctionEmbedder(embed, **stated)
