"""Changing the embedding model under load, killed on the way: the benchmark in small."""

from __future__ import annotations

import pytest

from benchmarks import model_change


@pytest.mark.parametrize(("engine", "memories"), [("embedded", 600), ("server", 400)])
async def test_recall_goes_on_without_an_error_while_the_model_is_changed(engine: str, memories: int) -> None:
    arguments = model_change.parsed(
        [
            f"--engine={engine}",
            f"--memories={memories}",
            "--pause-seconds=1",
            "--lease-seconds=2",
            "--first-grace-seconds=2",
        ]
    )
    [outcome] = await model_change.compare(arguments, tell=model_change.print_table)
    assert outcome.kills == 3
    assert (outcome.errors, outcome.problems) == ([], [])
    assert [phase.phase for phase in outcome.phases] == ["before", "filling", "ready", "switched", "finishing", "after"]
    for phase in outcome.phases:
        assert phase.recalls > 5, phase
        assert phase.recall_at_10 >= 0.99, phase
