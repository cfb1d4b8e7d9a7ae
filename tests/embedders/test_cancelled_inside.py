"""A call that is cancelled by somebody else than us is a failure, not silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from betterdb_agent_memory.embedders import CallLimits, CoalescingEmbedder, FunctionEmbedder
from betterdb_agent_memory.errors import EmbedderUnavailableError


class Shared:
    """Awaits something that another part of the program has cancelled."""

    name = "shared"
    dimensions = 2
    default_threshold = 1.0

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    async def embed_query(self, text: str) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if self._error is not None:
            raise self._error
        future: asyncio.Future[list[list[float]]] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future


@pytest.mark.parametrize("attempts", [1, 2])
async def test_callers_of_a_queue_are_told(attempts: int) -> None:
    embedder = CoalescingEmbedder(
        Shared(), CallLimits(timeout_seconds=1, attempts=attempts, longest_pause_seconds=0.01)
    )
    for call in (embedder.embed_query("a"), embedder.embed_documents(["a", "b"])):
        with pytest.raises(EmbedderUnavailableError, match="cancelled its own call"):
            await asyncio.wait_for(call, 5)
    await embedder.aclose()


async def test_a_function_that_is_cancelled_fails_its_batch() -> None:
    asked = []

    async def embed(text: str) -> list[float]:
        asked.append(text)
        if text == "bad":
            raise asyncio.CancelledError
        return [1.0, 2.0]

    embedder = FunctionEmbedder(embed)
    with pytest.raises(EmbedderUnavailableError, match="cancelled its own call"):
        await embedder.embed_documents(["good", "bad", "fine"])
    with pytest.raises(EmbedderUnavailableError):
        await embedder.embed_query("bad")
    assert "good" in asked


async def test_a_cancelled_caller_is_cancelled() -> None:
    async def embed(text: str) -> list[float]:
        await asyncio.sleep(60)
        return [1.0]

    for embedder in (FunctionEmbedder(embed), CoalescingEmbedder(FunctionEmbedder(embed))):
        task = asyncio.create_task(embedder.embed_documents(["a", "b"]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
