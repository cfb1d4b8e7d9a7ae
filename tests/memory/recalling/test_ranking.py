"""Candidates in, the best k out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import ConfigurationError, MemoryHit, RecallWeights, composite_score
from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.memory.recalling import ranking
from betterdb_agent_memory.memory.recalling.explaining import Vantage
from betterdb_agent_memory.memory.recalling.gathering import Gathered, Limits
from betterdb_agent_memory.memory.recalling.question import Question
from betterdb_agent_memory.memory.recalling.ranking import Ranking, RankingRules, rank
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.scoring.choice import DEFAULT_SCORING_PARAMETERS
from betterdb_agent_memory.memory.words.analysis import Analyzer

NOW_MS = 1_750_000_000_000


def candidate(
    id: str, distance: float, age_seconds: float, importance: float, idle_seconds: float | None = None
) -> Neighbour:
    created = NOW_MS - round(age_seconds * 1000)
    accessed = created if idle_seconds is None else NOW_MS - round(idle_seconds * 1000)
    fields = {"content": id, "importance": repr(importance), "created_at": created, "last_accessed_at": accessed}
    return Neighbour(id, distance, {name: str(value).encode() for name, value in fields.items()})


def ranked(rows: Sequence[Neighbour], *, k: int, rules: RankingRules, unseen_from: float | None = None) -> Ranking:
    gathered = Gathered([*rows], Limits(unseen_from))
    return rank(
        gathered,
        Question(b""),
        k=k,
        rules=rules,
        vantage=Vantage(NOW_MS, DEFAULT_SCORING_PARAMETERS),
        reader=TextReader(Analyzer()),
    )


candidates = st.lists(
    st.builds(
        candidate,
        id=st.uuids().map(str),
        distance=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 2),
        age_seconds=st.sampled_from([0.0, 60.0]) | st.floats(-1000, 1e9),
        importance=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
        idle_seconds=st.none() | st.floats(0, 1e6),
    ),
    max_size=30,
    unique_by=lambda one: one.id,
)
weight = st.floats(0, 5)
rules = st.builds(
    RankingRules,
    threshold=st.floats(0, 2),
    weights=st.builds(RecallWeights, similarity=st.floats(0.01, 5), recency=weight, importance=weight),
    half_life_seconds=st.floats(1, 1e8),
)


@given(candidates, rules, st.integers(1, 40))
def test_the_best_k_are_chosen_in_a_total_order(given: list[Neighbour], rules: RankingRules, k: int) -> None:
    found = ranked(given, k=k, rules=rules)
    everything = ranked(given, k=len(given) + 1, rules=rules).hits
    assert found.hits == everything[:k]
    assert found.related == sum(one.distance <= rules.threshold for one in given)
    keys = [(-hit.score, -hit.item.created_at, hit.item.id) for hit in everything]
    assert keys == sorted(keys)
    backwards = ranked(list(reversed(given)), k=k, rules=rules)
    assert backwards.hits == found.hits


@given(candidates, rules)
def test_explanations_add_up(given: list[Neighbour], rules: RankingRules) -> None:
    for hit in ranked(given, k=50, rules=rules).hits:
        assert hit.explain is not None
        assert hit.explain.score == pytest.approx(hit.score)
        assert hit.explain.distance == hit.distance <= hit.explain.threshold


def test_age_counts_from_the_last_access() -> None:
    rules = RankingRules(2.0, RecallWeights(0, 1, 0), 100.0)
    hits = ranked(
        [candidate("unused", 0, 500, 0.5), candidate("used", 0, 1000, 0.5, idle_seconds=100)],
        k=2,
        rules=rules,
    ).hits
    assert [(hit.item.id, round(hit.score, 9)) for hit in hits] == [("used", 0.5), ("unused", 0.03125)]


def test_a_clock_far_ahead_is_counted_and_not_silently_ranked_first() -> None:
    rules = RankingRules(2.0, RecallWeights(1, 1, 1), 1.0)
    found = ranked([candidate("sane", 0, 10, 0.5), candidate("ahead", 0, -1e9, 0.5)], k=2, rules=rules)
    assert [hit.item.id for hit in found.hits] == ["sane"]
    assert found.unreadable == 1


def test_the_composite_is_a_plain_weighted_sum() -> None:
    score = composite_score(
        similarity=0.8,
        age_seconds=86_400,
        importance=0.7,
        weights=RecallWeights(similarity=0.6, recency=0.25, importance=0.15),
        half_life_seconds=604_800,
    )
    assert score == pytest.approx(0.6 * 0.8 + 0.25 * math.exp(-math.log(2) / 7) + 0.15 * 0.7)


@pytest.mark.parametrize(
    "weights", [(-1, 0, 1), (math.nan, 0, 1), (math.inf, 1, 1), (0, 0, 0), (True, 0, 0), ("1", 0, 0)]
)
def test_unusable_weights_are_refused_when_they_are_made(weights: tuple) -> None:
    with pytest.raises(ConfigurationError, match="RecallWeights"):
        RecallWeights(*weights)


def test_weight_0_takes_a_term_out_whatever_its_value() -> None:
    rules = RankingRules(2.0, RecallWeights(1, 0, 0), 1.0)
    found = ranked([candidate("ahead", 0.5, -1e9, 0.5)], k=1, rules=rules)
    assert [(hit.item.id, hit.score) for hit in found.hits] == [("ahead", 0.75)]
    assert found.hits[0].explain is not None
    assert found.hits[0].explain.score == 0.75


def test_a_fragment_is_counted_and_never_a_hit() -> None:
    rules = RankingRules(2.0, RecallWeights(1, 1, 1), 1.0)
    fragment = Neighbour("f", 0.0, {"last_accessed_at": b"1", "access_count": b"3"})
    found = ranked([fragment, candidate("whole", 0.5, 1, 0.5)], k=5, rules=rules)
    assert [hit.item.id for hit in found.hits] == ["whole"]
    assert (found.related, found.unreadable) == (1, 1)


@given(candidates, rules, st.integers(1, 8), st.integers(0, 30))
def test_the_bound_never_claims_what_an_unseen_memory_refutes(
    given: list[Neighbour], rules: RankingRules, k: int, seen: int
) -> None:
    nearest_first = sorted(
        (one for one in given if int(one.fields["created_at"]) <= NOW_MS), key=lambda one: one.distance
    )
    candidates, unseen = nearest_first[:seen], nearest_first[seen:]
    found = ranked(candidates, k=k, rules=rules, unseen_from=unseen[0].distance if unseen else None)
    if found.exact:
        assert found.hits == [replaced_exact(hit) for hit in ranked(nearest_first, k=k, rules=rules).hits]


def replaced_exact(hit: MemoryHit) -> MemoryHit:
    return replace(hit, explain=replace(hit.explain, exact=True) if hit.explain else None)


def test_the_bound_holds_where_nothing_unseen_can_score_as_high() -> None:
    rules = RankingRules(2.0, RecallWeights(1, 0, 0.01), 1.0)
    rows = [candidate("near", 0.2, 5, 0.5), candidate("far", 0.9, 5, 0.5)]
    assert ranked(rows, k=1, rules=rules, unseen_from=0.9).exact
    assert not ranked(rows, k=2, rules=rules, unseen_from=0.9).exact
    assert not ranked(rows, k=3, rules=rules, unseen_from=0.9).exact
    assert ranked(rows, k=3, rules=RankingRules(0.85, rules.weights, 1.0), unseen_from=0.9).exact


def test_what_was_written_after_a_given_now_is_as_new_as_can_be() -> None:
    rows = [
        candidate("near", 0.1, 10, 0.5),
        candidate("far-and-later", 0.9, -1e7, 0.5),
        candidate("later", 0.5, -5, 0.5),
    ]
    weights = RecallWeights(1, 0.1, 0)
    clamped = ranked(rows, k=3, rules=RankingRules(2.0, weights, 100.0, clamps_age=True))
    assert [hit.item.id for hit in clamped.hits] == ["near", "later", "far-and-later"]
    assert [round(hit.explain.age_seconds) for hit in clamped.hits if hit.explain] == [10, 0, 0]
    # Without it clocks that are ahead count as published.
    as_published = ranked(rows[::2], k=3, rules=RankingRules(2.0, weights, 100.0))
    assert [round(hit.explain.age_seconds) for hit in as_published.hits if hit.explain] == [10, -5]


@given(candidates, rules)
def test_few_rows_and_many_score_alike(given: list[Neighbour], rules: RankingRules) -> None:
    few = ranked(given, k=50, rules=rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_FEW", -1)
        many = ranked(given, k=50, rules=rules)
    assert {hit.item.id: hit.score for hit in many.hits} == pytest.approx({hit.item.id: hit.score for hit in few.hits})
    assert (many.related, many.unreadable) == (few.related, few.unreadable)
