"""`betterdb-memory config`: an operator changes what all workers do, without knowing a key."""

from __future__ import annotations

from tests.apps.conftest import Run


def test_what_is_set_is_shown_and_in_force(run: Run, place: list[str]) -> None:
    told = run(
        *[*place, "config", "set", "--threshold", "0.4", "--weights", "1,0.5,0", "--half-life", "7d"],
        *["--max-items", "500", "--tool-ttl", "search=5m", "--tool-ttl", "geo=x=1d", "--json"],
        *["--retrieval", "hybrid", "--exact", "--diversity", "0.5"],
        *["--hybrid", "words_weight=0.6", "--hybrid", "candidates=32"],
    )
    assert told.code == 0
    shown = told.json
    assert {
        name: (value["value"], value["source"])
        for name, value in shown["settings"].items()
        if value["source"] == "live"
    } == {
        "threshold": (0.4, "live"),
        "weights.similarity": (1, "live"),
        "weights.recency": (0.5, "live"),
        "weights.importance": (0, "live"),
        "half_life_seconds": (604_800, "live"),
        "max_items_per_scope": (500, "live"),
        "retrieval": ("hybrid", "live"),
        "exact": (True, "live"),
        "diversity": (0.5, "live"),
        "hybrid.words_weight": (0.6, "live"),
        "hybrid.candidates": (32, "live"),
    }
    assert {value["source"] for value in shown["settings"].values()} == {"live", "constructor"}
    assert shown["tool_ttl_seconds"] == {"search": 300, "geo=x": 86_400}
    assert run(*place, "config", "show", "--live", "--json").json == shown
    run(*place, "remember", "The plumber is called Ortega.", "--namespace", "home")
    assert run(*place, "stats", "--json").json["config"]["threshold"] == 0.4
    table = run(*place, "config", "show", "--live").out
    assert "604800" in table
    assert ["exact", "true", "live"] in [line.split() for line in table.splitlines()]
    assert "tool_ttl_seconds search" in table


def test_what_is_reset_goes_back(run: Run, place: list[str]) -> None:
    before = run(*place, "config", "set", "--tool-ttl", "search=60", "--json").json
    assert {value["source"] for value in before["settings"].values()} == {"constructor"}
    run(*place, "config", "set", "--threshold", "0.4", "--max-items", "9")
    left = run(*place, "config", "reset", "threshold", "--json").json
    assert left["settings"]["threshold"] == before["settings"]["threshold"]
    assert left["settings"]["max_items_per_scope"]["value"] == 9
    run(*place, "config", "set", "--no-exact", "--hybrid", "words_weight=1", "--hybrid", "date_weight=1")
    left = run(*place, "config", "reset", "hybrid.words_weight", "--json").json["settings"]
    assert [left[f"hybrid.{name}_weight"]["source"] for name in ("words", "date")] == ["constructor", "live"]
    assert (left["exact"]["value"], left["exact"]["source"]) == (False, "live")
    assert run(*place, "config", "reset", "--json").json == before
    assert run(*place, "config", "reset", "--tool", "search", "--json").json["tool_ttl_seconds"] == {}
    assert run(*place, "config", "reset", "--tool", "search").code == 1


def test_nothing_is_written_when_one_value_is_wrong(run: Run, place: list[str]) -> None:
    run(*place, "config", "set", "--threshold", "0.4")
    before = run(*place, "config", "show", "--live", "--json").json
    for wrong, complaint in (
        (("--threshold", "3"), "from 0 to 2"),
        (("--weights", "1,2"), "three numbers"),
        (("--weights", "0,0,0"), "must not all be 0"),
        (("--max-items", "0"), "whole number"),
        (("--half-life", "0"), "above 0"),
        (("--retrieval", "words"), "'vector' or 'hybrid'"),
        (("--diversity", "2"), "from 0 to 1"),
        (("--hybrid", "words_weight"), "words_weight=0.5"),
        (("--hybrid", "colour=1"), "colour is unknown"),
        (("--hybrid", "candidates=1.5"), "whole number"),
        (("--tool-ttl", "search"), "search=5m"),
        (("--tool-ttl", "a:b=5m"), "without colons"),
        (("--tool-ttl", "search=0"), "ttl"),
    ):
        told = run(*place, "config", "set", "--max-items", "7", "--tool-ttl", "good=5", *wrong)
        assert told.code == 3, wrong
        assert complaint in told.err
    assert run(*place, "config", "set").code == 3
    assert run(*place, "config", "reset", "colour").code == 3
    assert run(*place, "config", "show", "--live", "--json").json == before


def test_showing_makes_no_file(run: Run) -> None:
    assert run("--url", "none.db", "config", "show", "--live").code == 3
    assert run("--url", "none.db", "config", "show").code == 0
