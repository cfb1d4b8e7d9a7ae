"""What the hash makes of the constructor's values, and that the order in which answers arrive never matters."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import valkey.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import InvalidInputError, MemoryConfigSnapshot, RecallWeights
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.live_config import SETTINGS, LiveConfig, resolve
from betterdb_agent_memory.live_config.fields import BY_NAME, MAX_WHOLE_NUMBER, NOT_ALL_ZERO, value_of
from betterdb_agent_memory.live_config.rereading import SETTLE_SECONDS
from betterdb_agent_memory.live_config.texts import read_number, write_number
from betterdb_agent_memory.live_config.writing import NAMES, fields_to_remove, fields_to_write
from betterdb_agent_memory.options import RETRIEVALS, HybridOptions
from tests.proxy import Proxy
from tests.servers import ValkeyServer

BASE = MemoryConfigSnapshot(0.3, RecallWeights(0.6, 0.25, 0.15), 1000.0, None)

texts = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from(
        [
            "true",
            "false",
            "vector",
            "hybrid",
            "64",
            "2500",
            "",
            " ",
            "0",
            " 1 ",
            "-1",
            "0x1",
            "1_000",
            "NaN",
            "inf",
            "1e3",
            "+.5",
            "5.",
            "٣",
            "1,5",
            "many",
        ]
    ),
    st.text(max_size=4),
)
hashes = st.dictionaries(st.sampled_from([setting.field for setting in SETTINGS] + ["unknown"]), texts).map(
    lambda fields: {field: text.encode(errors="surrogatepass") for field, text in fields.items()}
)


@settings(deadline=None)
@given(first=hashes, second=hashes)
def test_what_came_before_never_matters(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    # There is no state but the base: a worker that has seen `first` agrees with one that has not.
    live = LiveConfig(
        ValkeyEngine(valkey.asyncio.Valkey()), "s", BASE, interval_seconds=30, watched=False,
        on_failure=lambda: None, on_ignored=lambda _: None,
    )  # fmt: skip
    live._apply(first)
    live._apply(second)
    assert live.current == resolve(second, BASE).config


@given(fields=hashes)
def test_whatever_the_hash_holds_the_configuration_is_usable(fields: dict[str, bytes]) -> None:
    resolved = resolve(fields, BASE)
    config = resolved.config
    assert 0 <= config.threshold <= 2
    assert 0 < config.half_life_seconds < math.inf
    assert config.max_items_per_scope is None or config.max_items_per_scope >= 1
    assert any((config.weights.similarity, config.weights.recency, config.weights.importance))
    # Every known field that is there either counts or is named.
    known = {setting.field for setting in SETTINGS} & set(fields)
    assert set(resolved.ignored) | resolved.live == known
    assert not set(resolved.ignored) & resolved.live
    # Those that count, alone, make the same of it.
    assert resolve({field: fields[field] for field in resolved.live}, BASE).config == config


@pytest.mark.parametrize(
    ("text", "number"),
    [(b" 0.5\n", 0.5), (b"5e-1", 0.5), (b"", None), (b"0x1", None), (b"Infinity", None), (b"1e999", None),
     (b"1_0", None), ("٠.٥".encode(), None), ("٣".encode(), None), (b"1e\xd9\xa3", None),
     (b"\xff", None), (b"0.5.1", None)],
)  # fmt: skip
def test_numbers_are_plain_or_ignored(text: bytes, number: float | None) -> None:
    assert read_number(text) == number


def test_weights_whose_scores_would_be_infinite_are_ignored() -> None:
    fields = [setting.field for setting in SETTINGS if "weights" in setting.field]
    resolved = resolve(dict.fromkeys(fields, b"1e308"), BASE)
    assert resolved.config == BASE
    assert set(resolved.ignored) == set(fields)
    assert resolve({fields[0]: b"1e30"}, BASE).config.weights.similarity == 1e30


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_was_written_by_us_by_json_and_by_the_published_package(number: float) -> None:
    text = write_number(number)
    assert read_number(text) == number
    assert float(text) == number  # as the published Python package reads it
    assert json.loads(text, parse_int=float) == number  # JavaScript's grammar of numbers
    assert set(text) <= set(b"-.0123456789")
    assert not text.endswith(b".")


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


settable = st.fixed_dictionaries(
    {
        "threshold": optional(st.floats(0, 2)),
        "weights": optional(st.builds(RecallWeights, st.floats(0, 1e30), st.floats(0, 1e30), st.floats(1e-300, 1e30))),
        "half_life_seconds": optional(st.floats(1e-300, 1e300)),
        "max_items_per_scope": optional(st.integers(1, MAX_WHOLE_NUMBER)),
        "retrieval": optional(st.sampled_from(RETRIEVALS)),
        "exact": optional(st.booleans()),
        "diversity": optional(st.floats(0, 1)),
        "hybrid": optional(
            st.builds(HybridOptions, candidates=st.integers(1, 2_500), words_weight=st.floats(1e-300, 1_000))
        ),
    }
)


@given(said=settable)
def test_what_is_set_is_in_force_and_nothing_else(said: dict[str, Any]) -> None:
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        with pytest.raises(InvalidInputError, match="nothing to set"):
            fields_to_write(said)
        return
    fields = fields_to_write(said)
    resolved = resolve(fields, BASE)
    assert resolved.ignored == {}
    assert resolved.config == replace(BASE, **said)
    assert set(fields_to_remove(list(said))) == set(fields)


def test_single_signs_of_relevance_can_be_set_and_taken_away() -> None:
    fields = fields_to_write({"hybrid": {"words_weight": 0.5, "candidates": 32}})
    assert fields == {"recall.hybrid.candidates": b"32", "recall.hybrid.wordsWeight": b"0.5"}
    assert resolve(fields, BASE).config.hybrid == replace(BASE.hybrid, words_weight=0.5, candidates=32)
    assert fields_to_remove(["hybrid.words_weight"]) == ["recall.hybrid.wordsWeight"]
    assert len(fields_to_remove(["hybrid", "hybrid.words_weight"])) == len(dataclasses.fields(HybridOptions))


@pytest.mark.parametrize(
    ("field", "text", "name", "value"),
    [
        ("recall.retrieval", b" hybrid\n", "retrieval", "hybrid"),
        ("recall.exact", b"true", "exact", True),
        ("recall.diversity", b"0.25", "diversity", 0.25),
        ("recall.hybrid.similarityWeight", b"2", "hybrid.similarity_weight", 2),
        ("recall.hybrid.wordMatches", b"1e3", "hybrid.word_matches", 1000),
        ("recall.hybrid.typicalWords", b"12", "hybrid.typical_words", 12),
    ],
)
def test_a_field_is_read_as_its_kind(field: str, text: bytes, name: str, value: object) -> None:
    resolved = resolve({field: text}, BASE)
    assert value_of(resolved.config, name) == value
    assert type(value_of(resolved.config, name)) is type(value) or name == "hybrid.similarity_weight"
    assert resolved.live == {field}
    assert resolved.ignored == {}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("recall.retrieval", b"Hybrid"),
        ("recall.retrieval", b""),
        ("recall.exact", b"1"),
        ("recall.exact", b"yes"),
        ("recall.diversity", b"1.01"),
        ("recall.hybrid.candidates", b"64.5"),
        ("recall.hybrid.candidates", b"0"),
        ("recall.hybrid.wordsWeight", b"-1"),
        ("recall.hybrid.neighbourShare", b"2"),
        ("recall.hybrid.saturation", b"\xff"),
    ],
)
def test_what_a_field_does_not_accept_changes_nothing_and_is_named(field: str, text: bytes) -> None:
    resolved = resolve({field: text}, BASE)
    assert (resolved.config, resolved.live) == (BASE, frozenset())
    assert resolved.ignored == {field: text.decode(errors="replace")}


def test_signs_of_relevance_that_all_count_nothing_are_ignored() -> None:
    names = [name for names in NOT_ALL_ZERO for name in names if name.startswith("hybrid.")]
    assert names == [f"hybrid.{sign}_weight" for sign in ("similarity", "words", "date", "actor")]
    weights = {BY_NAME[name].field: b"0" for name in names}
    resolved = resolve({**weights, "recall.hybrid.candidates": b"9"}, BASE)
    assert resolved.config.hybrid == replace(BASE.hybrid, candidates=9)
    assert set(resolved.ignored) == set(weights)
    # One that the constructor lets count is enough.
    some = {field: text for field, text in weights.items() if "words" not in field}
    assert resolve(some, BASE).config.hybrid.similarity_weight == 0
    assert resolve(some, BASE).ignored == {}


def test_every_field_has_a_name_to_set_it_by() -> None:
    assert {setting.name.partition(".")[0] for setting in SETTINGS} == set(NAMES)
    assert set(fields_to_remove(NAMES)) == set(fields_to_remove([])) == {setting.field for setting in SETTINGS}
    for setting in SETTINGS:
        assert fields_to_remove([setting.name]) == [setting.field] or setting.name in NAMES
        assert value_of(BASE, setting.name) is not None or setting.name in ("max_items_per_scope", "diversity")
    options = [f"hybrid.{option.name}" for option in dataclasses.fields(HybridOptions)]
    assert [setting.name for setting in SETTINGS if setting.name.startswith("hybrid.")] == options
    with pytest.raises(InvalidInputError, match=r"'recall.threshold'; known are threshold, weights"):
        fields_to_remove(["threshold", "recall.threshold"])


class Reported:
    """What a LiveConfig told."""

    def __init__(self) -> None:
        self.failures = 0
        self.ignored: list[str] = []

    def failed(self) -> None:
        self.failures += 1


def live_config(engine: ValkeyEngine, name: str, reported: Reported, *, watched: bool = False) -> LiveConfig:
    return LiveConfig(
        engine, name, BASE, interval_seconds=30, watched=watched,
        on_failure=reported.failed, on_ignored=reported.ignored.append,
    )  # fmt: skip


class Late:
    """A client whose answers can be held back."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.held: asyncio.Event | None = None

    async def execute_command(self, *command: Any) -> Any:
        held = self.held
        answer = await self._client.execute_command(*command)
        if held is not None:
            await held.wait()
        return answer


async def test_an_answer_that_comes_late_does_not_undo_a_later_one(valkey_client: Any, store_name: str) -> None:
    key = f"{store_name}:__mem_config"
    client = Late(valkey_client)
    live = live_config(ValkeyEngine(client), store_name, Reported())
    await valkey_client.hset(key, "recall.threshold", "0.1")
    held = client.held = asyncio.Event()
    early = asyncio.create_task(live.refresh())
    await asyncio.sleep(0.1)
    client.held = None
    await valkey_client.hset(key, "recall.threshold", "0.9")
    await live.refresh()
    assert live.current.threshold == 0.9
    held.set()
    await early
    assert live.current.threshold == 0.9


async def test_a_later_reading_that_fails_does_not_stand_in_the_way(valkey_client: Any, store_name: str) -> None:
    key = f"{store_name}:__mem_config"
    client = Late(valkey_client)
    live = live_config(ValkeyEngine(client), store_name, Reported())
    await valkey_client.hset(key, "recall.threshold", "0.1")
    held = client.held = asyncio.Event()
    early = asyncio.create_task(live.refresh())
    await asyncio.sleep(0.1)
    client.held = None
    await valkey_client.rename(key, f"{key}-away")
    await valkey_client.set(key, "no map")
    with pytest.raises(EngineError):
        await live.refresh()
    held.set()
    await early
    assert live.current.threshold == 0.1


async def test_a_value_that_cannot_be_used_is_told_once(
    valkey_server: ValkeyServer, valkey_client: Any, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = f"{store_name}:__mem_config"
    engine = ValkeyEngine.from_url(valkey_server.url)
    reported = Reported()
    live = live_config(engine, store_name, reported)
    await valkey_client.hset(key, mapping={"recall.threshold": "far", "maxItemsPerScope": "7", "mine": "x"})
    for _ in range(3):
        await live.refresh()
    assert reported.ignored == ["recall.threshold"]
    await valkey_client.hset(key, "recall.threshold", "2.5")
    for _ in range(3):
        await live.refresh()
    assert [record.getMessage() for record in caplog.records] == [
        f"recall.threshold of {key} holds {text!r} and is ignored: it accepts 0 to 2" for text in ("far", "2.5")
    ]
    assert reported.ignored == ["recall.threshold"] * 2
    assert "recall.threshold" in live.ignored_fields
    assert (live.current.threshold, live.current.max_items_per_scope) == (0.3, 7)
    await valkey_client.hset(key, mapping=dict.fromkeys([s.field for s in SETTINGS if "weights" in s.field], "0"))
    await live.refresh()
    assert live.current.weights == BASE.weights
    assert caplog.records[-1].getMessage().endswith("it accepts 0 to 1e30, and not all weights may be 0")
    await valkey_client.delete(key)
    await live.refresh()
    assert live.current == BASE
    assert not live.ignored_fields
    await engine.close()


async def test_a_reading_that_fails_keeps_the_values_and_is_counted(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        reported = Reported()
        await engine.values.write_map(f"{store_name}:__mem_config", {"recall.threshold": b"0.5"})
        live = live_config(engine, store_name, reported)
        await live.refresh()
        await engine.values.delete(f"{store_name}:__mem_config")
        await engine.values.set(f"{store_name}:__mem_config", b"no map")
        live.start()
        await live.wait_read()
        assert (live.current.threshold, reported.failures) == (0.5, 1)
        await live.stop()
        await engine.close()


async def test_a_burst_of_changes_is_read_together(
    valkey_server: ValkeyServer, valkey_client: Any, store_name: str
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    live = live_config(engine, store_name, Reported(), watched=True)
    live.start()
    await live.wait_read()
    await asyncio.sleep(0.3)
    before, began = engine.round_trips, monotonic()
    for number in range(100):
        await valkey_client.hset(f"{store_name}:__mem_config", "recall.threshold", f"0.{number:02}")
    taken = monotonic() - began
    await asyncio.sleep(0.3)
    assert live.current.threshold == 0.99
    assert engine.round_trips - before <= 3 + taken / SETTLE_SECONDS
    await live.stop()
    await live.stop()
    await engine.close()


async def test_it_can_be_started_again_in_another_loop(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    live = live_config(engine, store_name, Reported(), watched=True)
    for _ in range(2):
        live.start()
        live.start()
        await live.wait_read()
        await live.stop()
    await engine.close()


def test_a_file_is_followed_in_one_loop_after_another(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    live = LiveConfig(engine, "s", BASE, interval_seconds=30, on_failure=lambda: None, on_ignored=lambda _: None)

    async def run(threshold: str) -> None:
        live.start()
        await live.wait_read()
        await asyncio.sleep(0.2)
        await engine.values.write_map("s:__mem_config", {"recall.threshold": threshold.encode()})
        for _ in range(60):
            await asyncio.sleep(0.05)
            if live.current.threshold == float(threshold):
                return
        raise AssertionError("the change was not seen")

    asyncio.run(run("0.5"))
    asyncio.run(run("0.6"))

    async def end() -> None:
        await live.stop()
        await engine.close()

    asyncio.run(end())
