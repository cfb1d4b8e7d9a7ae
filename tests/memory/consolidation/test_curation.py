"""What a facts run plans, carried out on a store of plain Python: nothing is lost that should stay."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import Fact, MemoryItem, MemoryScope, subject_key
from betterdb_agent_memory.memory.consolidation.curation import Curation, StoredFact, curate
from betterdb_agent_memory.memory.consolidation.facts import fact_content

WIDE = MemoryScope(namespace="app")
SCOPES = [WIDE, MemoryScope(namespace="app", thread_id="t1"), MemoryScope(namespace="app", thread_id="t2")]
SUBJECTS = st.sampled_from(["city", "City ", "pet", "job"])
STATEMENTS = st.sampled_from(["x", "y"])
DATES = st.sampled_from([None, "2024-9-1", "10/31/2024", "some day"])
TAGS = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=2)

incoming_facts = st.lists(st.builds(Fact, SUBJECTS, STATEMENTS, DATES, st.booleans()), max_size=4)


@st.composite
def stored_facts(draw: st.DrawFn) -> list[StoredFact]:
    rows = []
    for number in range(draw(st.integers(0, 7))):
        scope = draw(st.sampled_from(SCOPES))
        fact = Fact(draw(SUBJECTS), draw(STATEMENTS), draw(DATES))
        rows.append(stored(f"s{number}", fact, scope, draw(TAGS), created_at=draw(st.integers(1, 3))))
    return sorted(rows, key=lambda row: (row.item.created_at, row.item.id))


def stored(id: str, fact: Fact, scope: MemoryScope, tags: Sequence[str], *, created_at: int) -> StoredFact:
    item = MemoryItem(
        *(id, fact_content(fact), 0.7, list(tags), created_at, created_at, 0, "fact", fact.subject, fact.date),
        thread_id=scope.thread_id,
        agent_id=scope.agent_id,
        namespace=scope.namespace,
    )
    return StoredFact(item, f"digest of {id}")


def carried_out(curation: Curation, rows: Sequence[StoredFact], scope: MemoryScope) -> list[StoredFact]:
    """The store after the plan."""
    gone = {source.id for source in curation.deletes}
    gone |= {source.id for write in curation.writes for source in write.replaced}
    left = [
        stored(
            row.item.id,
            row.fact,
            row.scope,
            [*row.item.tags, *curation.tags_to_add.get(row.item.id, ())],
            created_at=row.item.created_at,
        )
        for row in rows
        if row.item.id not in gone
    ]
    made = [
        stored(f"new-{number}", write.fact, scope, write.tags, created_at=9)
        for number, write in enumerate(curation.writes)
    ]
    return [*left, *made]


def plan(rows: Sequence[StoredFact], incoming: Sequence[Fact], tags: Sequence[str] = ()) -> Curation:
    return curate(rows, incoming, scope=WIDE, tags=tags, undated="keep", day_first=False)


@given(stored_facts(), incoming_facts, TAGS)
def test_there_is_one_fact_for_a_subject_of_a_scope_and_its_tags_stay(
    rows: list[StoredFact], incoming: list[Fact], tags: list[str]
) -> None:
    curation = plan(rows, incoming, tags)
    left = carried_out(curation, rows, WIDE)
    keys = [row.key for row in left]
    assert len(set(keys)) == len(keys)
    assert curation.facts == sum(row.scope == WIDE for row in left)
    for row in left:
        assert set(row.item.tags) >= {tag for before in rows if before.key == row.key for tag in before.item.tags}
    assert len({source.id for source in curation.deletes}) == len(curation.deletes)
    assert curation.deleted == len(rows) + len(curation.writes) - len(left)


@given(stored_facts(), incoming_facts)
def test_other_scopes_lose_duplicates_and_nothing_else(rows: list[StoredFact], incoming: list[Fact]) -> None:
    left = carried_out(plan(rows, incoming), rows, WIDE)
    others_before = [row for row in rows if row.scope != WIDE]
    others_after = [row for row in left if row.scope != WIDE]
    assert {row.key for row in others_after} == {row.key for row in others_before}
    assert {row.item.id for row in others_after} <= {row.item.id for row in others_before}


@given(stored_facts(), incoming_facts, TAGS)
def test_a_second_run_has_nothing_left_to_do(rows: list[StoredFact], incoming: list[Fact], tags: list[str]) -> None:
    # One for a subject: of several, each run goes through all of them again.
    incoming = list({subject_key(fact.subject): fact for fact in incoming}.values())
    once = carried_out(plan(rows, incoming, tags), rows, WIDE)
    again = plan(once, incoming, tags)
    assert (again.writes, again.deletes, again.tags_to_add) == ([], [], {})


@given(stored_facts())
def test_without_new_facts_only_duplicates_go(rows: list[StoredFact]) -> None:
    curation = plan(rows, [])
    assert curation.writes == []
    left = carried_out(curation, rows, WIDE)
    assert {row.key for row in left} == {row.key for row in rows}


def test_a_fact_whose_text_is_not_what_it_states_is_written_anew() -> None:
    item = MemoryItem("1", "has a cat", 0.7, ["a"], 1, 1, 0, "fact", "pet", "2024", namespace="app")
    [write] = plan([StoredFact(item, "d")], []).writes
    assert (write.content, write.tags, [source.id for source in write.replaced]) == ("[2024] has a cat", ("a",), ["1"])
