"""What an answer of a model cost, so that a hit can say what it saved.

Prices come from `genai-prices`, whose table is part of the package: nothing is fetched. A model of the
caller's own table is priced by that alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options import ModelCost


class Prices:
    """Dollars by model and tokens.

    `cost_table` maps the exact name of a model to its price and goes before the library's table, which
    `use_default_cost_table=False` leaves out. The library's prices are those of the time the answer was
    stored; it knows dated names of a model as well as short ones, and `provider/model`.

    Raises:
        ConfigurationError: an entry of `cost_table` is no `ModelCost`.
    """

    def __init__(
        self, cost_table: Mapping[str, ModelCost] | None = None, *, use_default_cost_table: bool = True
    ) -> None:
        self._own = dict(cost_table or {})
        for model, cost in self._own.items():
            if not isinstance(cost, ModelCost):
                raise ConfigurationError(
                    f"cost_table[{model!r}] must be a ModelCost(input_per_1k=, output_per_1k=), got {cost!r:.80}"
                )
        self._with_library = use_default_cost_table
        self._library: Any = None

    async def cost(self, model: str, tokens: Mapping[str, int] | None, *, at_ms: int) -> float | None:
        """What these tokens cost at a time (ms since the epoch); None where no price or no count is known.

        `tokens` has `input` and `output`; one that is missing counts as 0. No round trip. The library is
        imported in a thread, once, when the first price is asked of it.
        """
        if not tokens:
            return None
        read, written = tokens.get("input", 0), tokens.get("output", 0)
        own = self._own.get(model)
        if own is not None:
            return read / 1000 * own.input_per_1k + written / 1000 * own.output_per_1k
        if not self._with_library:
            return None
        if self._library is None:
            self._library = await asyncio.to_thread(_import_library)
        return _library_cost(self._library, model, read, written, at_ms)


MOST_DOLLARS = 1e6
"""What one answer can have cost at most, for statistics."""


def cost_micros(dollars: float) -> int:
    """Millionths of a dollar, a half rounded up: the spelling of the TypeScript package.

    0 for what no answer can have cost: an entry of another writer may hold any number.

    >>> cost_micros(0.0000125), cost_micros(1e20)
    (13, 0)
    """
    if not 0 <= dollars <= MOST_DOLLARS:
        return 0
    micros = dollars * 1_000_000
    below = math.floor(micros)
    return below + (micros - below >= 0.5)


def _import_library() -> Any:
    import genai_prices

    # The table is a module of its own that only the first price loads.
    _library_cost(genai_prices, "gpt-4o", 1, 1, 0)
    return genai_prices


def _library_cost(library: Any, model: str, read: int, written: int, at_ms: int) -> float | None:
    for provider in (None, "litellm") if "/" in model else (None,):
        try:
            price = library.calc_price(
                library.Usage(input_tokens=read, output_tokens=written),
                model,
                provider_id=provider,
                genai_request_timestamp=datetime.fromtimestamp(at_ms / 1000, UTC),
            )
        except (LookupError, ValueError, OverflowError, OSError):  # unknown, or counts or a time that make no sense
            continue
        return float(price.total_price)
    return None
