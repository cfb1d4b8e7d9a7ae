"""Whose a key is, what an index says about fields, and when it can be trusted to be complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session_index import (
    INDEXED_READS,
    INDEXED_WRITES,
    MARK,
    MAX_COLONS,
    READS,
    WRITES,
    Counters,
    Entry,
    FieldIndex,
    Known,
    entry_names,
    found_name,
    is_first_owner,
    owns,
    rivals,
    written_name,
)

NAMES = st.lists(st.sampled_from(["a", "b", "", "checkpoint", "writes", "user 1", "*"]), min_size=1, max_size=5).map(
    ":".join
)


def counters(*, reads: int = 0, writes: int = 0, indexed_reads: int = 0, indexed_writes: int = 0) -> Counters:
    stored = {READS: reads, WRITES: writes, INDEXED_READS: indexed_reads, INDEXED_WRITES: indexed_writes}
    return Counters.decoded({name: b"%d" % number for name, number in stored.items()})


def index(*, mark: bytes | None = None) -> FieldIndex:
    entry, _ = Entry.written(b"v", slides=True, until=None)
    return FieldIndex.decoded({written_name("f"): entry.raw} | ({} if mark is None else {MARK: mark}))


# Whose a key is


@given(NAMES, NAMES)
def test_rivals_are_all_that_share_the_key(thread: str, field: str) -> None:
    others = list(rivals(thread, field))
    assert len(others) == thread.count(":") + field.count(":") == len(set(others))
    assert (thread, field) not in others
    for other_thread, other_field in others:
        assert session_key("n", other_thread, other_field) == session_key("n", thread, field)
        assert (thread, field) in set(rivals(other_thread, other_field))


@given(NAMES, NAMES)
def test_a_key_that_nobody_claims_has_exactly_one_owner(thread: str, field: str) -> None:
    owners = [owner for owner in [(thread, field), *rivals(thread, field)] if is_first_owner(*owner)]
    assert len(owners) == 1


@pytest.mark.parametrize(
    ("thread", "field"),
    [
        ("t", "f"),
        ("a:b", "f"),
        ("t", "checkpoint:1ef"),
        ("a:b", "checkpoint:1ef"),
        ("t", "writes:1ef|task|channel|0"),
        ("t", "__checkpoint_latest"),
        ("checkpoint", "x"),
        ("", ""),
        ("t", ""),
    ],
)
def test_a_key_that_nobody_claims_goes_to_the_thread_that_agents_would_mean(thread: str, field: str) -> None:
    assert is_first_owner(thread, field)


def test_nobody_else_is_asked_beyond_the_number_of_colons_that_is_taken() -> None:
    assert len(list(rivals("a" + ":" * MAX_COLONS, "f"))) == MAX_COLONS
    assert list(rivals("a" + ":" * MAX_COLONS, "f:")) == []


def test_of_two_claims_the_value_tells_whose_it_is() -> None:
    mine, _ = Entry.written(b"mine", slides=True, until=None)
    theirs, _ = Entry.written(b"theirs", slides=True, until=None)
    assert owns("a", "b:f", None, [], b"x") is None
    assert owns("a", "b:f", mine, [], b"x") is True
    assert owns("a", "b:f", None, [theirs], b"mine") is False
    assert owns("a", "b:f", mine, [theirs], b"mine") is True
    assert owns("a", "b:f", mine, [theirs], b"theirs") is False
    # Neither, so that a program without the index has written since: as if nobody had claimed it.
    assert owns("a", "b:f", mine, [theirs], b"other") is False
    assert owns("a:b", "f", theirs, [mine], b"other") is True


# Entries


@given(st.binary(max_size=50), st.booleans(), st.none() | st.integers(0, 2**40))
def test_an_entry_says_what_was_written(value: bytes, slides: bool, until: int | None) -> None:
    for entry in Entry.written(value, slides=slides, until=until):
        decoded = Entry.decoded(entry.raw)
        assert decoded == entry
        assert (decoded.slides, decoded.until) == (slides, until)
        assert decoded.describes(value)
        assert not decoded.describes(value + b"!")
    found = Entry.found(until)
    assert Entry.decoded(found.raw) == found
    assert not found.describes(value)


def test_no_two_entries_are_alike() -> None:
    entries = [entry.raw for _ in range(100) for entry in Entry.written(b"same", slides=True, until=7)]
    entries += [Entry.found(7).raw for _ in range(100)]
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"s", b"s:zz:1:2", b"s:00:zz:2", b"1", b"s:" + b"9" * 50])
def test_an_entry_of_somebody_else_still_says_that_there_is_a_field(raw: bytes) -> None:
    known = FieldIndex.decoded({written_name("f"): raw}).fields["f"].written
    assert known is not None
    assert known.raw == raw
    assert not known.describes(b"value")


@given(NAMES | st.sampled_from(["!", "+", "?", "+f", "", "\n", "é🙂"]))
def test_every_name_has_a_place_of_its_own_in_the_index(name: str) -> None:
    assert MARK not in entry_names(name)
    stored = {entry: Entry.found(1).raw for entry in entry_names(name)}
    fields = FieldIndex.decoded({MARK: b"1:1", **stored}).fields
    assert list(fields) == [name]


def test_how_long_an_index_lasts_is_what_the_longest_entry_says() -> None:
    short, _ = Entry.written(b"v", slides=True, until=100)
    known = Known(written=short, found=Entry.found(200))
    assert known.lasts(200)
    assert not known.lasts(201)
    assert not Known().lasts(0)
    assert Known(found=Entry.found(None)).lasts(10**12)


# Is it complete?


def test_an_index_is_complete_while_nobody_else_writes_or_reads() -> None:
    ours = counters(reads=5, writes=7, indexed_reads=5, indexed_writes=7)
    assert index().is_complete(counters())
    assert index().is_complete(ours)
    assert FieldIndex().is_complete(ours)
    assert found_name("f") not in FieldIndex().fields


def test_a_write_of_another_program_makes_every_index_incomplete_until_the_next_scan() -> None:
    theirs = counters(writes=8, indexed_writes=7)
    assert not index().is_complete(theirs)
    assert not FieldIndex().is_complete(theirs)
    marked = index(mark=theirs.mark)
    assert marked.is_complete(theirs)
    assert marked.is_complete(counters(writes=9, indexed_writes=8))
    assert not marked.is_complete(counters(writes=9, indexed_writes=7))


def test_a_read_of_another_program_may_have_kept_a_value_alive_beyond_an_index() -> None:
    theirs = counters(reads=1, writes=7, indexed_writes=7)
    assert not index().is_complete(theirs)
    assert not FieldIndex().is_complete(theirs)
    assert index(mark=theirs.mark).is_complete(theirs)


def test_counters_that_were_reset_or_make_no_sense_complete_nothing() -> None:
    mark = counters(writes=10, indexed_writes=8).mark
    assert index(mark=mark).is_complete(counters(writes=10, indexed_writes=8))
    assert not index(mark=mark).is_complete(counters())
    assert not index(mark=mark).is_complete(counters(writes=2, indexed_writes=0))
    negative = counters(writes=1, indexed_writes=2)
    assert negative.mark is None
    assert not index().is_complete(negative)
    nonsense = Counters.decoded({WRITES: b"many"})
    assert nonsense.mark is None
    assert not index().is_complete(nonsense)
    assert not index(mark=b"nonsense").is_complete(counters())
