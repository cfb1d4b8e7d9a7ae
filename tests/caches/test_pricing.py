"""What an answer cost."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import ConfigurationError
from betterdb_agent_memory.caches.pricing import Prices, cost_micros
from betterdb_agent_memory.options import ModelCost

AT_MS = 1_750_000_000_000
A_THOUSAND_AND_HALF = {"input": 1000, "output": 500}

IN_A_PROCESS_WITHOUT_NETWORK = """
import asyncio, sys, threading

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.options import ModelCost
tokens = {"input": 1000, "output": 500}

def cost(prices, model):
    return asyncio.run(prices.cost(model, tokens, at_ms=1_750_000_000_000))

assert cost(Prices({"priced": ModelCost(1, 1)}), "priced") == 1.5
assert cost(Prices(use_default_cost_table=False), "gpt-4o") is None
assert "genai_prices" not in sys.modules, "loaded without need"
assert cost(Prices(), "gpt-4o") == 0.0075
assert "genai_prices" in sys.modules
assert [thread.name for thread in threading.enumerate() if not thread.name.startswith("Main")] == []
print("done")
"""


async def test_ones_own_price_is_the_recorded_formula() -> None:
    prices = Prices({"priced": ModelCost(0.0025, 0.01)})
    assert await prices.cost("priced", {"input": 1, "output": 1}, at_ms=AT_MS) == 0.0000125
    assert await prices.cost("priced", {"input": 1234, "output": 567}, at_ms=AT_MS) == 0.008754999999999999


async def test_the_librarys_price_is_the_recorded_one() -> None:
    assert await Prices().cost("gpt-4o", A_THOUSAND_AND_HALF, at_ms=AT_MS) == 0.0075


async def test_dated_names_and_names_with_a_provider_are_known() -> None:
    for model in ("gpt-4o-2024-08-06", "openai/gpt-4o", "azure/gpt-4o"):
        assert await Prices().cost(model, A_THOUSAND_AND_HALF, at_ms=AT_MS) == 0.0075


@pytest.mark.parametrize(
    "model", ["unknown-model", "m", "", "my-gpt-4o-clone", "nobody/gpt-4o", "a/b/c", "x" * 100_000]
)
async def test_a_model_that_nobody_knows_has_no_price(model: str) -> None:
    assert await Prices().cost(model, A_THOUSAND_AND_HALF, at_ms=AT_MS) is None


async def test_the_price_is_that_of_the_time_of_the_answer() -> None:
    # OpenAI lowered the price of o3 from $10 and $40 to $2 and $8 per million on 2025-06-10.
    before, after = 1_749_000_000_000, AT_MS
    prices = Prices()
    assert await prices.cost("o3", A_THOUSAND_AND_HALF, at_ms=before) == 0.03
    assert await prices.cost("o3", A_THOUSAND_AND_HALF, at_ms=after) == 0.006


async def test_ones_own_table_goes_before_the_library_and_may_be_the_only_one() -> None:
    own = {"gpt-4o": ModelCost(1.0, 2.0), "free": ModelCost(0, 0)}
    assert await Prices(own).cost("gpt-4o", A_THOUSAND_AND_HALF, at_ms=AT_MS) == 2.0
    assert await Prices(own).cost("free", A_THOUSAND_AND_HALF, at_ms=AT_MS) == 0.0
    assert await Prices(own).cost("gpt-4o-mini", A_THOUSAND_AND_HALF, at_ms=AT_MS) is not None
    assert await Prices(own, use_default_cost_table=False).cost("o3", A_THOUSAND_AND_HALF, at_ms=AT_MS) is None


async def test_without_tokens_there_is_no_cost_and_a_missing_count_is_none() -> None:
    prices = Prices({"priced": ModelCost(1.0, 2.0)})
    assert await prices.cost("priced", None, at_ms=AT_MS) is None
    assert await prices.cost("priced", {}, at_ms=AT_MS) is None
    assert await prices.cost("priced", {"input": 1000}, at_ms=AT_MS) == 1.0
    assert await prices.cost("priced", {"output": 1000}, at_ms=AT_MS) == 2.0
    assert await Prices().cost("gpt-4o", {"input": 1000}, at_ms=AT_MS) == 0.0025


async def test_a_time_that_is_none_costs_no_answer() -> None:
    assert await Prices().cost("gpt-4o", A_THOUSAND_AND_HALF, at_ms=10**20) is None


def test_nothing_is_fetched_and_nothing_is_loaded_without_need() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS_WITHOUT_NETWORK], capture_output=True, text=True, check=False
    )
    assert (finished.stdout, finished.returncode) == ("done\n", 0), finished.stderr


@pytest.mark.parametrize("entry", [(0.1, 0.2), 0.5, None, {"input_per_1k": 1}])
def test_a_table_of_something_else_is_refused_by_name(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cost_table\['m'\] must be a ModelCost"):
        Prices({"m": entry})


# The half up of JavaScript; the published Python package rounds halves to even and counts 12, 2 and 0.
@pytest.mark.parametrize(
    ("dollars", "micros"),
    [
        (0.0000125, 13),
        (2.5e-06, 3),
        (5e-07, 1),
        (1.5e-06, 2),
        (4.9e-07, 0),
        (1e-09, 0),
        (0.1, 100_000),
        (1.005, 1_005_000),
        (0.0, 0),
        (0.008754999999999999, 8755),
    ],
)
def test_costs_are_counted_in_millionths_a_half_rounded_up(dollars: float, micros: int) -> None:
    assert cost_micros(dollars) == micros


@given(st.integers(0, 10**12))
def test_whole_millionths_stay_what_they_are(micros: int) -> None:
    assert cost_micros(micros / 1_000_000) == micros
