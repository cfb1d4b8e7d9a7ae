"""The bundled prices as a table, which the published package has: made when this module is first imported.

Nothing here needs it: `Prices` asks the library itself, which also knows dated names of a model.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from genai_prices import Usage, calc_price
from genai_prices.data import providers

from betterdb_agent_memory.options import ModelCost

_TOKENS: Final = 1000


def _dollars(model: str, usage: Usage, now: datetime) -> float:
    try:
        return float(calc_price(usage, model, genai_request_timestamp=now).total_price)
    except (LookupError, ValueError):  # known to one provider only, or by a longer name
        return 0.0


def _table() -> dict[str, ModelCost]:
    now = datetime.now(UTC)
    costs = {
        model.id: (
            _dollars(model.id, Usage(input_tokens=_TOKENS), now),
            _dollars(model.id, Usage(output_tokens=_TOKENS), now),
        )
        for provider in providers
        for model in provider.models
    }
    return {model: ModelCost(*cost) for model, cost in sorted(costs.items()) if all(cost)}


DEFAULT_COST_TABLE: Final = _table()
"""Dollars per 1,000 tokens read and written by model, as of now; entries with both prices above 0."""
