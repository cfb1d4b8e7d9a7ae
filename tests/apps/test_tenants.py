"""`betterdb-memory tenants`: an operator sees who there is, and deletes one that has left."""

from __future__ import annotations

from tests.apps.conftest import Run


def test_a_tenant_is_listed_looked_at_and_deleted_after_asking(run: Run, place: list[str]) -> None:
    for tenant in ("acme", "globex"):
        assert run(*place, "--tenant", tenant, "remember", f"A note of {tenant}.").code == 0
    assert run(*place, "tenants", "list").out == "acme\nglobex\n"
    status = run(*place, "tenants", "status", "acme", "--json").json
    assert (status["tenant"], status["phase"], status["memories"]) == ("acme", "own", 1)
    delete = [*place, "tenants", "delete", "acme", "--placement-seconds", "0.1"]
    asked = run(*delete)
    assert asked.code == 2
    assert "this would delete tenant acme" in asked.err
    assert run(*place, "--tenant", "acme", "stats", "--json").json["item_count"] == 1
    deleted = run(*delete, "--yes", "--json").json
    assert (deleted["tenant"], deleted["memories"]) == ("acme", 1)
    assert run(*place, "tenants", "list", "--json").json == {"tenants": ["globex"]}
    assert run(*place, "--tenant", "globex", "list", "--json").json["total"] == 1


def test_a_tenant_that_nobody_has_used_is_told(run: Run, place: list[str]) -> None:
    assert run(*place, "remember", "Of the agent itself.").code == 0
    for command in ("status", "delete"):
        told = run(*place, "tenants", command, "nobody")
        assert (told.code, "nobody has used a tenant nobody" in told.err) == (1, True)
    assert run(*place, "tenants", "list").code == 1
    assert run(*place, "--tenant", "acme", "tenants", "list").code == 2
