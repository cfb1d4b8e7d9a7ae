"""Plots show what the models compute, hold any text safely, and those of the docs are as the script draws them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from betterdb_agent_memory.drawing.charts import Curve, Edge, curves, graph
from betterdb_agent_memory.drawing.markup import svg_file
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS
from betterdb_agent_memory.dynamics.plots import (
    forgetting_curves,
    layers_ahead,
    link_graph,
    retrievability_curves,
    strength_of_uses,
    strength_over_time,
)
from betterdb_agent_memory.dynamics.presets import PRESETS
from betterdb_agent_memory.dynamics.timeline import Tracing
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import Candidates
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, Traces, ahead

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script>\"'&\x00"


def heights(plot, curve=0):
    """The values of a curve's points, read from the drawing, as shares of the height."""
    line = plot.findall("polyline")[curve]
    ys = [float(point.partition(",")[2]) for point in line.attrib["points"].split()]
    rules = [float(rule.attrib["y1"]) for rule in plot.findall("line")]
    return [(max(rules) - y) / (max(rules) - min(rules)) for y in ys]


def texts(plot):
    return ["".join(text.itertext()) for text in plot.findall("text")]


def test_a_forgetting_curve_goes_through_what_the_chain_says():
    plot = forgetting_curves({"mine": DEFAULT_PARAMETERS}, importances=[0.2, 0.9], days=60)
    for place, importance in enumerate((0.2, 0.9)):
        drawn = heights(plot, place)
        expected = ahead(Traces(1.0, 0.0), importance, np.linspace(0, 60, len(drawn)), DEFAULT_CHAIN).probability
        assert drawn == pytest.approx(expected.tolist(), abs=1e-3)
    assert {"mine, importance 0.2", "mine, importance 0.9", "days"} <= set(texts(plot))


def test_each_preset_has_a_curve_of_its_own():
    plot = forgetting_curves(PRESETS)
    paths = {line.attrib["points"] for line in plot.findall("polyline")}
    assert len(paths) == len(PRESETS)
    assert set(PRESETS) <= set(texts(plot))
    assert len(retrievability_curves(30.0).findall("polyline")) == 5


def test_uses_far_apart_are_seen_to_help_more():
    plot = strength_of_uses({"far": [7, 14, 21, 28], "near": [28, 28, 28, 28]}, DEFAULT_CHAIN, days=90)
    assert heights(plot, 0)[-1] > 1.3 * heights(plot, 1)[-1]


def test_layers_ahead_count_every_memory_at_every_time():
    numbers = np.random.default_rng(4)
    plot = layers_ahead(
        Traces(numbers.random(40), numbers.random(40)), numbers.random(40), numbers.random(40) * 30, DEFAULT_CHAIN
    )
    counts = np.array([heights(plot, place) for place in range(3)])
    assert counts.sum(axis=0) == pytest.approx(np.full(counts.shape[1], counts[:, 0].sum()), abs=0.01)
    assert counts[0][-1] > counts[0][0]


def test_a_timeline_tells_what_was_known_at_each_time_and_what_comes_if_nothing_is_used():
    now_ms, day_ms = 1_750_000_000_000, 86_400_000
    created = now_ms - np.array([100.0, 60.0, 0.0]) * day_ms
    nothing = float("nan")
    unused_used_fresh = Candidates(
        relevance=np.zeros(3),
        importance=np.array([0.9, 0.5, 0.1]),
        created_at_ms=created,
        last_accessed_at_ms=created,
        access_count=np.zeros(3),
        working=np.array([nothing, 1.5, nothing]),
        core=np.array([nothing, 0.4, nothing]),
        strength_at_ms=np.array([nothing, now_ms - 20.0 * day_ms, nothing]),
    )
    tracing = Tracing(now_ms - 100 * day_ms, now_ms, 140.0, DEFAULT_PARAMETERS)
    tracing.add(unused_used_fresh)
    timeline = tracing.timeline()
    assert (timeline.today, timeline.days[-1], len(timeline.days)) == (100.0, 240.0, 121)
    counts = np.sum(list(timeline.layers.values()), axis=0)
    assert [counts[place] for place in (0, 19, 20, 49, 50, 120)] == [1, 1, 2, 2, 3, 3]

    def strength(importance, days, working=1.0, core=0.0):
        return float(ahead(Traces(working, core), importance, days, DEFAULT_CHAIN).strength)

    # Before the last use that is known as if there had been none; then from there on.
    assert timeline.mean_strength[39] == pytest.approx((strength(0.9, 78) + strength(0.5, 38)) / 2)
    assert timeline.mean_strength[40] == pytest.approx((strength(0.9, 80) + strength(0.5, 0, 1.5, 0.4)) / 2)
    assert timeline.mean_strength[120] == pytest.approx(
        (strength(0.9, 240) + strength(0.5, 160, 1.5, 0.4) + strength(0.1, 140)) / 3
    )
    layers, mean = strength_over_time(timeline, EVIL).findall("svg")
    assert heights(mean)[120] < heights(mean)[0]
    assert sum(heights(layers, place)[0] for place in range(3)) == pytest.approx(1 / 2, abs=0.01)
    began = datetime.fromtimestamp(timeline.began_at_ms / 1000, UTC)
    assert f"days since {began:%Y-%m-%d}; today is day 100" in texts(mean)


def test_a_graph_shows_what_is_linked_within_two_steps():
    links = {"a": {"b": 1.0}, "b": {"a": 1.0, "c": 0.5}, "c": {"far": 2.0}}
    plot = link_graph("a", {"a": "the first", "c": EVIL}, links)
    assert len(plot.findall("line")) == 2
    said = texts(plot)
    assert said[:2] == ["the first", "b"]
    assert "far" not in said
    assert len(said) == 3


def test_a_file_is_well_formed_and_holds_any_text_as_text():
    for plot in (
        link_graph("a", {"a": EVIL, "b": EVIL}, {"a": {"b": 1.0}}),
        curves(EVIL, EVIL, EVIL, [Curve(EVIL, [(0.0, 0.0), (1.0, 3.0)])]),
        graph(EVIL, [[EVIL]], {}, [Edge(EVIL, "nobody", 1.0)]),
        curves("nothing", "x", "y", []),
    ):
        text = svg_file(plot)
        assert "<script" not in text
        tree = ElementTree.fromstring(text)
        assert tree.tag == "{http://www.w3.org/2000/svg}svg"
        assert tree.attrib["viewBox"] == plot.attrib["viewBox"]


@pytest.mark.parametrize("days", [0, -1, float("nan"), 1e7])
def test_a_plot_over_no_time_is_refused(days):
    with pytest.raises(InvalidInputError, match="more than 0 and at most a million days"):
        forgetting_curves(PRESETS, days=days)


def test_uses_that_do_not_rise_are_refused():
    for uses in ([-1.0], [5.0, 3.0]):
        with pytest.raises(InvalidInputError, match="the uses of 'mine' must be days from 0 on that rise"):
            strength_of_uses({"mine": uses}, DEFAULT_CHAIN)


def test_the_plots_of_the_docs_are_as_the_script_draws_them():
    spec = spec_from_file_location("draw_dynamics", ROOT / "scripts" / "draw_dynamics.py")
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn = script.drawings()
    images = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "images").glob("dynamics-*.svg")}
    assert images.keys() == drawn.keys()
    number = re.compile(r"\d+(?:\.\d+)?")
    for name, text in drawn.items():
        assert number.sub("", images[name]) == number.sub("", text), f"run scripts/draw_dynamics.py: {name}"
        # Machines may round the last digit differently.
        assert [float(one) for one in number.findall(images[name])] == pytest.approx(
            [float(one) for one in number.findall(text)], abs=0.15
        )
