"""Drawings from a shell: of parameters, of a store over time, of the links around a memory."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from betterdb_agent_memory.apps.cli.exits import Exit
from tests.apps.conftest import Run

SVG = "{http://www.w3.org/2000/svg}"


def texts(file: Path) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.parse(file).iter(f"{SVG}text")]


def test_curves_of_presets_are_drawn_without_a_store(run: Run, tmp_path: Path) -> None:
    drawn = run("dynamics", "plot", "forgetting", "--preset", "researcher")
    assert (drawn.code, drawn.out) == (Exit.OK, "forgetting-researcher.svg\n")
    assert "researcher" in texts(tmp_path / "forgetting-researcher.svg")
    told = run("dynamics", "plot", "forgetting", "--importance", "0.1", "--importance", "1", "-o", "all.svg", "--json")
    assert told.json == {"file": "all.svg"}
    assert {"default, importance 0.1", "chatbot, importance 1"} <= set(texts(tmp_path / "all.svg"))
    assert run("dynamics", "plot", "forgetting", "--days", "30", "-o", "-").out.startswith("<svg")
    # Again over a drawing, but over nothing else.
    assert run("dynamics", "plot", "forgetting", "-o", "all.svg").code == Exit.OK
    (tmp_path / "mine.svg").write_text("mine")
    for wrong in (
        ("-o", "mine.svg"),
        ("-o", "plot.png"),
        ("-o", "nowhere/plot.svg"),
        ("--preset", "best"),
        ("--importance", "2"),
        ("--days", "0"),
    ):
        assert run("dynamics", "plot", "forgetting", *wrong).code == Exit.REFUSED
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert not list(tmp_path.glob("*.db"))


def test_a_scope_over_time_and_the_links_around_a_memory(run: Run, place: list[str], tmp_path: Path) -> None:
    for id in "abc":
        run(*place, "remember", f"the {id} <river>", "--id", id, "--namespace", "n")
    run(*place, "dynamics", "link", "a", "b", "--weight", "2")
    run(*place, "dynamics", "link", "b", "c")
    drawn = run(*place, "dynamics", "plot", "strength", "--namespace", "n", "--days", "90")
    assert (drawn.code, drawn.out) == (Exit.OK, "strength.svg\n")
    said = texts(tmp_path / "strength.svg")
    assert {"archive", "working", "core", "mean strength", "memories", "92"} <= set(said)
    assert 'Strength of namespace "n"' in (tmp_path / "strength.svg").read_text()
    assert run(*place, "dynamics", "plot", "strength", "--namespace", "nobody").code == Exit.NOTHING
    assert run(*place, "dynamics", "plot", "strength", "--days", "-1").code == Exit.REFUSED

    assert run(*place, "dynamics", "plot", "links", "a").out == "links-a.svg\n"
    assert texts(tmp_path / "links-a.svg") == ["the a <river>", "the b <river>", "the c <river>"]
    assert run(*place, "dynamics", "plot", "links", "nobody").code == Exit.NOTHING
