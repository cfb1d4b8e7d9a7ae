"""Which calls are the same: the recorded keys of both packages, and what each difference comes from."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.caches.keys import (
    KEY_PARAMETERS,
    CacheKey,
    ignored_parameters,
    is_large,
    llm_key,
    llm_prefix,
    session_key,
    session_prefix,
    tool_key,
    tool_prefix,
)
from betterdb_agent_memory.caches.tool_order import tool_order
from tests.interop.replay import FIXTURES

VECTORS: dict[str, Any] = json.loads((FIXTURES / "hash_vectors.json").read_text())
LLM_VECTORS = [pytest.param(vector, id=vector["label"]) for vector in VECTORS["llm"]]
TOOL_VECTORS = [pytest.param(vector, id=vector["label"]) for vector in VECTORS["tool"]]
ALL_VECTORS = [*VECTORS["llm"], *VECTORS["tool"]]

REQUEST: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def given_of(vector: dict[str, Any]) -> Any:
    """What was given in a vector, with the parameters of a request under their Python names."""
    if "args_json" in vector:
        return json.loads(vector["args_json"])
    names = VECTORS["python_parameter_names"]
    return {names.get(name, name): value for name, value in json.loads(vector["params_json"]).items()}


def key_of(vector: dict[str, Any]) -> CacheKey:
    return llm_key("", given_of(vector)) if "params_json" in vector else tool_key("", "t", given_of(vector))


def hash_of(key: str) -> str:
    return key.rpartition(":")[2]


@pytest.mark.parametrize("vector", [*LLM_VECTORS, *TOOL_VECTORS])
def test_the_shared_key_is_the_one_of_the_typescript_package(vector: dict[str, Any]) -> None:
    key = key_of(vector)
    if "error" in vector["ts"]:
        assert reasons(vector) == {"tools without a function"}, "ours does not fail (F38)"
        assert hash_of(key.shared) == vector["python"]["hash"]
    elif reasons(vector) & MERGING:
        assert hash_of(key.merged or "") == vector["ts"]["hash"]
        assert hash_of(key.shared) == vector["python"]["hash"], "an answer to another call could be found else"
        assert key.loss
    else:
        assert hash_of(key.shared) == vector["ts"]["hash"]
        assert (key.loss, key.merged) == (None, None)


@pytest.mark.parametrize("vector", [*LLM_VECTORS, *TOOL_VECTORS])
def test_what_the_published_python_package_wrote_is_found(vector: dict[str, Any]) -> None:
    key = key_of(vector)
    if "hash" in vector["python"]:
        assert hash_of(key.python or key.shared) == vector["python"]["hash"]
    else:
        assert reasons(vector) == {"lone surrogate"}
        assert key.python is None
    if vector["agree"]:
        assert key.python is None, "one key to look up is enough"


def test_the_fixture_holds_what_it_says() -> None:
    assert (len(VECTORS["llm"]), len(VECTORS["tool"])) == (83, 73)
    assert [sum(vector["agree"] for vector in VECTORS[tier]) for tier in ("llm", "tool")] == [60, 44]


def parts(value: object) -> Iterator[object]:
    """A value and everything in it, names of members too."""
    yield value
    for member in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(member)


def numbers(vector: dict[str, Any], kind: type) -> list[Any]:
    return [part for part in parts(given_of(vector)) if type(part) is kind]


def texts(vector: dict[str, Any]) -> str:
    return "".join(part for part in parts(given_of(vector)) if isinstance(part, str))


def names(vector: dict[str, Any]) -> list[list[str]]:
    return [list(part) for part in parts(given_of(vector)) if isinstance(part, dict)]


def parameter(vector: dict[str, Any], name: str) -> Any:
    return given_of(vector).get(name) if "params_json" in vector else None


def has_null_parameter(vector: dict[str, Any]) -> bool:
    return "params_json" in vector and any(
        value is None and name in KEY_PARAMETERS and name != "tools" for name, value in given_of(vector).items()
    )


def has_otherwise_ordered_tools(vector: dict[str, Any]) -> bool:
    called = [tool["function"]["name"] for tool in parameter(vector, "tools") or () if "function" in tool]
    return sorted(called) != sorted(called, key=tool_order)


def has_index_names_out_of_order(vector: dict[str, Any]) -> bool:
    def index(name: str) -> bool:
        return name.isdecimal() and str(int(name)) == name and int(name) < 2**32 - 1

    return any(
        sorted(group) != [*sorted(filter(index, group), key=int), *sorted(name for name in group if not index(name))]
        for group in names(vector)
    )


def has_astral_names_out_of_order(vector: dict[str, Any]) -> bool:
    def utf16(name: str) -> bytes:
        return name.encode("utf-16-be", "surrogatepass")

    return any(sorted(group) != sorted(group, key=utf16) for group in names(vector))


REASONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "integral float below 1e21": lambda v: any(n.is_integer() and abs(n) < 1e21 for n in numbers(v, float)),
    "float below 1e-4 with one digit of exponent": lambda v: any(1e-9 <= abs(n) < 1e-4 for n in numbers(v, float)),
    "integer that no double holds": lambda v: any(float(n) != n for n in numbers(v, int)),
    "infinity": lambda v: any(abs(n) == float("inf") for n in numbers(v, float)),
    "names that are array indices": has_index_names_out_of_order,
    "names beyond the basic plane": has_astral_names_out_of_order,
    "member __proto__": lambda v: any("__proto__" in group for group in names(v)),
    "lone surrogate": lambda v: any("\ud800" <= character <= "\udfff" for character in texts(v)),
    "null parameter": has_null_parameter,
    "order of tools": has_otherwise_ordered_tools,
    "tools without a function": lambda v: (
        len(parameter(v, "tools") or ()) > 1 and any("function" not in tool for tool in parameter(v, "tools"))
    ),
}
"""Why the packages have different keys for a call (wire contract B.1 and B.2)."""

MERGING = {"integer that no double holds", "infinity", "member __proto__"}
"""Of these, where the TypeScript package has one key for calls that differ. Its key is not used then."""


def reasons(vector: dict[str, Any]) -> set[str]:
    return {reason for reason, applies in REASONS.items() if applies(vector)}


def test_every_disagreement_of_the_packages_has_a_reason_and_no_agreement_has_one() -> None:
    unexplained = [vector["label"] for vector in ALL_VECTORS if bool(reasons(vector)) == vector["agree"]]
    assert unexplained == []


def test_every_reason_is_needed() -> None:
    alone = [reasons(vector) for vector in ALL_VECTORS]
    assert [reason for reason in REASONS if {reason} not in alone] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2**53, 2**53 + 1),
        (1_212_092_628_029_698_048, 1_212_092_628_029_698_049),
        (float("inf"), None),
        (float("inf"), float("-inf")),
        (float("nan"), None),
        ({"__proto__": 1}, {}),
        (1, True),
        (1, "1"),
        (None, "null"),
        ([1, 2], [2, 1]),
        ({1, 2}, {1, 3}),
        ("é", "e\u0301"),
    ],
    ids=str,
)
def test_calls_that_differ_never_find_each_others_answers(one: object, other: object) -> None:
    keys = [tool_key("demo", "read", {"id": value}) for value in (one, other)]
    found = [{key.shared, key.python} - {None} for key in keys]
    assert not found[0] & found[1]


def test_what_typescript_cannot_tell_apart_has_the_exact_key() -> None:
    key = tool_key("demo", "read", {"id": 2**53 + 1})
    assert key.loss == "the integer 9007199254740993 at args.id"
    assert key.python is None
    assert key.merged == tool_key("demo", "read", {"id": 2**53}).shared != key.shared
    seeded = llm_key("demo", {**REQUEST, "seed": 2**53 + 1})
    assert seeded.merged == llm_key("demo", {**REQUEST, "seed": 2**53}).shared != seeded.shared
    assert seeded.loss == "the integer 9007199254740993 at seed"


@pytest.mark.parametrize(
    "same",
    [
        {"messages": [{"content": "hi", "role": "user"}], "model": "gpt-4o"},
        {**REQUEST, "messages": ({"role": "user", "content": "hi"},)},
        {**REQUEST, "temperature": 1.0, "top_p": None},
        {**REQUEST, "tools": None},
        {**REQUEST, "n": 5, "user": "u"},
    ],
)
def test_requests_that_are_the_same_share_a_key(same: dict[str, Any]) -> None:
    assert llm_key("demo", same).shared == llm_key("demo", REQUEST).shared


def test_every_parameter_of_the_key_changes_it() -> None:
    values = dict.fromkeys(KEY_PARAMETERS, "x") | {"messages": [], "tools": [], "temperature": 0.5, "top_p": 0.5}
    keys = {llm_key("demo", {**REQUEST, name: values[name]}).shared for name in KEY_PARAMETERS}
    assert len(keys) == len(KEY_PARAMETERS) == 12
    assert llm_key("demo", REQUEST).shared not in keys


def test_a_complete_key_takes_in_what_the_shared_key_ignores() -> None:
    given = {**REQUEST, "top_k": 5, "n": 2, "user": None}
    assert ignored_parameters(given) == ("n", "top_k")
    complete = llm_key("demo", given, complete=True)
    assert complete.shared != llm_key("demo", given).shared
    assert complete.shared != llm_key("demo", {**given, "n": 3}, complete=True).shared
    assert complete.python is None
    assert llm_key("demo", {**given, "temperature": 0.0}, complete=True).python is None, "nobody else asks for this"
    exact = [llm_key("demo", {**given, "seed": 2**53 + 1, "n": n}, complete=True) for n in (2, 3)]
    assert exact[0].loss
    assert exact[0].shared != exact[1].shared
    assert complete == llm_key("demo", dict(reversed(given.items())), complete=True)


@pytest.mark.parametrize("vector", LLM_VECTORS)
def test_a_complete_key_of_a_request_with_known_parameters_is_the_shared_one(vector: dict[str, Any]) -> None:
    params = {name: value for name, value in given_of(vector).items() if name in KEY_PARAMETERS}
    assert ignored_parameters(params) == ()
    assert llm_key("demo", params, complete=True) == llm_key("demo", params)


def test_a_parameter_under_both_of_its_names_is_refused_in_a_complete_key() -> None:
    both = {**REQUEST, "tool_choice": "auto", "toolChoice": "none"}
    assert ignored_parameters(both) == ("toolChoice",)
    with pytest.raises(InvalidInputError, match="toolChoice and tool_choice are one member"):
        llm_key("demo", both, complete=True)
    only = {**REQUEST, "toolChoice": "none"}
    assert llm_key("demo", only, complete=True) == CacheKey(llm_key("demo", {**REQUEST, "tool_choice": "none"}).shared)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"messages": []}, "params must have model, a text"),
        ({"model": None, "messages": []}, "params must have model, a text"),
        ({"model": "m"}, "params must have messages, a list"),
        ({"model": "m", "messages": "hi"}, "params must have messages, a list; got 'hi'"),
        ({"model": "m", "messages": [], "tools": {"a": 1}}, "params must have tools, a list"),
        ({"model": "m", "messages": [], "tools": ["a"]}, r"tools\[0\] must be a mapping"),
        ({"model": "m", "messages": [{"content": b"x"}]}, r"messages\[0\].content is or has a bytes"),
        ({"model": "m", "messages": [], "tool_choice": {"f": len}}, r"tool_choice.f is or has a builtin_function"),
        ({"model": "m", "messages": [], "tools": [{"name": "a", "x": object()}]}, r"tools\[0\].x is or has a object"),
        ("model", "params must be a mapping"),
    ],
)
def test_a_request_that_cannot_be_one_is_refused(params: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        llm_key("demo", params)


class Message(BaseModel):
    role: str
    content: str


@dataclass
class Params:
    model: str
    messages: list[Message]
    temperature: float = 0.5
    top_k: int | None = None
    names: set[str] = field(default_factory=set)


def test_objects_with_the_members_of_a_request_will_do() -> None:
    made = Params("gpt-4o", [Message(role="user", content="hi")])
    plain = llm_key("demo", {**REQUEST, "temperature": 0.5})
    assert llm_key("demo", made) == plain  # type: ignore[arg-type]
    assert ignored_parameters(made) == ("names",)  # type: ignore[arg-type]
    assert llm_key("demo", {**REQUEST, "temperature": 0.5, "messages": made.messages}) == plain


def function(name: str, **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **members}}


class Part(BaseModel):
    type: str


class TextPart(Part):
    text: str


class Said(BaseModel):
    role: str
    content: list[Part]
    tenant: str = Field("t", exclude=True)


def test_what_a_model_declares_otherwise_or_excludes_is_in_the_key() -> None:
    """`model_dump` leaves both out, and an answer to one question was found for another."""

    def asked(text: str, tenant: str = "t") -> Said:
        return Said(role="user", content=[TextPart(type="text", text=text)], tenant=tenant)

    messages = [asked("one"), asked("two"), asked("one", "u")]
    assert len({llm_key("demo", {**REQUEST, "messages": [message]}).shared for message in messages}) == 3
    assert len({tool_key("demo", "t", {"said": message}).shared for message in messages}) == 3
    plain = {"role": "user", "content": [{"type": "text", "text": "one"}], "tenant": "t"}
    assert tool_key("demo", "t", asked("one")) == tool_key("demo", "t", plain)


@dataclass(slots=True)
class Rows:
    rows: list[Any]


class Title(str):
    __slots__ = ()


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 300_000,
        Title("x" * 300_000),
        {"messages": [{"content": "word " * 100} for _ in range(1_000)]},
        [[1.0, 2.0, 3.0]] * 1_000,
        dict.fromkeys(map(str, range(5_000))),
        MappingProxyType(dict.fromkeys(map(str, range(5_000)))),
        set(range(5_000)),
        range(9**9),
        deque([0] * 5_000),
        np.zeros((100, 100)),
        np.array([None, "x" * 300_000]),
        {"a": Rows([1] * 5_000)},
        {"a": [Said(role="user", content=[TextPart(type="text", text="x" * 300_000)])]},
        [Said(role="user", content=[])] * 300,
        ENDLESS,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_whose_key_takes_long_is_large(value: object) -> None:
    assert is_large(value)


@pytest.mark.parametrize(
    "value",
    [
        REQUEST,
        {**REQUEST, "messages": [{"role": "user", "content": "word " * 200}] * 100},
        {**REQUEST, "messages": [Said(role="user", content=[])] * 20, "tools": [function("f")] * 60},
        {"n": np.zeros(100), "zero": np.array(5), "object": np.array(None), "rows": Rows([1, None]), "b": b"x" * 10**6},
        {"set": {1}, "client": object(), "type": Rows, "lone": "\ud800", "iterator": iter([1])},
        None,
        5,
    ],
)
def test_the_value_of_an_ordinary_call_is_not_large_and_is_not_judged(value: object) -> None:
    assert not is_large(value)


def tools_of(key_params: list[Any]) -> CacheKey:
    return llm_key("demo", {**REQUEST, "tools": key_params})


def test_tools_are_the_same_in_any_order_of_different_names() -> None:
    tools = [function("b"), {"name": "a", "input_schema": {}}, function("C"), {"type": "web_search"}]
    assert {tools_of(order).shared for order in (tools, tools[::-1], tools[2:] + tools[:2])} == {tools_of(tools).shared}
    assert {tools_of(order).python for order in (tools, tools[::-1])} == {tools_of(tools).python}


def test_tools_of_one_name_keep_their_order() -> None:
    tools = [function("x", v=1), function("x", v=2)]
    assert tools_of(tools).shared != tools_of(tools[::-1]).shared


@pytest.mark.parametrize(
    "tools",
    [[{"type": "web_search"}, {"type": "file_search"}], [{"function": None}, {"function": {"name": 5}}], [{}, {}]],
)
def test_tools_need_no_names(tools: list[Any]) -> None:
    assert tools_of(tools).shared.startswith("demo:llm:")


ICU_ORDER = [
    *("\t", " ", "_", "_x", "-", ",", ";", ":", "!", "?", ".", "'", '"', "(", ")", "[", "]", "{", "}", "@", "*", "/"),
    *("\\", "&", "#", "%", "`", "^", "+", "<", "=", ">", "|", "~", "$", "0", "1", "10", "2", "a", "A", "á", "a_b"),
    *("a-b", "a.b", "a1", "aa", "aA", "Aa", "AA", "áa", "ab", "Ab", "B", "e", "E", "é", "É", "è", "ê", "ea", "eá"),
    *("éa", "get_b", "get_B", "getA", "getb", "o", "ö", "ő", "õ", "ō", "ọ", "ộ", "of", "z", "ż", "Zeta"),
]
"""What `localeCompare` of Node.js 20 (ICU 78, en-US) makes of these names."""


@given(st.permutations(ICU_ORDER))
def test_names_are_in_the_root_order_of_unicode(names: list[str]) -> None:
    assert sorted(names, key=tool_order) == ICU_ORDER


@given(st.permutations(["a", "z", "ж", "中", "🙂", "\ud800", "ß"]))
def test_other_characters_come_after_z_in_order_of_code_points(names: list[str]) -> None:
    assert sorted(names, key=tool_order) == ["a", "z", "ß", "ж", "中", "\ud800", "🙂"]


def test_controls_do_not_count() -> None:
    assert tool_order("a\x00b\x7f") == tool_order("ab")
    assert tool_order("\x1fé") == tool_order("é")


def test_no_arguments_are_an_empty_mapping() -> None:
    assert (
        tool_key("demo", "now", None)
        == tool_key("demo", "now", {})
        == CacheKey("demo:tool:now:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    )


@pytest.mark.parametrize("tool", ["a:b", ":", "", None, 5, "\ud800"])
def test_a_tool_name_that_cannot_be_part_of_a_key_is_refused(tool: Any) -> None:
    with pytest.raises(InvalidInputError, match="a tool's name"):
        tool_key("demo", tool, {})


def test_arguments_without_a_form_are_refused_with_their_path() -> None:
    with pytest.raises(InvalidInputError, match=r"args\.rows\[1\] is or has a bytes"):
        tool_key("demo", "read", {"rows": [1, b"x"]})


def test_keys_are_laid_out_as_the_contract_says() -> None:
    assert llm_prefix("n") == "n:llm:"
    assert tool_prefix("n", "t") == "n:tool:t:"
    assert session_prefix("n", "a") == "n:session:a:"
    assert session_key("n", "a", "b:c") == "n:session:a:b:c"
    assert llm_key("n", REQUEST).shared.startswith("n:llm:")
    assert tool_key("n", "t", {}).shared.startswith("n:tool:t:")
