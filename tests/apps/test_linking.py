"""Links from a shell."""

from __future__ import annotations

from betterdb_agent_memory.apps.cli.exits import Exit
from tests.apps.conftest import Run


def test_links_from_a_shell(run: Run) -> None:
    for id, text in (("tea", "Maya drinks green tea."), ("cup", "The blue cup is cracked.")):
        assert run("remember", text, "--id", id).code == Exit.OK
    assert run("dynamics", "links", "tea").code == Exit.NOTHING
    linked = run("dynamics", "link", "tea", "cup", "--weight", "2")
    assert (linked.code, linked.out) == (Exit.OK, "tea and cup are linked, weight 2\n")
    [link] = run("dynamics", "links", "cup", "--json").json["links"]
    assert (link["id"], link["content"], round(link["weight"], 3)) == ("tea", "Maya drinks green tea.", 2.0)
    assert "green tea" in run("dynamics", "links", "cup").out

    plain = run("recall", "What does Maya drink?", "-k", "1", "--json").json["hits"]
    hits = run("recall", "What does Maya drink?", "-k", "1", "--expand", "--json").json["hits"]
    assert [hit["memory"]["id"] for hit in plain] == ["tea"]
    assert [hit["memory"]["id"] for hit in hits] == ["tea", "cup"]
    assert hits[0]["explain"]["link"] is None
    assert hits[1]["explain"]["link"]["start"] == "tea"
    assert "linked to tea" in run("recall", "What does Maya drink?", "-k", "1", "--expand", "--explain").out

    assert run("dynamics", "unlink", "cup", "tea").code == Exit.OK
    assert run("dynamics", "unlink", "cup", "tea").code == Exit.NOTHING
    refused = run("dynamics", "link", "tea", "tea")
    assert refused.code == Exit.REFUSED
    assert "itself" in refused.err
    assert run("dynamics", "link", "tea", "nobody").code != Exit.OK
