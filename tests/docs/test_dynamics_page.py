"""The page on dynamics says what its models do."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest

from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.dynamics.presets import PRESETS
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, ahead
from betterdb_agent_memory.memory.scoring.retrievability import CURVES, Stepped
from tests.docs.pages import ROOT, table, text_of
from tests.memory.scoring.test_activation import compared
from tests.memory.scoring.test_chain import used

PAGE = ROOT / "docs" / "dynamics.md"
PARTS = [part.name for part in fields(DynamicsParameters)]


@pytest.mark.parametrize("part", PARTS)
def test_parameters_and_their_defaults(part):
    section = getattr(DEFAULT_PARAMETERS, part)
    described = {name: field.description for name, field in type(section).__pydantic_fields__.items()}
    rows = table(PAGE, f"{part} parameters")
    assert [(row[0], row[1]) for row in rows] == [
        (one.name, str(getattr(section, one.name))) for one in fields(section)
    ]
    assert {row[0]: row[2] for row in rows} == described


def test_presets_and_what_they_change():
    rows = {row[0]: [float(value) for value in row[1:]] for row in table(PAGE, "presets")}
    differ = {}
    for part in PARTS:
        for one in fields(getattr(DEFAULT_PARAMETERS, part)):
            values = [getattr(getattr(ours, part), one.name) for ours in PRESETS.values()]
            if len(set(values)) > 1:
                differ[f"{part}.{one.name}"] = values
    assert rows == differ
    assert "| Parameter | " + " | ".join(PRESETS) + " |" in text_of(PAGE)


def test_curves_and_what_they_count_from():
    rows = table(PAGE, "curves")
    assert [row[0] for row in rows] == list(CURVES)
    assert [row[2] == "last use" for row in rows] == [curve.since_use for curve in CURVES.values()]
    days, left = zip(*Stepped().steps, strict=True)
    said = re.findall(r"[\d.]+", rows[3][1])
    assert [float(one) for one in said] == [*left, *days]


def test_how_close_the_approximation_of_base_levels_is():
    rows = table(PAGE, "approximation")
    for row, kind in zip(rows, ("even", "power", "lately"), strict=True):
        measured = [float(one) for pair in compared(kind) for one in pair]
        error, order, of_four, order_of_four = (float(cell.rstrip(" %")) for cell in row[1:])
        assert measured == pytest.approx([error, order / 100, of_four, order_of_four / 100], abs=2e-3)


def test_every_plot_of_the_page_is_there_and_is_shown():
    shown = set(re.findall(r"\(images/([\w-]+\.svg)\)", text_of(PAGE)))
    images = ROOT / "docs" / "images"
    assert shown == {path.name for family in ("dynamics", "simulated-year") for path in images.glob(f"{family}-*.svg")}


def test_ten_weeks_do_twice_as_much_as_a_minute():
    spaced, massed = (
        ahead(used(times), 0.5, 30, DEFAULT_CHAIN).core
        for times in ([7 * week for week in range(1, 11)], [70 + use / 14_400 for use in range(10)])
    )
    assert "do twice as much for the core trace as ten in a minute" in text_of(PAGE)
    assert np.asarray(spaced) / massed == pytest.approx(2, abs=0.2)
