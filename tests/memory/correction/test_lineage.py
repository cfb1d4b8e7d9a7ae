"""Who took whose place, and what held when: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.lineage import in_order, valid_at, version_of
from betterdb_agent_memory.memory.dynamics_fields import VALID_FROM, VALID_UNTIL, MemoryDynamics
from betterdb_agent_memory.memory.recalling.corrections import corrections_first
from betterdb_agent_memory.memory.record import MemoryItem

IDS = st.sampled_from("abcdefg")
GRAPHS = st.dictionaries(IDS, st.lists(IDS, max_size=3, unique=True))


@given(order=st.permutations("abcdefg"), by=GRAPHS)
def test_corrections_come_first_and_nothing_else_moves_or_is_lost(order: list[str], by: dict[str, list[str]]) -> None:
    ids = sorted(order)
    result = corrections_first([ids.index(id) for id in order], ids, by)
    found = [ids[place] for place in result.places]
    assert sorted(found) == ids
    if not by:
        assert found == order
    if is_without_rings(by):
        for wrong, rights in by.items():
            assert all(found.index(right) < found.index(wrong) for right in rights)
    # What is put first is put before something that it corrects.
    for place, wrongs in result.outranked.items():
        assert all(ids[place] in by[wrong] for wrong in wrongs)


@given(order=st.permutations("abcdefg"), pair=st.tuples(IDS, IDS))
def test_one_correction_comes_directly_before_and_the_rest_keeps_its_order(
    order: list[str], pair: tuple[str, str]
) -> None:
    wrong, right = pair
    ids = sorted(order)
    result = corrections_first([ids.index(id) for id in order], ids, {wrong: [right]})
    found = [ids[place] for place in result.places]
    if wrong == right or order.index(right) < order.index(wrong):
        assert found == order
    else:
        assert found.index(right) == found.index(wrong) - 1
        assert [id for id in found if id != right] == [id for id in order if id != right]


def test_of_two_that_correct_each_other_the_order_stays() -> None:
    for order in ([0, 1], [1, 0]):
        assert corrections_first(order, ["a", "b"], {"a": ["b"], "b": ["a"]}).places == order


def is_without_rings(by: dict[str, list[str]]) -> bool:
    def reaches(start: str, goal: str, seen: frozenset[str]) -> bool:
        return any(one == goal or (one not in seen and reaches(one, goal, seen | {one})) for one in by.get(start, ()))

    return not any(reaches(id, id, frozenset()) for id in by)


def item(id: str, supersedes: tuple[str, ...], created_at: int) -> MemoryItem:
    return MemoryItem(id, id, 0.5, [], created_at, created_at, 0, dynamics=MemoryDynamics(supersedes=supersedes))


@given(by=GRAPHS, newest=IDS, times=st.lists(st.integers(0, 9), min_size=7, max_size=7))
def test_versions_come_after_what_they_superseded(by: dict[str, list[str]], newest: str, times: list[int]) -> None:
    versions = {
        id: version_of(item(id, tuple(by.get(id, ())), time)) for id, time in zip("abcdefg", times, strict=True)
    }
    found = [version.item.id for version in in_order(versions, newest)]
    assert len(found) == len(set(found))
    assert found[-1] == newest
    if is_without_rings(by):
        for id in found:
            assert all(found.index(former) < found.index(id) for former in by.get(id, ()))


TIMES = st.integers(-5, 5)


@given(created=TIMES, begins=st.none() | TIMES, ends=st.none() | TIMES, at=TIMES)
def test_a_memory_holds_from_its_beginning_until_before_its_end(
    created: int, begins: int | None, ends: int | None, at: int
) -> None:
    fields: dict[str, bytes] = {record.CREATED_AT: b"%d" % created}
    if begins is not None:
        fields[VALID_FROM] = b"%d" % begins
    if ends is not None:
        fields[VALID_UNTIL] = b"%d" % ends
    start = created if begins is None else begins
    assert accepts(fields, at) == (start <= at and (ends is None or at < ends))


def accepts(fields: Fields, at: int) -> bool:
    return valid_at(Filter(), at).accepts("id", fields)
