"""The helpers without side effects give what both published packages give for the same input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from betterdb_agent_memory import (
    Fact,
    FactOp,
    NoopOp,
    RecallWeights,
    UpdateOp,
    apply_ops,
    composite_score,
    reconcile,
    similarity_from_distance,
    subject_key,
)
from betterdb_agent_memory.engines.filters import Equals, Filter, escape_tag
from betterdb_agent_memory.engines.valkey import commands, query
from betterdb_agent_memory.engines.valkey.patterns import escape_glob
from betterdb_agent_memory.memory.capacity import EvictionCandidate, select_victims
from betterdb_agent_memory.memory.consolidation.facts import fact_content, stored_fact
from betterdb_agent_memory.memory.consolidation.request import Candidates
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA, memory_collection
from betterdb_agent_memory.memory.scope import MemoryScope, scope_filter
from tests.interop.replay import FIXTURES

VECTORS: dict[str, Any] = json.loads((FIXTURES / "function_vectors.json").read_text())
COVERED = {
    *("reconcile", "subject_key", "evictions", "composite", "similarity"),
    *("fact_content", "stored_fact", "consolidate_filter"),
    *("escape_tag", "escape_glob", "scope_filter", "recall_k"),
}
ELSEWHERE = {
    "hash_base64": "tests/caches/test_references.py",
    "hash_url": "tests/caches/test_references.py",
    "passthrough": "tests/caches/test_references.py",
    "parse_tool_call_args": "tests/caches/test_shapes.py",
}
"""Vectors that are checked with what they are about."""

SHARED_FIELDS = frozenset(field.name for field in MEMORY_SCHEMA.shared)
WIDER_ESCAPING = {"`?_": "\\`\\?_", "tab\t": "tab\\\t", "nl\n": "nl\\\n"}
"""F28: ours escapes these too, so that such values are found."""
EMPTY_SCOPE = "@created_at:[-inf +inf]"
"""F27: published an empty scope value makes a query that servers refuse; ours asks for every memory
and leaves the exact comparison to the filter."""


def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=f"{name}-{number}") for number, case in enumerate(VECTORS[name])]


def test_every_vector_is_covered_here_or_where_it_belongs() -> None:
    assert set(VECTORS) - {"about"} == COVERED | set(ELSEWHERE)
    for name, place in ELSEWHERE.items():
        assert f'"{name}"' in (FIXTURES.parents[2] / place).read_text()


OUR_RECONCILIATION: dict[str, tuple[str, list[FactOp], list[Fact]]] = {
    "dateless beats dated": ("F41", [NoopOp("a")], [Fact("a", "x", "2024-01-01")]),
    "empty date counts as dateless": ("F41", [NoopOp("a")], [Fact("a", "x", "2024-01-01")]),
    "non ISO dates compare as text": ("F40", [NoopOp("a")], [Fact("a", "oct", "2024-10-01")]),
    "slash dates": (
        "F40",
        [UpdateOp("a", Fact("a", "y", "01/02/2025"))],
        [Fact("a", "y", "01/02/2025")],
    ),
    "duplicate existing first wins": ("F6", [], [Fact("city", "new")]),
}
"""Recorded cases that ours answers otherwise: the defect that is corrected, our operations, our facts."""


@pytest.mark.parametrize("case", cases("reconcile"))
def test_facts_are_reconciled_as_published_but_for_what_was_wrong(case: dict[str, Any]) -> None:
    assert case["agree"], "the packages differ: say here which one ours follows"
    existing = [Fact(**fact) for fact in case["input"]["existing"]]
    operations = reconcile([Fact(**fact) for fact in case["input"]["incoming"]], existing)
    done = [members(operation) for operation in operations]
    facts = apply_ops(existing, operations)
    published = (
        [{**op, "fact": Fact(**op["fact"])} if "fact" in op else op for op in case["ts"]["ops"]],
        [Fact(**fact) for fact in case["ts"]["curated"]],
    )
    _, ours, kept = OUR_RECONCILIATION.get(case["input"]["label"], ("", None, None))
    if ours is None:
        assert (done, facts) == published
    else:
        assert (done, facts) == ([members(operation) for operation in ours], kept)
        assert (done, facts) != published, "it is no deviation"


def test_an_undated_statement_replaces_a_dated_one_as_published_if_told() -> None:
    told = [case for case in VECTORS["reconcile"] if case["input"]["label"] == "dateless beats dated"]
    assert told
    for case in told:
        existing = [Fact(**fact) for fact in case["input"]["existing"]]
        operations = reconcile([Fact(**f) for f in case["input"]["incoming"]], existing, undated="replace")
        assert apply_ops(existing, operations) == [Fact(**fact) for fact in case["ts"]["curated"]]


def test_every_deviation_of_reconciling_is_about_a_recorded_case() -> None:
    assert set(OUR_RECONCILIATION) <= {case["input"]["label"] for case in VECTORS["reconcile"]}


@pytest.mark.parametrize("case", cases("fact_content"))
def test_a_fact_is_stored_as_the_published_text(case: dict[str, Any]) -> None:
    assert case["agree"]
    assert fact_content(Fact(**case["input"])) == case["ts"]


@pytest.mark.parametrize("case", cases("stored_fact"))
def test_a_stored_fact_is_read_as_published(case: dict[str, Any]) -> None:
    given = case["input"]
    assert case["agree"]
    assert stored_fact(given.get("subject"), given["content"], given.get("date")) == Fact(**case["ts"])


@pytest.mark.parametrize("case", cases("consolidate_filter"))
def test_candidates_are_asked_for_with_the_published_bounds(case: dict[str, Any]) -> None:
    """Ours leaves out the clauses on the source: the index folds labels, so they are compared exactly afterwards.
    And a run never goes beyond its own start, lest others who write meanwhile keep it from ending.
    """
    given = case["input"]
    scope = MemoryScope(**given["scope"])
    candidates = Candidates(
        scope,
        tuple(given["tags"]),
        scope_filter(scope, given["tags"]),
        None if "max_created_at" not in given else (NOW_MS - given["max_created_at"]) / 1000,
        given.get("max_importance"),
    )
    source = given.get("exclude_source") or given.get("include_source")
    if "include_source" in given:
        filter = Filter((*candidates.at(NOW_MS).clauses, Equals("source", source)))
    else:
        filter = candidates.at(NOW_MS)
    text = query.prefilter(filter, MEMORY_SCHEMA, SHARED_FIELDS)
    excluded = f"-@source:{{{escape_tag(source)}}}" if "exclude_source" in given else None
    published = case["ts"] if excluded is None else case["ts"].replace(f" {excluded}", "").replace(excluded, "")
    if "max_created_at" not in given:
        bound = f"@created_at:[-inf {NOW_MS}]"
        assert bound in normalised(text)
        if normalised(text) == f"({bound})":
            assert published in ("", "()") or normalised(published) == "@created_at:[-inf +inf]"
            return
        text = normalised(text).replace(f" {bound}", "").replace(f"{bound} ", "")
    assert normalised(text) == normalised(published)


NOW_MS = 1_750_000_000_000


def normalised(text: str) -> str:
    """Without what is only spelt otherwise: no clause at all, the least number, a small number."""
    return text.replace("()", EMPTY_SCOPE).replace("[(-inf ", "[-inf ").replace("0.0000001", "1e-7")


@pytest.mark.parametrize("case", cases("subject_key"))
def test_subjects_are_folded_as_in_typescript(case: dict[str, Any]) -> None:
    # Contract G: the published Python package trims slightly other characters.
    assert subject_key(case["input"]) == case["ts"]


@pytest.mark.parametrize("case", cases("evictions"))
def test_the_published_victims_leave_in_the_published_order(case: dict[str, Any]) -> None:
    given = case["input"]
    candidates = [EvictionCandidate(c["key"], c["importance"], c["last_accessed_at"]) for c in given["candidates"]]
    assert case["agree"]
    assert (
        select_victims(
            candidates,
            excess=len(candidates) - given["max_items"],
            now_ms=given["now"],
            weights=plain_weights(given["weights"]),
            half_life_seconds=given["half_life_seconds"],
        )
        == case["ts"]
    )


@pytest.mark.parametrize("case", cases("composite"))
def test_the_composite_score_is_the_published_one(case: dict[str, Any]) -> None:
    given = case["input"]
    score = composite_score(**{**given, "weights": plain_weights(given["weights"])})
    assert case["agree"]
    assert score == pytest.approx(case["ts"], abs=1e-12)


@pytest.mark.parametrize("case", cases("similarity"))
def test_similarity_of_a_distance_is_the_published_one(case: dict[str, Any]) -> None:
    assert case["agree"]
    assert similarity_from_distance(case["input"]) == pytest.approx(case["ts"], abs=1e-15)


@pytest.mark.parametrize("case", cases("escape_tag"))
def test_tags_are_escaped_as_published_and_a_little_wider(case: dict[str, Any]) -> None:
    assert case["agree"]
    assert escape_tag(case["input"]) == WIDER_ESCAPING.get(case["input"], case["ts"])


@pytest.mark.parametrize("case", cases("escape_glob"))
def test_names_mean_themselves_in_patterns(case: dict[str, Any]) -> None:
    assert case["agree"]
    assert escape_glob(case["input"]) == case["ts"]


def test_the_wider_escaping_is_really_wider() -> None:
    published = {case["input"]: case["ts"] for case in VECTORS["escape_tag"]}
    assert all(published[value] != ours for value, ours in WIDER_ESCAPING.items())


@pytest.mark.parametrize("case", cases("scope_filter"))
def test_a_scope_makes_the_published_query(case: dict[str, Any]) -> None:
    given = case["input"]
    filter = scope_filter(MemoryScope(**given["scope"]), given["tags"])
    text = query.prefilter(filter, MEMORY_SCHEMA, SHARED_FIELDS)
    assert case["agree"]
    if given["scope"] == {"thread_id": ""}:
        assert case["ts"] == "(@threadId:{})"
        assert text == EMPTY_SCOPE
        assert filter == Filter((Equals("threadId", ""),))
    else:
        assert text == case["ts"]


@pytest.mark.parametrize("case", cases("recall_k"))
def test_a_recall_makes_the_published_query_with_a_stated_effort(case: dict[str, Any]) -> None:
    command = commands.nearest(
        memory_collection("demo"),
        "(@threadId:{t})",
        b"",
        count=case["input"],
        ef=None,
        fields=("content",),
        timeout_ms=1000,
    )
    assert case["agree"]
    assert command[2] == case["ts"]


def plain_weights(weights: dict[str, float]) -> RecallWeights:
    return RecallWeights(**weights)


def members(operation: FactOp) -> dict[str, Any]:
    return {name: getattr(operation, name) for name in ("type", "subject", "fact") if hasattr(operation, name)}
