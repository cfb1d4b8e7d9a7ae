"""Where commands go on a cluster, and what nodes mean that refuse them: no server needed."""

from __future__ import annotations

from typing import Any

import pytest
import redis.exceptions
import valkey.exceptions
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.valkey.faults import translate
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.routing import Asked, Later, Moved, companions, key_of, verdict
from betterdb_agent_memory.engines.valkey.slots import (
    Address,
    SlotMap,
    hash_tag,
    parse_open_slots,
    parse_slots,
    slot_of,
)
from betterdb_agent_memory.errors import EngineError, EngineUnavailableError, OutcomeUnknownError

HERE = Address("10.0.0.1", 7000)
THERE = Address("10.0.0.2", 7001)


@pytest.mark.parametrize(
    ("key", "tag"),
    [("{a}b", "a"), ("x{a}{b}", "a"), ("{}x", None), ("{}{a}", None), ("a}b", None), ("a{b", None), ("{{a}}", "{a")],
)
def test_the_tag_is_what_a_cluster_places_a_key_by(key: str, tag: str | None) -> None:
    assert hash_tag(key) == tag
    assert slot_of(key) == slot_of(key if tag is None else f"other{{{tag}}}thing")


def test_slots_are_those_of_the_specification() -> None:
    assert slot_of("123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of("{user1000}.followers")


@given(st.text())
def test_a_slot_is_the_same_for_text_and_bytes(key: str) -> None:
    assert slot_of(key) == slot_of(key.encode()) < 16_384


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        (("EVALSHA", "digest", "1", "k", "a"), "k"),
        (("EVAL", "text", "0", "a"), None),
        (("FT.SEARCH", "i", "*"), "i"),
        (("FT._LIST",), None),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", ">"), "k"),
        (("XGROUP", "CREATE", "k", "g", "$"), "k"),
        (("DBSIZE",), None),
        (("config", "GET", "x"), None),
    ],
)
def test_commands_are_placed_by_their_key(command: Command, key: str | None) -> None:
    assert key_of(command) == key


def test_what_is_about_a_node_goes_with_what_it_is_asked_beside() -> None:
    assert companions([("TIME",), ("PTTL", "a"), ("TIME",), ("PTTL", "b")]) == [1, 1, 3, 3]
    assert companions([("FT.INFO", "i"), ("FT._LIST",), ("DBSIZE",)]) == [0, 0, 0]
    assert companions([("DBSIZE",), ("TIME",)]) == [None, None]
    assert companions([]) == []


def told(error: Exception, *, write_sent: bool = False) -> Exception:
    made = translate(error, "HSET", write_sent=write_sent)
    made.__cause__ = error
    return made


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (valkey.exceptions.ResponseError("MOVED 7 10.0.0.2:7001"), Moved(7, THERE)),
        (redis.exceptions.MovedError("7 10.0.0.2:7001"), Moved(7, THERE)),
        (valkey.exceptions.ResponseError("MOVED 7 :7001"), Moved(7, Address("10.0.0.1", 7001))),
        (valkey.exceptions.ResponseError("MOVED 7 ::1:7001"), Moved(7, Address("::1", 7001))),
        (valkey.exceptions.ResponseError("ASK 7 10.0.0.2:7001"), Asked(THERE)),
        (redis.exceptions.AskError("7 10.0.0.2:7001"), Asked(THERE)),
        (valkey.exceptions.ResponseError("TRYAGAIN Multiple keys request during rehashing"), Later.NOT_DONE),
        (redis.exceptions.ClusterDownError("The cluster is down"), Later.NOT_DONE),
        (valkey.exceptions.ResponseError("CLUSTERDOWN Hash slot not served"), Later.NOT_DONE),
        (valkey.exceptions.BusyLoadingError("Valkey is loading"), Later.NOT_DONE),
        (valkey.exceptions.ReadOnlyError("You can't write against a read only replica."), Later.NOT_DONE),
        (valkey.exceptions.ConnectionError("refused"), Later.NOT_SENT),
        (valkey.exceptions.TimeoutError("no answer"), None),
        (valkey.exceptions.ResponseError("WRONGTYPE Operation"), None),
        (valkey.exceptions.ResponseError("ERR 7 10.0.0.2:7001"), None),
    ],
)
def test_refusals_say_where_else_or_when(error: Exception, said: Any) -> None:
    assert verdict(told(error), HERE) == said


def test_a_write_in_doubt_is_never_sent_again() -> None:
    unknown = told(valkey.exceptions.ConnectionError("broken"), write_sent=True)
    assert isinstance(unknown, OutcomeUnknownError)
    assert verdict(unknown, HERE) is None


@pytest.mark.parametrize("text", ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys", "READONLY You can't"])
def test_what_has_not_been_done_is_said_to_be_so(text: str) -> None:
    error = translate(valkey.exceptions.ResponseError(text), "HSET", write_sent=True)
    assert isinstance(error, EngineUnavailableError)
    assert "not done" in str(error)


def test_one_node_of_a_cluster_opened_as_a_server_says_what_to_open() -> None:
    error = translate(valkey.exceptions.ResponseError("MOVED 7 10.0.0.2:7001"), "GET")
    assert "valkey+cluster://" in str(error)


@pytest.mark.parametrize("host", [b"10.0.0.2", "10.0.0.2"])
def test_a_map_is_read_as_bytes_and_as_text(host: Any) -> None:
    answer = [[0, 8191, [host, 7001, b"id", []]], [8192, 16383, [b"", 7000, b"id", []], [b"replica", 1, b"id"]]]
    slots = parse_slots(answer, HERE, lambda address: address)
    assert (slots.owners[0], slots.owners[8192]) == (THERE, HERE)
    assert slots.primaries == (THERE, HERE)
    assert slots.with_owner(0, HERE).owners[:2] == (HERE, THERE)
    assert SlotMap().primaries == ()


def test_addresses_are_mapped_to_those_that_can_be_reached() -> None:
    slots = parse_slots([[0, 16383, [None, 7001, b"id"]]], HERE, lambda address: Address("outside", address.port + 1))
    assert slots.primaries == (Address("outside", 7002),)


def test_a_map_that_is_none_is_refused() -> None:
    with pytest.raises(EngineError, match="cannot read"):
        parse_slots(7, HERE, lambda address: address)


def test_slots_that_are_handed_over_are_told_by_their_node_alone() -> None:
    lines = (
        b"a 10.0.0.1:7000@1 myself,master - 0 0 1 connected 0-5460 [93->-b]\n"
        b"b 10.0.0.2:7001@1 master - 0 0 2 connected 5461-10922 [7-<-a]\n"
    )
    assert parse_open_slots(lines) == {"[93->-b]"}
