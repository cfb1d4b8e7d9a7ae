"""What a store keeps when a plain function fails for some of the texts it is given."""

from __future__ import annotations

import pytest

from betterdb_agent_memory import AgentMemory
from betterdb_agent_memory.errors import EmbedderUnavailableError


class Service:
    """Fails with `error` for the texts in `bad`."""

    def __init__(self, bad: set[str], error: Exception) -> None:
        self.bad = bad
        self.error = error
        self.calls = 0

    async def __call__(self, text: str) -> list[float]:
        self.calls += 1
        if text in self.bad:
            raise self.error
        return [1.0, float(len(text))]


TEXTS = [f"text {number}" for number in range(1200)]


@pytest.mark.parametrize("error", [ConnectionError("reset"), FileNotFoundError("attachment.png")])
async def test_one_failure_of_a_plain_function_rejects_one_memory(error: Exception) -> None:
    service = Service({"text 250"}, error)
    async with AgentMemory.open(":memory:", embedder=service) as agent:
        before = service.calls
        results = await agent.memory.remember_many(TEXTS)
        made = service.calls - before
    assert [place for place, result in enumerate(results) if result.outcome != "stored"] == [250]
    assert results[250].outcome == "rejected"
    assert made in (len(TEXTS), len(TEXTS) + 1)


async def test_a_service_that_is_down_ends_it_and_what_was_embedded_is_stored() -> None:
    service = Service(set(TEXTS[100:]), ConnectionError("refused"))
    async with AgentMemory.open(":memory:", embedder=service) as agent:
        results = await agent.memory.remember_many(TEXTS)
    assert [result.outcome for result in results] == ["stored"] * 100 + ["rejected"] * 1100
    assert isinstance(results[-1].error, EmbedderUnavailableError)
    assert service.calls <= 1 + 100 + 8 + 8


async def test_a_function_that_never_works_is_not_called_for_the_next_batch() -> None:
    service = Service(set(TEXTS), KeyError("embedding"))
    async with AgentMemory.open(":memory:", embedder=service) as agent:
        before = service.calls
        results = await agent.memory.remember_many(TEXTS)
        made = service.calls - before
    assert {result.outcome for result in results} == {"rejected"}
    assert made in (500, 501)  # a word besides, where the length of vectors is learnt
