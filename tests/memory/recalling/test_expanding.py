"""Activation along links: bounded, ordered, and never through what is hidden."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.links import MAX_LINKS, LinkEnd
from betterdb_agent_memory.memory.recalling.expanding import (
    FOLLOWED,
    acquaintances,
    passed_on,
    scores_below,
    spread,
)

IDS = st.sampled_from("abcdefgh")
ENDS = st.lists(
    st.builds(LinkEnd, IDS, st.floats(0.01, 1e6), st.just(0)), max_size=6, unique_by=lambda end: end.id
).map(lambda ends: tuple(sorted(ends, key=lambda end: (-end.weight, end.id))))
GRAPHS = st.dictionaries(IDS, ENDS)
STARTS = st.lists(st.tuples(IDS, st.floats(0, 1)), min_size=1, max_size=3, unique_by=lambda start: start[0])


@given(STARTS, GRAPHS, st.sets(IDS))
def test_what_is_reached(
    starts: list[tuple[str, float]], around: dict[str, tuple[LinkEnd, ...]], hidden: set[str]
) -> None:
    reached = spread(starts, around, far=2, hidden=hidden)
    assert reached.keys().isdisjoint({id for id, _ in starts} | hidden)
    activations = [by.activation for by in reached.values()]
    assert activations == sorted(activations, reverse=True)
    for id, by in reached.items():
        assert 0 <= by.activation <= 1
        assert by.start in dict(starts)
        assert by.via not in hidden
        assert any(end.id == id and end.weight == by.weight for end in around[by.via or by.start])
    without = spread(starts, {id: [end for end in ends if end.id not in hidden] for id, ends in around.items()}, far=2)
    assert reached.keys() <= without.keys()


def test_many_links_say_less_each() -> None:
    gains = [passed_on(1.0, fan, 1.0) for fan in range(1, 60)]
    assert gains[0] == pytest.approx(0.4)
    assert gains[MAX_LINKS - 1] == pytest.approx(0.4 * 0.1336, rel=1e-2)
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == 0
    assert passed_on(1.0, 1, 3.0) == pytest.approx(0.6)


def test_the_strongest_are_followed() -> None:
    ends = tuple(LinkEnd(f"m{number:02}", 10.0 - number / 10, 0) for number in range(FOLLOWED + 3))
    assert list(spread([("s", 1.0)], {"s": ends}, far=2)) == [end.id for end in ends[:FOLLOWED]]


@given(STARTS, GRAPHS)
def test_over_one_link_it_comes_to_what_the_starts_are_linked_to(
    starts: list[tuple[str, float]], around: dict[str, tuple[LinkEnd, ...]]
) -> None:
    near, further = (spread(starts, around, far=far) for far in (1, 2))
    assert near.keys() <= {end.id for start, _ in starts for end in around.get(start, ())} & further.keys()
    assert all(by.via is None and by.activation <= further[id].activation for id, by in near.items())


def test_several_paths_count_together() -> None:
    one = spread([("s", 1.0)], {"s": (LinkEnd("x", 1.0, 0),)}, far=2)["x"].activation
    both = spread([("s", 1.0), ("t", 1.0)], {"s": (LinkEnd("x", 1.0, 0),), "t": (LinkEnd("x", 1.0, 0),)}, far=1)["x"]
    assert both.activation == pytest.approx(1 - (1 - one) ** 2)


def test_shared_entities() -> None:
    found = acquaintances({"s": ["Ada", "tea"]}, {"x": ["tea", "ada"], "y": ["Paris"], "s": ["Ada"]}, 2)
    assert [(one.id, one.entities) for one in found] == [("x", ("tea",))]
    assert spread([("s", 1.0)], {}, far=1, acquainted=found)["x"].entities == ("tea",)


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0, 1)))
def test_scores_are_below_the_last(last: float, activations: list[float]) -> None:
    scores = scores_below(last, sorted(activations, reverse=True))
    assert all(score <= last for score in scores)
    assert scores == sorted(scores, reverse=True)
