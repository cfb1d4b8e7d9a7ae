"""What an engine has said of uses is summed up as the model itself does it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.uses import Used
from betterdb_agent_memory.memory.recalling.by_uses import components_by_uses
from betterdb_agent_memory.memory.recalling.explaining import components_of
from betterdb_agent_memory.memory.record import scoring_candidates
from betterdb_agent_memory.memory.scoring.activation import Activation, ActivationParameters
from betterdb_agent_memory.memory.scoring.base import ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain

NOW_MS = 1_790_000_000_000
USED = st.builds(Used, st.floats(-50, 50), st.floats(0, 1))
MEMORIES = st.lists(st.tuples(USED, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)
MODELS = st.builds(
    lambda similarity, importance, doubt: Activation(
        ActivationParameters(similarity_weight=similarity, importance_weight=importance, doubt_weight=doubt)
    ),
    *(st.just(0.0) | st.floats(0.01, 100) for _ in range(3)),
)


def record(importance: float | str) -> Fields:
    times = {"created_at": b"1780000000000", "last_accessed_at": b"1789000000000", "access_count": b"3"}
    return {"content": b"text", "importance": str(importance).encode(), **times}


@given(MODELS, MEMORIES)
def test_it_is_what_the_model_says(model: Activation, memories: list[tuple[Used, float, float]]) -> None:
    records = [record(importance) for _, importance, _ in memories]
    used, relevance = [one for one, _, _ in memories], [likeness for _, _, likeness in memories]
    scored = model.score(scoring_candidates(records, np.array(relevance), model.needs), NOW_MS)
    level = scored.terms[0].values.tolist()[0]
    parts = components_by_uses(model, records, [Used(level, 0.0) for _ in records], relevance)
    assert parts == components_of(scored.terms, range(len(memories)))
    doubted = components_by_uses(model, records, used, relevance)
    assert doubted is not None
    assert [one[0].value for one in doubted] == [one.level for one in used]
    assert [one[-1].value for one in doubted] == [0.0 - one.doubt for one in used]


class Cautious(Activation):
    """A model of somebody's own."""


@pytest.mark.parametrize(
    ("model", "importance", "used"),
    [
        (None, "0.5", Used(1.0, 0.0)),
        (Chain(), "0.5", Used(1.0, 0.0)),
        (Cautious(), "0.5", Used(1.0, 0.0)),
        (Activation(), "0.5", None),
        (Activation(), "nan", Used(1.0, 0.0)),
        (Activation(), "half", Used(1.0, 0.0)),
    ],
    ids=["composite", "chain", "subclass", "unsaid", "nan", "text"],
)
def test_what_it_cannot_say_is_left_to_the_model(
    model: ScoringModel | None, importance: str, used: Used | None
) -> None:
    assert components_by_uses(model, [record(importance)], [used], [0.5]) is None
