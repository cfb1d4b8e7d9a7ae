"""A near-cache hands out nothing that is too old, dropped, or more than there is room for."""

from __future__ import annotations

import os
from collections.abc import Hashable
from threading import Lock

from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.near_cache import MAX_REMEMBERED_SUBJECTS, NearCache, Reading, elapsed_seconds
from tests.near import Stopwatch

ALL = "all"


def cache_of(clock: Stopwatch, *, entries: int = 100, size: int = 1_000) -> NearCache[str]:
    return NearCache(max_age_seconds=10.0, max_entries=entries, max_bytes=size, now_seconds=clock)


def kept(cache: NearCache[str], key: Hashable, value: str, *subjects: Hashable, size: int = 1) -> bool:
    with cache.reading() as reading:
        return cache.keep(reading, key, value, subjects=subjects, size_bytes=size)


def value(cache: NearCache[str], key: Hashable) -> str | None:
    found = cache.find(key)
    return None if found is None else found.value


def test_the_age_counts_from_the_beginning_of_the_read() -> None:
    clock = Stopwatch()
    cache = cache_of(clock)
    with cache.reading() as reading:
        clock.seconds += 4.0
        assert cache.keep(reading, "k", "v", subjects=(), size_bytes=1)
    clock.seconds += 5.999
    assert value(cache, "k") == "v"
    clock.seconds += 0.001
    assert value(cache, "k") is None
    assert cache.statistics().entries == 0


def test_an_answer_that_took_too_long_is_not_kept() -> None:
    clock = Stopwatch()
    cache = cache_of(clock)
    with cache.reading() as reading:
        clock.seconds += 10.0
        assert not cache.keep(reading, "k", "v", subjects=(), size_bytes=1)
    assert value(cache, "k") is None


def test_an_answer_is_kept_no_longer_than_it_says() -> None:
    clock = Stopwatch()
    cache = cache_of(clock)
    with cache.reading() as reading:
        assert cache.keep(reading, "k", "v", subjects=(), size_bytes=1, until=clock.seconds + 3.0)
    found = cache.find("k")
    assert found is not None
    clock.seconds += 3.0
    assert not cache.is_fresh(found)
    assert value(cache, "k") is None


def test_what_is_dropped_while_it_is_read_is_not_kept() -> None:
    cache = cache_of(Stopwatch())
    with cache.reading() as outer, cache.reading() as inner:
        cache.drop(["a"], "written")
        assert not cache.keep(outer, "1", "v", subjects=("b", "a"), size_bytes=1)
        assert cache.keep(inner, "2", "v", subjects=("b",), size_bytes=1)
        with cache.reading() as later:
            assert cache.keep(later, "3", "v", subjects=("a",), size_bytes=1)
        cache.drop_all("written")
        assert not cache.keep(inner, "4", "v", subjects=("c",), size_bytes=1)
    assert kept(cache, "5", "v", "a")


def test_a_read_that_cannot_be_told_from_what_was_dropped_is_not_kept() -> None:
    cache = cache_of(Stopwatch())
    with cache.reading() as reading:
        cache.drop(range(MAX_REMEMBERED_SUBJECTS + 1), "written")
        assert not cache.keep(reading, "k", "v", subjects=("other",), size_bytes=1)


def test_what_was_used_longest_ago_makes_room() -> None:
    lost: list[tuple[str, int]] = []
    cache: NearCache[str] = NearCache(
        max_age_seconds=10.0,
        max_entries=3,
        max_bytes=10,
        now_seconds=Stopwatch(),
        on_dropped=lambda why, count: lost.append((why, count)),
    )
    assert [kept(cache, key, key, "s") for key in "abc"] == [True] * 3
    assert value(cache, "a") == "a"
    assert kept(cache, "d", "d", "s")
    assert [value(cache, key) for key in "abcd"] == ["a", None, "c", "d"]
    assert kept(cache, "e", "e", "s", size=9)
    assert [value(cache, key) for key in "acde"] == [None, None, "d", "e"]
    assert not kept(cache, "f", "f", size=11)
    cache.drop(["s"], "told")
    assert lost == [("room", 1), ("room", 2), ("told", 2)]
    statistics = cache.statistics()
    assert (statistics.hits, statistics.misses, statistics.dropped) == (6, 3, 5)
    assert (statistics.entries, statistics.bytes) == (0, 0)


def test_a_child_begins_with_an_empty_cache_whoever_held_the_lock() -> None:
    cache = cache_of(Stopwatch())
    assert kept(cache, "k", "parent's", "s")
    lock: Lock = cache._lock
    with lock:  # as if another thread of the parent were at work
        child = os.fork()
        if child == 0:
            os._exit(0 if value(cache, "k") is None and kept(cache, "k", "child's") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert value(cache, "k") == "parent's"


def test_the_clock_moves_forward() -> None:
    first = elapsed_seconds()
    assert 0 <= elapsed_seconds() - first < 60


SUBJECTS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from("xyz"), st.frozensets(SUBJECTS, max_size=2)),
        st.tuples(st.just("end"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("change"), SUBJECTS),
        st.tuples(st.just("change"), st.just(ALL)),
        st.tuples(st.just("pass"), st.sampled_from([1.0, 4.0, 9.0])),
        st.tuples(st.just("find"), st.sampled_from("xyz")),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_answer_is_too_old_or_from_before_a_change_that_was_told(steps: list[tuple[object, ...]]) -> None:
    """Each read finds how often each of its subjects had changed when it ended, or at any time since it began."""
    clock = Stopwatch()
    cache: NearCache[tuple[float, dict[Hashable, int]]] = NearCache(
        max_age_seconds=10.0, max_entries=2, max_bytes=8, now_seconds=clock
    )
    changes: dict[Hashable, int] = dict.fromkeys("abc", 0)
    under_way: list[tuple[Reading, Hashable, frozenset[str], dict[Hashable, int]]] = []
    contexts = []
    for step in steps:
        match step:
            case ("begin", key, frozenset() as subjects):
                context = cache.reading()
                contexts.append(context)
                under_way.append((context.__enter__(), key, subjects, {one: changes[one] for one in subjects}))
            case ("end", int() as place, int() as size) if place < len(under_way):
                reading, key, subjects, read = under_way.pop(place)
                cache.keep(reading, key, (reading.began_at, read), subjects=subjects, size_bytes=size)
                contexts.pop(place).__exit__(None, None, None)
            case ("change", subject):
                changed = [*changes] if subject == ALL else [subject]
                for one in changed:
                    changes[one] += 1
                if subject == ALL:
                    cache.drop_all("written")
                else:
                    cache.drop(changed, "written")
            case ("pass", float() as seconds):
                clock.seconds += seconds
            case ("find", key):
                found = cache.find(key)
                if found is not None:
                    began_at, read = found.value
                    assert clock.seconds - began_at < 10.0
                    assert read == {one: changes[one] for one in read}
        statistics = cache.statistics()
        assert statistics.entries <= 2
        assert statistics.bytes <= 8
