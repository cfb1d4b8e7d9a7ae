"""Each command does on a file and on a server what it says, and programs can read what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.apps.conftest import Run, environment

ITEM_FIELDS = {
    "id",
    "content",
    "importance",
    "tags",
    "created_at",
    "last_accessed_at",
    "access_count",
    "source",
    "subject",
    "date",
    "thread_id",
    "agent_id",
    "namespace",
    "occurred_at",
    "metadata",
    "version",
    "session",
    "turn",
    "speaker",
    "kind",
    "entities",
    "pinned",
    "dynamics",
}


def test_a_memory_is_remembered_found_shown_changed_and_forgotten(run: Run, place: list[str]) -> None:
    stored = run(
        *place,
        "remember",
        "Maya is allergic to walnuts.",
        *("--importance", "0.9", "--tag", "health", "--tag", "food", "--namespace", "maya", "--agent", "planner"),
        *("--thread", "dinner", "--source", "chat", "--subject", "allergy", "--date", "2026-05-08"),
        *("--occurred-at", "2026-05-08T14:30:00Z", "--metadata", '{"page": 3}', "--ttl", "7d", "--json"),
    )
    assert stored.code == 0, stored.err
    assert stored.json == {"outcome": "stored", "id": stored.json["id"], "error": None}
    id = stored.json["id"]

    found = run(*place, "recall", "What is Maya allergic to?", "--namespace", "maya", "--json")
    assert found.code == 0, found.err
    [hit] = found.json["hits"]
    assert set(hit) == {"score", "distance", "explain", "standing", "memory"}
    assert (hit["standing"]["label"], hit["standing"]["layer"]) == ("likely", "working")
    believed = run(*place, "recall", "What is Maya allergic to?", "--min-confidence", "0.9")
    assert believed.code == 1
    asked = ("recall", "What is Maya allergic to?", "--context", "Maya", "--context", "health")
    [talked] = run(*place, *asked, "--scoring", "activation", "--json").json["hits"]
    assert [part["value"] for part in talked["explain"]["components"] if part["name"] == "context"] == [4]
    told = run(*place, *asked, "--scoring", "activation", "--explain").out
    assert "Maya is allergic to walnuts." in told
    assert "context +6.000" in " ".join(told.split())
    assert "+-" not in told
    refused = run(*place, *asked)
    assert (refused.code, "context= is read by scoring 'activation'" in refused.err) == (3, True)
    assert set(hit["memory"]) == ITEM_FIELDS
    assert hit["memory"]["tags"] == ["health", "food"]
    assert hit["memory"]["metadata"] == {"page": 3}
    assert hit["memory"]["access_count"] == 0
    parts = [part["name"] for part in hit["explain"]["components"]]
    assert parts == ["similarity", "words", "date", "actor", "recency", "importance"]
    assert (hit["explain"]["matched"], hit["explain"]["exact"]) == (["maya", "allergic"], True)

    shown = run(*place, "show", id, "--json").json["memories"][0]
    assert shown["access_count"] == 0, "looking must not count as a use"
    assert shown["occurred_at"] == 1778250600000
    assert abs(shown["expires_at"] - shown["created_at"] - 7 * 86_400_000) < 60_000
    assert "vector" not in shown
    assert len(run(*place, "show", id, "--vector", "--json").json["memories"][0]["vector"]) > 1000

    changed = run(*place, "update", id, "--importance", "0.5", "--no-tags", "--if-version", "1", "--json")
    assert changed.code == 0, changed.err
    assert set(changed.json) == ITEM_FIELDS
    assert (changed.json["version"], changed.json["importance"], changed.json["tags"]) == (2, 0.5, [])
    conflict = run(*place, "update", id, "--importance", "0.4", "--if-version", "1")
    assert conflict.code == 3
    assert "version 2" in conflict.err

    forgotten = run(*place, "forget", id, "nobody", "--json")
    assert forgotten.code == 5
    assert forgotten.json == {"forgotten": 1, "missing": ["nobody"]}
    assert run(*place, "show", id).code == 1
    assert run(*place, "update", id, "--importance", "1").code == 1
    assert run(*place, "recall", "allergic").code == 1


def test_reinforcement_happens_on_demand(run: Run, place: list[str]) -> None:
    id = run(*place, "remember", "The spare key is under the blue pot.").out.strip()
    assert run(*place, "recall", "Where is the key?", "--reinforce").code == 0
    assert run(*place, "show", id, "--json").json["memories"][0]["access_count"] == 1


def test_text_comes_from_the_pipe(run: Run, place: list[str]) -> None:
    id = run(*place, "remember", "-", given="first line\nsecond line").out.strip()
    assert run(*place, "show", id, "--json").json["memories"][0]["content"] == "first line\nsecond line"
    assert run(*place, "update", id, "--content", "-", given="third").code == 0
    assert run(*place, "show", id, "--json").json["memories"][0]["content"] == "third"


def test_an_id_of_your_own(run: Run, place: list[str]) -> None:
    assert run(*place, "remember", "one", "--id", "mine").out == "mine\n"
    taken = run(*place, "remember", "two", "--id", "mine")
    assert taken.code != 0
    assert "mine" in taken.err
    assert run(*place, "remember", "two", "--id", "mine", "--replace").code == 0
    assert run(*place, "show", "mine", "--json").json["memories"][0]["content"] == "two"


def test_the_same_text_merges(run: Run, place: list[str]) -> None:
    first = run(*place, "remember", "tea at five", "--merge", "--json").json
    second = run(*place, "remember", "tea at five", "--merge", "--json").json
    assert (first["outcome"], second["outcome"]) == ("stored", "merged")
    assert first["id"] == second["id"]


def test_many_lines_are_remembered_and_a_bad_one_costs_no_other(run: Run, place: list[str], tmp_path: Path) -> None:
    lines = "\n".join(f"line {n}" for n in range(700)) + "\n\n"
    told = run(*place, "remember", "--lines", "--namespace", "n", given=lines)
    assert (told.code, told.out) == (0, "700 stored, 0 merged, 0 rejected\n")
    assert run(*place, "list", "--namespace", "n", "-n", "0", "--json").json["total"] == 700

    file = tmp_path / "notes.jsonl"
    file.write_text('{"content": "a", "tags": ["x"], "namespace": "own"}\nnope\n{"content": "b", "importance": 7}\n')
    told = run(*place, "remember", "--jsonl", str(file), "--namespace", "n", "--json")
    assert told.code == 5
    results = [json.loads(line) for line in told.out.splitlines()]
    assert [(result["line"], result["outcome"]) for result in results] == [
        (1, "stored"),
        (2, "rejected"),
        (3, "rejected"),
    ]
    assert "importance" in results[2]["error"]
    assert run(*place, "list", "--namespace", "own", "--tag", "x", "--json").json["total"] == 1
    assert run(*place, "remember", "--jsonl", given="nope\n").code == 3


def test_lists_are_paged_and_scoped(run: Run, place: list[str]) -> None:
    run(*place, "remember", "--lines", "--thread", "a", given="1\n2\n3\n")
    run(*place, "remember", "--lines", "--thread", "b", "--importance", "0.9", given="4\n5\n")
    page = run(*place, "list", "--thread", "a", "--limit", "2", "--offset", "1", "--json").json
    assert (len(page["items"]), page["total"], page["offset"]) == (2, 3, 1)
    assert set(page["items"][0]) == ITEM_FIELDS
    some = run(*place, "list", "--where", '{"importance": {"gte": 0.8}}', "--json").json
    assert {item["content"] for item in some["items"]} == {"4", "5"}
    table = run(*place, "list", "--thread", "b")
    assert table.code == 0
    assert "1 to 2 of 2" in table.out
    assert run(*place, "list", "--thread", "nobody").code == 1
    wrong = run(*place, "list", "--where", '{"colour": "red"}')
    assert wrong.code == 3
    assert "importance" in wrong.err


def test_kinds_entities_and_pins(run: Run, place: list[str]) -> None:
    said = (
        "remember",
        "Never through Frankfurt.",
        "--id",
        "m",
        "--kind",
        "rule",
        "--entity",
        "Maya",
        "--entity",
        "a, b",
    )
    assert run(*place, *said).code == 0
    run(*place, "remember", "Frankfurt is in Hesse.", "--kind", "factual")
    for command in (("list",), ("recall", "Frankfurt", "--threshold", "2")):
        told = run(*place, *command, "--kind", "rule", "--kind", "opinion", "--json").json
        items = told["items"] if "items" in told else [hit["memory"] for hit in told["hits"]]
        assert [(item["id"], item["importance"], item["entities"]) for item in items] == [("m", 0.8, ["Maya", "a, b"])]
    assert run(*place, "list", "--kind", "rumour").code == 3
    assert run(*place, "pin", "m", "m").out == "1 memory pinned\n"
    partly = run(*place, "pin", "m", "nobody", "--json")
    assert (partly.code, partly.json) == (5, {"pinned": 0, "missing": ["nobody"]})
    changed = run(*place, "update", "m", "--kind", "decision", "--entity", "Maya", "--json").json
    assert [changed[name] for name in ("kind", "entities", "pinned", "importance")] == ["decision", ["Maya"], True, 1]
    assert run(*place, "unpin", "m").out == "1 memory unpinned\n"
    assert run(*place, "unpin", "nobody").code == 1
    assert run(*place, "forget", "--kind", "decision", "--yes").out == "1 memory forgotten\n"
    assert run(*place, "list", "--json").json["total"] == 1


def test_a_memory_is_corrected_and_its_history_told(run: Run, place: list[str]) -> None:
    run(*place, "remember", "Maya lives in Paris.", "--id", "home", "--tag", "a", "--namespace", "maya")
    corrected = run(*place, "correct", "home", "Maya lives in Sofia.", "--importance", "0.9", "--json").json
    assert (corrected["tags"], corrected["importance"], corrected["namespace"]) == (["a"], 0.9, "maya")
    again = run(*place, "correct", "home", "Maya lives in Varna.")
    assert (again.code, corrected["id"] in again.err) == (3, True)
    assert run(*place, "correct", "nobody", "x").code == 1
    last = run(*place, "correct", corrected["id"], "Maya lives in Varna.", "--valid-from", "2020-01-01").out.strip()
    told = run(*place, "history", "home", "--json").json["versions"]
    assert [one["memory"]["content"].split()[-1] for one in told] == ["Paris.", "Sofia.", "Varna."]
    assert [one["superseded_by"] for one in told] == [corrected["id"], last, None]
    shown = run(*place, "history", last)
    assert "2020-01-01 00:00:00" in shown.out
    assert run(*place, "history", "nobody").code == 1

    def found(*said: str) -> set[str]:
        hits = run(*place, "recall", "Where does Maya live?", "--threshold", "2", *said, "--json").json["hits"]
        return {hit["memory"]["content"].split()[-1] for hit in hits}

    assert found() == {"Varna."}
    assert found("--as-of", "2020-06-01") == {"Varna."}
    assert found("--as-of", "2019-06-01") == set()
    assert found("--include-superseded") == {"Paris.", "Sofia.", "Varna."}
    run(*place, "forget", last, "--yes")
    assert run(*place, "history", "home").code == 1


def test_one_memory_takes_the_place_of_another_or_speaks_against_it(run: Run, place: list[str]) -> None:
    for id, town in (("a", "Paris"), ("b", "Sofia"), ("c", "Varna")):
        run(*place, "remember", f"Maya lives in {town}.", "--id", id)
    new = run(*place, "remember", "Maya lives nowhere.", "--contradicts", "a", "--contradicts", "b").out.strip()
    shown = {one["id"]: one for one in run(*place, "show", "a", "b", "--json").json["memories"]}
    assert [shown[id]["contradicted_by"] for id in "ab"] == [[new], [new]]
    assert run(*place, "contradict", "a", "c", "--json").json == {"contradicted": True, "id": "a", "by": "c"}
    assert run(*place, "contradict", "a", "c").out == "a was contradicted by c already\n"
    assert run(*place, "supersede", "a", "c").out == "a is superseded by c\n"
    assert run(*place, "list", "--json").json["total"] == 3
    assert run(*place, "supersede", "a", "b").code == 3
    assert run(*place, "remember", "x", "--contradicts", "nobody").code == 1


def test_what_a_memory_says_cannot_steer_the_terminal(run: Run, place: list[str]) -> None:
    run(*place, "remember", "\x1b[2Jall [bold]gone[/bold] \u202eback\x07 na\u00efve\u00a0\U0001f600", "--id", "odd")
    for told in (run(*place, "list"), run(*place, "recall", "gone", "--threshold", "2"), run(*place, "show", "odd")):
        assert told.code == 0, told.err
        assert "?[2Jall [bold]gone[/bold] ?back? na\u00efve\u00a0\U0001f600" in told.out
        assert "\x1b" not in told.out


def test_a_scope_is_forgotten_after_asking(run: Run, place: list[str]) -> None:
    run(*place, "remember", "--lines", "--thread", "a", given="1\n2\n3\n")
    run(*place, "remember", "other", "--thread", "b")
    assert run(*place, "forget", "--thread", "a", "--dry-run", "--json").json == {"matching": 3, "missing": []}
    refused = run(*place, "forget", "--thread", "a")
    assert refused.code == 2
    assert "3 memories" in refused.err
    assert run(*place, "list", "--json").json["total"] == 4
    assert run(*place, "forget", "--thread", "a", "--yes", "--json").json == {"forgotten": 3, "missing": []}
    assert run(*place, "list", "--json").json["total"] == 1
    assert run(*place, "forget", "--thread", "a", "--yes").code == 1
    assert run(*place, "forget").code == 2
    assert run(*place, "forget", "some-id", "--thread", "b", "--yes").code == 2


def test_statistics(run: Run, place: list[str]) -> None:
    run(*place, "remember", "--lines", given="1\n2\n")
    stats = run(*place, "stats", "--json").json
    assert stats["item_count"] == 2
    assert stats["config"]["half_life_seconds"] == 30 * 86_400
    table = run(*place, "stats")
    assert "item_count" in table.out


def test_a_store_goes_into_a_file_and_comes_back(run: Run, place: list[str], tmp_path: Path) -> None:
    run(*place, "remember", "--lines", "--tag", "x", given="1\n2\n3\n")
    told = run(*place, "export", "all.jsonl", "--json")
    assert told.code == 0, told.err
    assert told.json["exported"] == 3
    piped = run(*place, "export", "-", "--no-vectors")
    assert piped.out.count("\n") == 4
    assert "3 memories" in piped.err
    other = ["--url", str(tmp_path / "other.db")]
    assert run(*other, "import", "all.jsonl", "--json").json["imported"] == 3
    again = run(*other, "import", "all.jsonl")
    assert (again.code, again.out) == (0, "0 imported, 3 there already, 0 expired, 0 refused\n")
    third = ["--url", str(tmp_path / "third.db")]
    through = run(*third, "import", "-", given=piped.out)
    assert through.code == 0, through.err
    assert "3 vectors were made anew: the file holds no vectors" in through.out
    assert run(*third, "list", "--json").json["total"] == 3
    bad = run(*third, "import", "-", given=piped.out + "nope\n")
    assert bad.code == 5
    assert "line 5" in bad.err
    assert run(*third, "import", "missing.jsonl").code == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_an_export_takes_the_place_of_no_pipe(run: Run, place: list[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    run(*place, "remember", "The gate is green.")
    for command, way_out in (("export", "- is the standard output"), ("import", "- is the standard input")):
        told = run(*place, command, str(pipe))
        assert told.code == 3
        assert "no regular file" in told.err
        assert way_out in " ".join(told.err.split())
    assert pipe.is_fifo()
    assert not pipe.with_name("pipe.part").exists()


def test_the_index_is_built_anew(run: Run, place: list[str]) -> None:
    run(*place, "remember", "--lines", given="1\n2\n")
    result = run(*place, "reindex", "--json")
    assert result.code == 0, result.err
    assert result.json["indexed"] == 2


def test_consolidation_needs_a_model_and_says_yes(run: Run, place: list[str]) -> None:
    run(*place, "remember", "--lines", "--thread", "a", given="1\n2\n3\n")
    planned = run(*place, "consolidate", "--thread", "a", "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["consolidated"] == 3
    nobody = run(*place, "consolidate", "--thread", "a")
    assert nobody.code == 3
    assert "--model" in nobody.err
    unasked = run(*place, "consolidate", "--thread", "a", "--model", "test")
    assert unasked.code == 2
    assert "3 memories" in unasked.err
    assert run(*place, "list", "--json").json["total"] == 3


def test_consolidation_with_a_model(run: Run, place: list[str]) -> None:
    pytest.importorskip("pydantic_ai")
    run(*place, "remember", "--lines", "--thread", "a", given="1\n2\n3\n")
    # pydantic-ai's own model for tests: it answers without a network.
    done = run(*place, "consolidate", "--thread", "a", "--model", "test", "--yes", "--json")
    assert done.code == 0, done.err
    assert (done.json["consolidated"], done.json["deleted"], len(done.json["created"])) == (3, 3, 1)
    assert run(*place, "list", "--thread", "a", "--json").json["total"] == 1


def test_the_model_is_changed_step_by_step(run: Run) -> None:
    place = ["--url", "m.db"]
    old = [*place, "--embedder", "wordllama"]
    run(*old, "remember", "--lines", given="The door code is 4711.\nTea is at five.\n")
    to = ["--to", "wordllama:64"]
    assert run(*old, "migrate", "switch", *to).code == 3
    started = run(*old, "migrate", "start", *to, "--json")
    assert started.code == 0, started.err
    assert (started.json["phase"], started.json["memories"]) == ("filling", 2)
    assert run(*old, "migrate", "run", *to, "--json").json["embedded"] == 2
    assert run(*old, "migrate", "switch", *to, "--json").json["phase"] == "switched"
    assert run(*old, "migrate", "rollback", *to, "--json").json["phase"] == "ready"
    assert "ready" in run(*old, "migrate", "status", *to).out
    assert run(*old, "migrate", "switch", *to).code == 0
    assert run(*old, "migrate", "finish", *to).code == 2
    finished = run(*old, "migrate", "finish", *to, "--yes", "--json")
    assert finished.code == 0, finished.err
    assert finished.json["phase"] == "none"
    new = [*place, "--embedder", "wordllama:64"]
    assert (
        run(*new, "recall", "door code", "-k", "1", "--json")
        .json["hits"][0]["memory"]["content"]
        .startswith("The door")
    )
    assert run(*old, "recall", "door code").code == 3


def test_changes_of_a_store_that_tells_none_are_not_waited_for(run: Run, place: list[str]) -> None:
    run(*place, "remember", "one")
    off = run(*place, "changes")
    assert (off.code, off.out) == (1, "")
    assert "--follow switches it on" in off.err
    assert run(*place, "changes", "--group", "g").code == 3


def test_following_shows_what_other_processes_do(place: list[str], run: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "betterdb_agent_memory", *place, "changes", "--follow", "--thread", "t", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "encoding": "utf-8"}
    with subprocess.Popen(command, env=environment(tmp_path), **pipes) as follower:  # type: ignore[call-overload]
        try:
            run(*place, "remember", "zero")
            deadline = time.monotonic() + 30
            while "is off" in run(*place, "changes").err:
                assert time.monotonic() < deadline
            ids = [run(*place, "remember", text, "--thread", "t", "--json").json["id"] for text in ("one", "two")]
            run(*place, "forget", ids[0], "--yes")
            seen = [json.loads(follower.stdout.readline()) for _ in range(3)]
        finally:
            follower.terminate()
    assert [(change["kind"], change["memory_id"]) for change in seen] == [
        ("remembered", ids[0]),
        ("remembered", ids[1]),
        ("forgotten", ids[0]),
    ]
    shown = run(*place, "changes", "--kind", "forgotten", "--thread", "t")
    assert shown.code == 0
    assert ids[0] in shown.out
    assert 'thread_id "t"' in shown.out
    assert run(*place, "changes", "--thread", "T").code == 1
    assert run(*place, "changes", "--since", seen[1]["id"], "--json").json == seen[2]
    assert run(*place, "changes", "--since", "2999-01-01").code == 1


def test_a_tenant_has_memories_and_settings_of_its_own(run: Run, place: list[str]) -> None:
    run(*place, "--tenant", "acme", "remember", "Invoices go to Ada.", "--id", "one")
    run(*place, "remember", "Invoices go to Bob.", "--id", "one", "--tenant=globex")
    [found] = run(*place, "--tenant", "acme", "list", "--json").json["items"]
    assert found["content"] == "Invoices go to Ada."
    assert run(*place, "list", "--json").json["items"] == []
    run(*place, "--tenant", "acme", "config", "set", "--threshold", "0.125")
    shown = run(*place, "--tenant", "acme", "config", "show", "--live", "--json").out
    assert "0.125" in shown
    assert "0.125" not in run(*place, "config", "show", "--live", "--json").out
    refused = run(*place, "--tenant", "a:b", "list")
    assert refused.code != 0
    assert "name of a tenant" in refused.err


def test_dynamics(run: Run, place: list[str]) -> None:
    run(*place, "remember", "Maya likes tea", "--id", "m", "--kind", "preference")
    run(*place, "remember", "It rains", "--id", "n", "--importance", "0")
    assert run(*place, "dynamics", "health").code == 1
    learnt = run(*place, "dynamics", "reward", "that was exactly it", "m", "gone", "--json")
    assert (learnt.code, learnt.json["missing"], learnt.json["lessons"][0]["id"]) == (5, ["gone"], "m")
    assert run(*place, "dynamics", "reward", "I know", "m").code == 1
    stats = run(*place, "dynamics", "stats", "--json").json
    assert (stats["all"]["memories"], sorted(stats["by_kind"])) == (2, ["none", "preference"])
    planned = run(*place, "dynamics", "forget", "--below", "1.05", "--dry-run", "--json").json
    assert (planned["forgotten"], planned["dry_run"]) == (1, True)
    assert run(*place, "dynamics", "consolidate", "--days", "30", "--json").json["archived"] == 1
    scaled = run(*place, "dynamics", "downscale", "--factor", "0.5", "--json").json
    assert scaled["downscaled"] == 0.5
    # Half of what it was is below, and nobody is there to be asked.
    assert run(*place, "dynamics", "maintain", "--below", "0.55").code != 0
    assert run(*place, "dynamics", "maintain", "--below", "0.55", "--yes", "--json").json["forgotten"] == 1
    run(*place, "dynamics", "downscale", "--factor", "0.2")
    assert run(*place, "dynamics", "replay", "--importance", "0.1", "--dry-run", "--json").json["replayed"] == 1
    assert "put away 1 memory" in run(*place, "dynamics", "forget", "--below", "9", "--archive").err
    archived = run(*place, "dynamics", "consolidate", "--below", "9", "--archive", "--yes", "--json").json
    assert (archived["forgotten"], archived["put_away"]) == (1, 1)
    assert run(*place, "list", "--json").json["total"] == 0
    assert run(*place, "dynamics", "history", "m", "--json").json["versions"][0]["archived_at"] is not None
    assert "archived" in run(*place, "dynamics", "history", "m").out
    back = run(*place, "dynamics", "restore", "m", "n", "--json")
    assert (back.code, back.json["restored"], list(back.json["refused"])) == (5, ["m"], ["n"])
    assert run(*place, "dynamics", "pin", "m").out == "1 memory pinned\n"
    assert run(*place, "dynamics", "unpin", "m").out == "1 memory unpinned\n"
    assert [metric["name"] for metric in run(*place, "dynamics", "health", "--json").json["metrics"]]
    assert "preference" in run(*place, "dynamics", "stats").out
    assert "there is no preset" in run(*place, "dynamics", "stats", "--preset", "best").err
