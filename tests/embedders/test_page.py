"""docs/embedders.md says what the code says."""

from __future__ import annotations

import dataclasses

from betterdb_agent_memory.embedders import CallLimits
from betterdb_agent_memory.embedders.known_models import _THRESHOLDS, known_threshold
from tests.docs.pages import ROOT, table

PAGE = ROOT / "docs" / "embedders.md"


def test_the_limits_are_those_of_the_class() -> None:
    stated = {row[0]: row[1] for row in table(PAGE, "call limits")}
    assert stated == {field.name: str(field.default) for field in dataclasses.fields(CallLimits)}


def test_every_measured_model_is_in_the_table_with_its_threshold() -> None:
    stated = {row[0]: float(row[1]) for row in table(PAGE, "known thresholds")}
    assert {name: known_threshold(name) for name in stated} == stated
    assert {name.lower() for name in stated} == set(_THRESHOLDS)
