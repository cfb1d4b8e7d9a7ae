"""What holds for every model of scoring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.memory.scoring.activation import Activation, ActivationParameters
from betterdb_agent_memory.memory.scoring.base import Candidates, Need, ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain
from betterdb_agent_memory.memory.scoring.composite import Composite, composite_score
from betterdb_agent_memory.memory.scoring.retrievability import CURVES, Retrievability
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS
from tests.memory.scoring.numbers import DAY_MS, NOW_MS, candidates, given, row

MODELS: dict[str, ScoringModel] = {
    "composite": Composite(clamps_age=True),
    "activation": Activation(),
    "activation, d .35": Activation(ActivationParameters(decay=0.35)),
    "chain": Chain(),
    **{f"retrievability, {name}": Retrievability(curve) for name, curve in CURVES.items()},
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@each_model
def test_a_score_is_the_sum_of_its_named_terms(model):
    scored = model.score(candidates(50), NOW_MS)
    assert np.isfinite(scored.values).all()
    assert len({term.name for term in scored.terms}) == len(scored.terms) >= 3
    assert scored.values == pytest.approx(sum(term.contributions for term in scored.terms))


@each_model
def test_a_memory_scores_the_same_whoever_stands_beside_it(model):
    several = candidates(20)
    together = model.score(several, NOW_MS).values
    alone = [model.score(row(several, place), NOW_MS).values[0] for place in range(20)]
    assert together == pytest.approx(alone, rel=1e-12)


@each_model
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_no_memory_of_that_relevance_scores_above_the_ceiling(model, seed, relevance):
    several = candidates(20, seed)
    several = replace(several, relevance=np.minimum(several.relevance, relevance))
    assert model.score(several, NOW_MS).values.max() <= model.ceiling(relevance) + 1e-12


@each_model
def test_the_more_relevant_one_of_two_alike_scores_higher(model):
    two = candidates(1)
    less, more = (model.score(replace(two, relevance=np.array([share])), NOW_MS).values[0] for share in (0.5, 0.6))
    assert more > less


@each_model
def test_what_it_says_it_needs_is_all_that_it_reads(model):
    several = candidates(30)
    numbers = {name for name in Candidates.__dataclass_fields__ if name not in ("relevance", "fans")}
    assert numbers == set(get_args(Need))
    assert model.needs <= numbers
    scores = model.score(several, NOW_MS).values
    others: dict[str, Any] = {
        name: None if name in ("recent_ms", "working", "core", "strength_at_ms", "cues") else np.full(30, 0.7)
        for name in numbers - model.needs
    }
    assert model.score(replace(several, **others), NOW_MS).values == pytest.approx(scores, rel=1e-12)


@each_model
@pytest.mark.parametrize("damaged", ["relevance", "importance", "created_at_ms"])
def test_a_damaged_number_gives_no_score_and_harms_no_other_memory(model, damaged):
    bare: dict[str, Any] = dict.fromkeys(("working", "core", "strength_at_ms", "recent_ms"))
    # Never recalled, so that no later time stands for that of creation.
    several = candidates(6, access_count=np.zeros(6), **bare)
    several = replace(several, last_accessed_at_ms=several.created_at_ms)
    before = model.score(several, NOW_MS).values
    values = np.where(np.arange(6) == 2, np.nan, getattr(several, damaged))
    after = model.score(replace(several, **{damaged: values}), NOW_MS).values
    assert np.isnan(after).tolist() == [False, False, True, False, False, False]
    assert np.delete(after, 2).tolist() == np.delete(before, 2).tolist()


@each_model
def test_extremes_give_finite_scores(model):
    ages = np.array([0.0, -5 * DAY_MS, 1e6 * DAY_MS, 1.0])
    four = candidates(4, created_at_ms=NOW_MS - ages, last_accessed_at_ms=NOW_MS - ages)
    nothing: dict[str, Any] = dict.fromkeys(
        ("recent_ms", "successes", "reliability", "stability_days", "working", "core", "strength_at_ms", "cues", "fans")
    )
    for one in (four, replace(four, **nothing)):
        assert np.isfinite(model.score(one, NOW_MS).values).all()


@each_model
def test_no_candidates_have_no_scores(model):
    assert len(model.score(candidates(0), NOW_MS).values) == 0


@pytest.mark.parametrize("name", [name for name in MODELS if name != "composite"])
def test_a_doubted_memory_ranks_below_an_equal_one_and_nobody_gains_by_more_than_trust(name):
    one = row(candidates(1), 0)
    scores = [
        MODELS[name].score(replace(one, reliability=np.array([trust])), NOW_MS).values[0]
        for trust in (0.3, 0.9, 1.0, 1.7, np.nan)
    ]
    assert scores[0] < scores[1] < scores[2]
    assert scores[2:] == [scores[2]] * 3


def test_the_composite_is_the_published_formula():
    several = candidates(40)
    ages = (NOW_MS - np.maximum(several.created_at_ms, several.last_accessed_at_ms)) / 1000
    expected = composite_score(
        similarity=several.relevance,
        age_seconds=ages,
        importance=several.importance,
        weights=CONTRACT_WEIGHTS,
        half_life_seconds=DEFAULT_HALF_LIFE_SECONDS,
    )
    assert Composite().score(several, NOW_MS).values.tolist() == expected.tolist()


def test_a_model_is_found_by_its_name():
    assert {model.name for model in MODELS.values()} == {"composite", "activation", "chain", "retrievability"}
