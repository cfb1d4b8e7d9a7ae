"""`@agent.tool.cached`: a call with the same arguments is made once, and its result comes back as it was."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, assert_type
from uuid import uuid4

import pytest
from pydantic import BaseModel

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.policies import ToolPolicies, ToolPolicy
from betterdb_agent_memory.caches.single_flight import Patience
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AuthenticationFailedError, ConfigurationError, InvalidInputError
from tests.proxy import Proxy
from tests.servers import ValkeyServer, free_port
from tests.waiting import NEVER_SECONDS


class Weather(BaseModel):
    city: str
    celsius: float
    days: list[date] = []


@dataclass
class Place:
    city: str


class Worker:
    """A tool cache, and how often the functions below were called."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self.calls: list[Any] = []
        self.watch = CacheWatch(name)
        self.deferred = DeferredWrites(
            engine.values, f"{name}:__stats", interval_seconds=NEVER_SECONDS, on_failure=lambda: None
        )
        self.tool = ToolCache(
            name,
            engine=engine,
            watch=self.watch,
            deferred=self.deferred,
            policies=ToolPolicies(name, values=engine.values, watch=self.watch),
            ttl_seconds=None,
            clock=system_clock,
        )

    async def left_seconds(self, key: str) -> float | None:
        batch = self.engine.values.batch()
        reply = batch.get_with_expiry(key)
        await batch.send()
        stored = reply.result()
        assert stored is not None
        return None if stored.left_ms is None else stored.left_ms / 1000

    async def counts(self) -> dict[str, int]:
        await self.deferred.flush()
        fields = await self.engine.values.read_map(f"{self.name}:__stats")
        return {field: int(value) for field, value in fields.items()}


@pytest.fixture
async def worker(engine: Engine, store_name: str) -> AsyncIterator[Worker]:
    made = Worker(engine, store_name)
    yield made
    await made.deferred.close()


async def test_a_call_with_the_same_arguments_is_made_once(worker: Worker) -> None:
    @worker.tool.cached()
    async def get_weather(city: str, units: str = "c", *, days: int = 1) -> str:
        worker.calls.append((city, units, days))
        return f"{city} {units} {days}"

    assert await get_weather("Sofia") == "Sofia c 1"
    for again in (
        get_weather("Sofia"),
        get_weather(city="Sofia"),
        get_weather("Sofia", "c"),
        get_weather(days=1, units="c", city="Sofia"),
    ):
        assert await again == "Sofia c 1"
    assert worker.calls == [("Sofia", "c", 1)]
    assert await get_weather("Sofia", "f") == "Sofia f 1"
    assert await get_weather("Sofia", days=2) == "Sofia c 2"
    assert len(worker.calls) == 3
    assert await worker.counts() == {
        "tool:hits": 4,
        "tool:misses": 3,
        "tool:get_weather:hits": 4,
        "tool:get_weather:misses": 3,
    }


async def test_the_entry_is_one_that_every_other_client_finds(worker: Worker) -> None:
    @worker.tool.cached(ttl=60, cost=0.25)
    async def get_weather(city: str, units: str = "c") -> str:
        return "sunny"

    await get_weather("Sofia")
    hit = await worker.tool.check("get_weather", {"units": "c", "city": "Sofia"})
    assert (hit.response, hit.key) == ("sunny", get_weather.cache_key("Sofia"))
    entry = json.loads(await worker.engine.values.get(get_weather.cache_key("Sofia")) or b"")
    assert (entry["toolName"], entry["args"], entry["cost"]) == ("get_weather", {"city": "Sofia", "units": "c"}, 0.25)
    assert await worker.left_seconds(get_weather.cache_key("Sofia")) == pytest.approx(60, abs=2)
    assert (await worker.counts())["tool:get_weather:cost_saved_micros"] == 250_000
    await worker.tool.store("get_weather", {"units": "k", "city": "Sofia"}, "stored by hand")
    assert await get_weather("Sofia", "k") == "stored by hand"


async def test_without_a_ttl_the_policy_holds(worker: Worker) -> None:
    @worker.tool.cached(name="forecast")
    async def anything() -> str:
        return "rain"

    await worker.tool.set_policy("forecast", ToolPolicy(33))
    await anything()
    assert await worker.left_seconds(anything.cache_key()) == pytest.approx(33, abs=2)
    assert (await worker.tool.check("forecast", None)).response == "rain"


# What comes back


async def test_a_text_is_kept_as_it_is_whatever_it_looks_like(worker: Worker) -> None:
    @worker.tool.cached()
    async def echo(text: str) -> str:
        worker.calls.append(text)
        return text

    for text in ('{"a": 1}', "12", "", "null", '"', "\x00", "日本"):
        assert await echo(text) == text
        assert await echo(text) == text
        assert (await worker.tool.check("echo", {"text": text})).response == text
    assert len(worker.calls) == 7


async def test_a_stated_type_comes_back_as_that_type(worker: Worker) -> None:
    @worker.tool.cached()
    async def forecast(city: str) -> list[Weather]:
        worker.calls.append(city)
        return [Weather(city=city, celsius=12, days=[date(2026, 11, 21)])]

    first, second = await forecast("Sofia"), await forecast("Sofia")
    assert first == second == [Weather(city="Sofia", celsius=12, days=[date(2026, 11, 21)])]
    # What a caller does with a result changes nobody else's.
    second[0].days.clear()
    assert await forecast("Sofia") == first
    assert worker.calls == ["Sofia"]


async def test_no_stated_type_brings_back_json_and_text(worker: Worker) -> None:
    @worker.tool.cached()
    async def anything(value: Any):
        worker.calls.append(value)
        return value

    values: list[Any] = [{"a": [1, None]}, "text", "12", 12, 12.5, None, [], True]
    for value in values:
        assert await anything(value) == value
        again = await anything(value)
        assert again == value
        assert type(again) is type(value)
    assert len(worker.calls) == 8


async def test_what_would_not_come_back_equal_is_handed_out_and_not_kept(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    @worker.tool.cached()
    async def pair(number: int):
        worker.calls.append(number)
        return (number, number)

    with caplog.at_level(logging.WARNING):
        for number in (1, 1, 2):
            assert await pair(number) == (number, number)
    assert worker.calls == [1, 1, 2]
    assert len([record for record in caplog.records if "pair was not kept" in record.getMessage()]) == 1
    assert not (await worker.tool.check("pair", {"number": 1})).hit


async def test_ones_own_encoding(worker: Worker) -> None:
    @worker.tool.cached(encode=lambda pair: f"{pair[0]},{pair[1]}", decode=lambda text: tuple(text.split(",")))
    async def pair() -> tuple[str, str]:
        worker.calls.append("pair")
        return ("a", "b")

    assert await pair() == await pair() == ("a", "b")
    assert worker.calls == ["pair"]
    assert (await worker.tool.check("pair", {})).response == "a,b"


async def test_a_text_that_does_not_fit_is_called_for_anew_and_replaced(worker: Worker) -> None:
    @worker.tool.cached()
    async def forecast(city: str) -> Weather:
        worker.calls.append(city)
        return Weather(city=city, celsius=1)

    await worker.tool.store("forecast", {"city": "Sofia"}, '{"town":"Sofia"}')
    assert await forecast("Sofia") == Weather(city="Sofia", celsius=1)
    assert await forecast("Sofia") == Weather(city="Sofia", celsius=1)
    assert worker.calls == ["Sofia"]
    assert await worker.counts() == {
        "tool:misses": 1,
        "tool:hits": 1,
        "tool:forecast:misses": 1,
        "tool:forecast:hits": 1,
    }
    assert worker.watch.background_failure_count == 1


async def test_nothing_is_a_result_and_an_exception_is_none(worker: Worker) -> None:
    @worker.tool.cached()
    async def find(city: str) -> Place | None:
        worker.calls.append(city)
        if city == "Atlantis":
            raise LookupError(city)
        return None

    assert await find("Nowhere") is None
    assert await find("Nowhere") is None
    for _ in range(2):
        with pytest.raises(LookupError):
            await find("Atlantis")
    assert worker.calls == ["Nowhere", "Atlantis", "Atlantis"]


# What is compared


async def test_arguments_need_not_be_hashable(worker: Worker) -> None:
    @worker.tool.cached()
    async def count(places: list[Place], by: dict[str, set[int]], weather: Weather | None = None) -> int:
        worker.calls.append(len(places))
        return len(places)

    sofia = Weather(city="Sofia", celsius=1)
    for _ in range(2):
        assert await count([Place("Sofia")], {"a": {2, 1}}, sofia) == 1
    assert await count([Place("Sofia")], {"a": {2, 1}}, Weather(city="Sofia", celsius=2)) == 1
    assert await count([Place("Sofia"), Place("Varna")], {}) == 2
    assert worker.calls == [1, 1, 2]


async def test_further_arguments_are_compared_under_their_own_names(worker: Worker) -> None:
    @worker.tool.cached()
    async def search(*words: str, **options: int) -> str:
        worker.calls.append((words, options))
        return f"{words} {options}"

    for _ in range(2):
        assert await search("a", "b", limit=1) == "('a', 'b') {'limit': 1}"
    assert await search() == "() {}"
    assert await search("a", words=1) == "('a',) {'words': 1}"
    assert len(worker.calls) == 3
    assert (await worker.tool.check("search", {"words": ["a", "b"], "options": {"limit": 1}})).hit
    assert (await worker.tool.check("search", {})).hit


async def test_methods_and_clients_are_left_out(worker: Worker) -> None:
    class Maps:
        @worker.tool.cached(skip=("self", "session"))
        async def find(self, city: str, session: object = None) -> str:
            worker.calls.append(city)
            return city

    first, second = Maps(), Maps()
    assert await first.find("Sofia", object()) == await second.find("Sofia", session=object()) == "Sofia"
    assert worker.calls == ["Sofia"]
    assert (await worker.tool.check("find", {"city": "Sofia"})).hit
    assert await first.find.invalidate(first, "Sofia")
    assert Maps.find.cache_key(first, "Sofia") == first.find.cache_key(second, "Sofia")
    assert_type(await Maps.find(first, "Sofia"), str)


async def test_key_says_what_makes_two_calls_the_same(worker: Worker) -> None:
    @worker.tool.cached(key=lambda city, client: {"city": city.lower()})
    async def find(city: str, client: object) -> str:
        worker.calls.append(city)
        return city

    assert await find("Sofia", object()) == await find("SOFIA", client=object()) == "Sofia"
    assert (await worker.tool.check("find", {"city": "sofia"})).hit


async def test_arguments_without_a_key_are_refused_before_the_call(worker: Worker) -> None:
    @worker.tool.cached()
    async def find(city: str, client: object) -> str:
        worker.calls.append(city)
        return city

    with pytest.raises(InvalidInputError, match=r"find.*client.*skip="):
        await find("Sofia", object())
    with pytest.raises(TypeError, match="client"):
        await find("Sofia")  # type: ignore[call-arg]
    assert worker.calls == []


async def test_a_function_that_changes_its_arguments_is_found_by_those_it_was_given(worker: Worker) -> None:
    @worker.tool.cached()
    async def drain(items: list[int]) -> int:
        total = sum(items)
        items.clear()
        worker.calls.append(total)
        return total

    assert await drain([1, 2]) == await drain([1, 2]) == 3
    assert worker.calls == [3]
    entry = json.loads(await worker.engine.values.get(drain.cache_key([1, 2])) or b"")
    assert entry["args"] == {"items": [1, 2]}


async def test_invalidate_makes_the_next_call_a_call(worker: Worker) -> None:
    @worker.tool.cached()
    async def now(zone: str = "UTC") -> int:
        worker.calls.append(zone)
        return len(worker.calls)

    assert await now() == await now() == 1
    assert await now.invalidate(zone="UTC") is True
    assert await now.invalidate() is False
    assert await now() == 2
    assert now.cache_key() == now.cache_key("UTC") != now.cache_key("EET")


# The decorator


async def test_the_function_stays_what_it_was_for_those_who_inspect_it(worker: Worker) -> None:
    async def get_weather(city: str, units: str = "c") -> Weather:
        """The weather."""
        return Weather(city=city, celsius=1)

    cached = worker.tool.cached()(get_weather)
    assert inspect.iscoroutinefunction(cached)
    assert cached.__name__ == "get_weather"
    assert cached.__doc__ == "The weather."
    assert inspect.signature(cached) == inspect.signature(get_weather)
    assert_type(await cached("Sofia", units="f"), Weather)
    assert_type(await cached.invalidate("Sofia"), bool)
    assert_type(cached.cache_key("Sofia"), str)


def plain(city: str) -> str:
    return city


async def one_by_one(city: str) -> AsyncIterator[str]:
    yield city


async def no_json() -> ToolCache:
    raise NotImplementedError


async def good(city: str) -> str:
    return city


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (plain, {}, "plain is no async function.*to_thread"),
        (one_by_one, {}, "one_by_one is no async function"),
        (no_json, {}, "ToolCache.*encode="),
        (good, {"skip": ("town",)}, "town.*good has no parameter"),
        (good, {"skip": "town"}, "skip= names town,"),
        (good, {"name": "a:b"}, "name=.*a:b"),
        (good, {"name": ""}, "name="),
        (functools.partial(good, "Sofia"), {}, "name="),
        (functools.partial(good, "Sofia"), {"name": "find"}, "partial.*find"),
        (good, {"encode": str}, "belong together"),
        (good, {"decode": str}, "belong together"),
        (good, {"key": str, "skip": ("city",)}, "leave skip= out"),
        (good, {"ttl": 0}, "ttl"),
        (good, {"ttl": 1.5}, "ttl"),
        (good, {"cost": -1}, "cost"),
    ],
)
def test_what_cannot_work_is_said_when_it_is_decorated(
    tmp_path: Path, function: Any, options: dict[str, Any], says: str
) -> None:
    worker = Worker(EmbeddedEngine(tmp_path / "memory.db"), "demo")
    with pytest.raises((ConfigurationError, InvalidInputError), match=says):
        worker.tool.cached(**options)(function)


async def test_a_partial_function_is_made_of_the_decorated_one(worker: Worker) -> None:
    find = worker.tool.cached(name="find")(good)
    assert await functools.partial(find, "Sofia")() == "Sofia"
    assert await functools.partial(find, city="Varna")() == "Varna"
    assert (await worker.tool.check("find", {"city": "Sofia"})).response == "Sofia"


async def test_two_functions_do_not_share_a_name_unasked(worker: Worker) -> None:
    def make(kind: str) -> Any:
        async def get(city: str) -> str:
            return kind + city

        return get

    async def get(city: str) -> str:
        return city

    worker.tool.cached()(make("a"))
    with pytest.raises(ConfigurationError, match="name="):
        worker.tool.cached()(get)
    assert await worker.tool.cached(name="get")(get)("x") == "x"


def factory(held: Any) -> Any:
    async def get(city: str) -> str:
        return f"{held}{city}"

    return get


def with_default(client: object) -> Any:
    async def get(city: str, client: object = client) -> str:
        return city

    return get


def either(first: bool) -> Any:
    if first:

        async def get(city: str) -> str:
            return city
    else:

        async def get(city: str) -> str:
            return city * 2

    return get


class Client:
    async def get(self, city: str) -> str:
        return city


@pytest.mark.parametrize(
    ("one", "other", "options"),
    [
        (factory("a"), factory("b"), {}),
        (factory(1), factory(True), {}),
        (factory(object()), factory(object()), {}),
        (with_default("a"), with_default("b"), {"skip": "client"}),
        (with_default("a"), with_default("b"), {"key": lambda city, **_: city}),
        (either(True), either(False), {}),
        (Client().get, Client().get, {}),
    ],
)
async def test_two_functions_of_one_place_that_hold_different_values_are_told_to_take_names(
    worker: Worker, one: Any, other: Any, options: dict[str, Any]
) -> None:
    worker.tool.cached(**options)(one)
    with pytest.raises(ConfigurationError, match=r"get.* different .*name="):
        worker.tool.cached(**options)(other)
    assert await worker.tool.cached(name="get", **options)(other)("x")


def around(function: Any) -> Any:
    @functools.wraps(function)
    async def retrying(*args: Any) -> Any:
        return await function(*args)

    return retrying


CLIENT = Client()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (factory("a"), factory("a")),
        (factory(CLIENT), factory(CLIENT)),
        (around(factory("a")), around(factory("a"))),
        # The value is compared with each call, as that of an argument.
        (with_default("a"), with_default("b")),
        (CLIENT.get, CLIENT.get),
    ],
)
async def test_a_function_may_be_decorated_again(worker: Worker, one: Any, other: Any) -> None:
    first, second = worker.tool.cached()(one), worker.tool.cached()(other)
    assert await first("x") == await second("x")


async def test_a_module_may_be_loaded_again_changed_or_not(worker: Worker) -> None:
    for source in ("return 'a'", "return 'a'", "return 'b' + city"):
        scope: dict[str, Any] = {"cached": worker.tool.cached, "__name__": "tools"}
        exec(f"@cached()\nasync def find(city: str) -> str:\n    {source}\n", scope)
    assert await scope["find"]("x") == "bx"


async def test_a_function_that_names_itself_may_be_decorated_again(worker: Worker) -> None:
    for _ in range(2):

        @worker.tool.cached()
        async def count_down(number: int) -> int:
            return 0 if number == 0 else await count_down(number - 1)

        assert await count_down(2) == 0


async def never(number: int) -> Missing:  # type: ignore[name-defined]  # noqa: F821
    return number


async def test_a_type_may_be_defined_after_the_function(worker: Worker) -> None:
    scope: dict[str, Any] = {"BaseModel": BaseModel, "cached": worker.tool.cached}
    source = (
        "@cached()\n"
        "async def later(number: int) -> 'Later':\n"
        "    return Later(number=number)\n"
        "class Later(BaseModel):\n"
        "    number: int\n"
    )
    exec(source, scope)
    first, second = await scope["later"](1), await scope["later"](1)
    assert first == second == scope["Later"](number=1)
    assert type(second) is scope["Later"]
    decorated = worker.tool.cached()(never)
    with pytest.raises(ConfigurationError, match=r"never.*Missing"):
        await decorated(1)


# One call for all


async def test_one_of_many_works_and_the_others_wait(valkey_server: ValkeyServer, store_name: str) -> None:
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(4)]
    workers = [Worker(engine, store_name) for engine in engines]
    calls: list[str] = []

    def decorated(worker: Worker) -> Any:
        @worker.tool.cached(single_flight=True, cost=0.5)
        async def forecast(city: str) -> list[str]:
            calls.append(city)
            await asyncio.sleep(0.3)
            return [city]

        return forecast

    functions = [decorated(worker) for worker in workers]
    results = await asyncio.gather(*[function("Sofia") for function in functions for _ in range(5)])
    assert results == [["Sofia"]] * 20
    assert calls == ["Sofia"]
    # Everyone has a list of their own.
    assert len({id(result) for result in results}) == 20
    for worker in workers:
        await worker.deferred.flush()
    counts = await workers[0].counts()
    assert counts["tool:hits"] == 19
    assert counts["cost_saved_micros"] == counts["tool:forecast:cost_saved_micros"] == 9_500_000
    for worker in workers:
        await worker.deferred.close()
        await worker.engine.close()


async def test_a_result_that_cannot_be_kept_is_shared_within_the_process(worker: Worker) -> None:
    @worker.tool.cached(single_flight=Patience(wait_seconds=5))
    async def pair(number: int):
        worker.calls.append(number)
        await asyncio.sleep(0.1)
        return (number, number)

    assert await asyncio.gather(*[pair(1) for _ in range(5)]) == [(1, 1)] * 5
    assert worker.calls == [1]


async def test_a_result_that_cannot_be_kept_is_nobody_elses_object(worker: Worker) -> None:
    @worker.tool.cached(single_flight=True)
    async def pairs(number: int):
        await asyncio.sleep(0.1)
        return [(number, number)]

    async def changed(number: int) -> Any:
        result = await pairs(number)
        before = list(result)
        result.append("mine")
        return before

    assert await asyncio.gather(*[changed(1) for _ in range(5)]) == [[(1, 1)]] * 5


async def test_what_has_no_copy_is_shared_as_it_is(worker: Worker) -> None:
    @worker.tool.cached(single_flight=True)
    async def numbers(upto: int):
        await asyncio.sleep(0.1)
        return (number for number in range(upto))

    one, other = await asyncio.gather(numbers(2), numbers(2))
    assert one is other


async def test_two_tools_asked_the_same_at_once_are_two_calls(valkey_server: ValkeyServer, engine: Engine) -> None:
    name = f"t{uuid4().hex}"
    other_engine = ValkeyEngine.from_url(valkey_server.url) if isinstance(engine, ValkeyEngine) else engine
    here, there = Worker(engine, name), Worker(other_engine, name)
    calling, answered = asyncio.Event(), asyncio.Event()

    @here.tool.cached(single_flight=True)
    async def weather(city: str) -> str:
        calling.set()
        await answered.wait()
        return f"weather of {city}"

    async def phone(city: str) -> str:
        return f"phone of {city}"

    slow = asyncio.create_task(weather("Sofia"))
    await calling.wait()
    # In this process, and in another: nobody waits for the other tool.
    async with asyncio.timeout(5):
        assert await here.tool.cached(single_flight=True)(phone)("Sofia") == "phone of Sofia"
        assert await there.tool.cached(single_flight=True, name="number")(phone)("Sofia") == "phone of Sofia"
    answered.set()
    assert await slow == "weather of Sofia"
    for worker in (here, there):
        await worker.deferred.close()
    if other_engine is not engine:
        await other_engine.close()


async def test_an_error_reaches_all_who_wait_and_is_not_kept(worker: Worker) -> None:
    @worker.tool.cached(single_flight=True)
    async def fail(number: int) -> str:
        worker.calls.append(number)
        await asyncio.sleep(0.1)
        raise LookupError("gone")

    outcomes = await asyncio.gather(*[fail(1) for _ in range(3)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert worker.calls == [1]
    with pytest.raises(LookupError):
        await fail(1)
    assert worker.calls == [1, 1]


async def test_without_single_flight_everybody_calls(worker: Worker) -> None:
    @worker.tool.cached()
    async def slow(number: int) -> int:
        worker.calls.append(number)
        await asyncio.sleep(0.05)
        return number

    assert await asyncio.gather(*[slow(1) for _ in range(3)]) == [1, 1, 1]
    assert worker.calls == [1, 1, 1]


async def test_round_trips(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        worker = Worker(ValkeyEngine.from_url(proxy.url), store_name)

        @worker.tool.cached()
        async def alone(number: int) -> int:
            return number

        @worker.tool.cached(single_flight=True)
        async def together(number: int) -> int:
            return number

        # Connected, and scripts loaded.
        await alone(0)
        await together(0)
        for function, number, expected in ((alone, 1, 2), (alone, 1, 1), (together, 1, 5), (together, 1, 1)):
            before = proxy.round_trips
            await function(number)
            assert proxy.round_trips - before == expected, (function.__name__, number)
        await worker.deferred.close()
        await worker.engine.close()


# Failures


@pytest.mark.parametrize("single_flight", [False, True])
async def test_without_a_server_the_function_is_called_all_the_same(
    store_name: str, single_flight: bool, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}"), store_name)

    @worker.tool.cached(single_flight=single_flight)
    async def find(city: str) -> str:
        worker.calls.append(city)
        return city

    assert await find("Sofia") == await find("Sofia") == "Sofia"
    assert worker.calls == ["Sofia", "Sofia"]
    assert worker.watch.background_failure_count >= 4
    assert "tool_check" in caplog.text
    await worker.engine.close()


async def test_a_refused_password_is_an_error(store_name: str) -> None:
    with ValkeyServer(search=False, password="right") as server:
        worker = Worker(ValkeyEngine.from_url(f"valkey://:wrong@127.0.0.1:{server.port}"), store_name)

        @worker.tool.cached()
        async def find(city: str) -> str:
            worker.calls.append(city)
            return city

        with pytest.raises(AuthenticationFailedError):
            await find("Sofia")
        assert worker.calls == []
        await worker.engine.close()
