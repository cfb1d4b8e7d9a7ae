"""The keys of the short-term tiers: which requests are the same.

The key of a request to a language model is a hash over an object with these members (wire contract B.2):

| member | from the parameter | if it is absent | if it is None |
|---|---|---|---|
| `model`, `messages` | of that name | refused | refused |
| `temperature`, `top_p` | of that name | 1 | 1 |
| `tools` | `tools`, in the order of their names | left out | left out |
| `max_tokens`, `seed`, `stop` | of that name | left out | `null` |
| `toolChoice`, `responseFormat`, `reasoningEffort`, `promptCacheKey` | `tool_choice` and so on | left out | `null` |

Messages enter whole, with members that nobody has heard of. Other parameters do not enter, because the
other packages would not find the answer then; `ignored_parameters` names them, and `complete=True` takes
them in. The published Python package treats None the other way round, writes numbers in another spelling
and sorts tools otherwise, so that its key for the same request can be another one (`CacheKey.python`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from betterdb_agent_memory.caches.canonical import hexadecimal_hash, json_value, python_json, spelled, spelled_members
from betterdb_agent_memory.caches.json_values import members_held
from betterdb_agent_memory.caches.tool_names import checked_tool_name
from betterdb_agent_memory.caches.tool_order import tool_order
from betterdb_agent_memory.errors import InvalidInputError

_MEMBERS: Final = {
    "model": "model",
    "messages": "messages",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "tools": "tools",
    "tool_choice": "toolChoice",
    "seed": "seed",
    "stop": "stop",
    "response_format": "responseFormat",
    "reasoning_effort": "reasoningEffort",
    "prompt_cache_key": "promptCacheKey",
}
_OPTIONAL: Final = {
    parameter: member
    for parameter, member in _MEMBERS.items()
    if parameter not in {"model", "messages", "temperature", "top_p", "tools"}
}

KEY_PARAMETERS: Final = tuple(_MEMBERS)
"""The parameters that take part in the shared key of a request to a language model."""

_LARGE: Final = 256 * 1024
"""From how many characters on a value is large."""
_MEMBER: Final = 128
"""How many characters of text take as long as one member of a dict or list."""
_CONVERTED_MEMBER: Final = 4 * _MEMBER
"""And as one of anything else."""
_FAST: Final = frozenset({dict, list})
_SMALL: Final = frozenset({int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where the answer to a call is kept.

    `shared` is what an entry is written under, and looked up under first: the TypeScript package's key.
    `python` is where the published Python package keeps the same answer, None where that is the same key.

    Some values the TypeScript spelling cannot tell from others: an integer beyond 2^53 that no double holds,
    an infinity, a member called `__proto__`. An answer found under its key may belong to another call.
    Then `shared` is the key in the published Python package's spelling, which is exact, and `python` is None;
    `loss` says what would be lost and where, and `merged` is the TypeScript package's key, for information.
    """

    shared: str
    python: str | None = None
    loss: str | None = None
    merged: str | None = None


def llm_key(name: str, params: Mapping[str, Any], *, complete: bool = False) -> CacheKey:
    """The key of a request to a language model in the cache `name`. No I/O.

    `params` are as in `LlmCacheParams`; a dataclass or a pydantic model with such members will do. With
    `complete`, every further parameter that is not None enters the key under its own name. A request that
    has none keeps the key that all packages share.

    Raises:
        InvalidInputError: a parameter that must be there is not, or has no form in a key; the error has its path.

    >>> params = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "top_k": 5}
    >>> llm_key("demo", params).shared
    'demo:llm:e3cbf071dae700862c859c73a1f0970dc59661dd8c6481c0c933a5b5baf5903b'
    >>> llm_key("demo", params, complete=True).shared
    'demo:llm:15a470b5ba078ec89e95ba300e51e3da5d656ff0d3f3b57f6eb2cebf536fec1a'
    """
    given = _parameters(params)
    request = _Spellings()
    request.add("model", _text(given, "model"))
    request.add("messages", _list(given, "messages"))
    for parameter in ("temperature", "top_p"):
        request.add_defaulting_to_one(parameter, given)
    if given.get("tools") is not None:
        request.add_tools(_list(given, "tools"))
    for parameter, member in _OPTIONAL.items():
        if parameter in given:
            request.add(member, given[parameter], parameter)
    extra = _beyond_the_key(given) if complete else []
    for parameter in extra:
        request.add_extra(parameter, given[parameter])
    return request.key(llm_prefix(name), published=not extra)


def tool_key(name: str, tool: str, args: object) -> CacheKey:
    """The key of a call of `tool` in the cache `name`; no arguments (None) count as an empty mapping. No I/O.

    Raises:
        InvalidInputError: the tool's name has a colon, or something in `args` has no form in a key; the error
            has its path.

    >>> tool_key("demo", "now", None).shared
    'demo:tool:now:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    """
    prefix = tool_prefix(name, checked_tool_name(tool))
    arguments = {} if args is None else args
    spelling = spelled(arguments, root="args")
    python = spelling.python or python_json(arguments).encode()
    return _key(prefix, spelling.utf8, python, spelling.loss)


def is_large(value: object) -> bool:
    """Whether making a key of `value` takes so long (more than about 2 ms) that an event loop must not wait for it.

    A look at no more than a few thousand members, whatever the value is: nothing is converted or refused.

    >>> is_large({"messages": [{"role": "user", "content": "hi"}]}), is_large(["x" * 1_000_000]), is_large(range(9**9))
    (False, True, True)
    """
    left = _LARGE - _MEMBER
    unseen = [value]
    for item in unseen:  # which grows meanwhile
        if isinstance(item, str):
            left -= len(item)
        elif type(item) not in _SMALL:
            members = members_held(item)
            left -= len(members) * (_MEMBER if type(item) in _FAST else _CONVERTED_MEMBER)
            if left >= 0:
                unseen.extend(members)
        if left < 0:
            return True
    return False


def ignored_parameters(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters of a request that do not take part in its shared key, in alphabetical order.

    None counts as absent.

    >>> ignored_parameters({"model": "m", "messages": [], "top_k": 5, "user": None, "n": 2})
    ('n', 'top_k')
    """
    return tuple(_beyond_the_key(_parameters(params)))


def llm_prefix(name: str) -> str:
    """What the keys of all answers of the cache `name` begin with."""
    return f"{name}:llm:"


def tool_prefix(name: str, tool: str) -> str:
    """What the keys of all results of `tool` begin with."""
    return f"{name}:tool:{tool}:"


def session_prefix(name: str, thread: str) -> str:
    """What the keys of all fields of `thread` begin with; so do those of a thread called `{thread}:...`."""
    return f"{name}:session:{thread}:"


def session_key(name: str, thread: str, field: str) -> str:
    """The key of one field of a thread."""
    return f"{session_prefix(name, thread)}{field}"


class _Spellings:
    """The members of a request in both spellings: as TypeScript writes them, and as published Python does."""

    __slots__ = ("_loss", "_python", "_shared")

    def __init__(self) -> None:
        self._shared: dict[str, bytes] = {}
        self._python: dict[str, bytes] = {}
        self._loss: str | None = None

    def add(self, member: str, value: object, parameter: str = "") -> None:
        if value is None:
            self._shared[member] = b"null"
        else:
            self._shared[member], self._python[member] = self._spelled(value, parameter or member)

    def add_defaulting_to_one(self, parameter: str, given: Mapping[str, Any]) -> None:
        if given.get(parameter) is None:
            self._shared[parameter] = b"1"
            self._python[parameter] = b"null" if parameter in given else b"1"
        else:
            self.add(parameter, given[parameter])

    def add_tools(self, tools: Sequence[Any]) -> None:
        named = [(_tool_name(tool, number), tool) for number, tool in enumerate(tools)]
        ordered = _in_order(named, tool_order)
        self._shared["tools"], self._python["tools"] = self._spelled(ordered, "tools")
        others = _in_order(named, str)
        if others != ordered:
            self._python["tools"] = python_json(others).encode()

    def add_extra(self, parameter: str, value: object) -> None:
        if parameter in self._shared:
            raise InvalidInputError(
                f"{parameter} and {_parameter_of(parameter)} are one member of the key; pass only the latter"
            )
        self._shared[parameter], self._python[parameter] = self._spelled(value, parameter)

    def key(self, prefix: str, *, published: bool) -> CacheKey:
        """`published` says that the published Python package can have made a key of this request."""
        shared = spelled_members(self._shared)
        same = not published and self._loss is None
        python = shared if same or self._python == self._shared else spelled_members(self._python)
        return _key(prefix, shared, python, self._loss)

    def _spelled(self, value: object, root: str) -> tuple[bytes, bytes]:
        spelling = spelled(value, root=root)
        self._loss = self._loss or spelling.loss
        return spelling.utf8, spelling.python or python_json(value).encode()


def _key(prefix: str, shared: bytes, python: bytes, loss: str | None) -> CacheKey:
    key = f"{prefix}{hexadecimal_hash(shared)}"
    if python == shared:
        return CacheKey(key)
    exact = f"{prefix}{hexadecimal_hash(python)}"
    return CacheKey(key, exact) if loss is None else CacheKey(exact, None, loss, key)


def _parameters(params: object) -> Mapping[str, Any]:
    if isinstance(params, Mapping):
        return params
    value = json_value(params, root="params")
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"params must be a mapping with model and messages, see LlmCacheParams; got {params!r:.80}"
        )
    return value


def _beyond_the_key(given: Mapping[str, Any]) -> list[str]:
    for parameter in given:
        if not isinstance(parameter, str):
            raise InvalidInputError(f"names of parameters are text, got {parameter!r:.80}")
    return sorted(parameter for parameter, value in given.items() if parameter not in _MEMBERS and value is not None)


def _text(given: Mapping[str, Any], parameter: str) -> str:
    value = given.get(parameter)
    if not isinstance(value, str):
        raise InvalidInputError(f"params must have {parameter}, a text; got {value!r:.80}")
    return value


def _list(given: Mapping[str, Any], parameter: str) -> Sequence[Any]:
    value = given.get(parameter)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        raise InvalidInputError(f"params must have {parameter}, a list; got {value!r:.80}")
    return value


def _in_order(named: Sequence[tuple[str, Any]], order: Callable[[str], Any]) -> list[Any]:
    """Tools in the order of their names; those of one name stay in the order given."""
    return [tool for _, tool in sorted(named, key=lambda pair: order(pair[0]))]


def _tool_name(tool: object, number: int) -> str:
    """What a tool is sorted by: `function.name`, else `name`, else nothing."""
    if not isinstance(tool, Mapping):
        tool = json_value(tool, root=f"tools[{number}]")
    if not isinstance(tool, Mapping):
        raise InvalidInputError(f"tools[{number}] must be a mapping, see ToolDefinition; got {tool!r:.80}")
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    name = tool.get("name") if name is None else name
    return name if isinstance(name, str) else ""


def _parameter_of(member: str) -> str:
    return next(parameter for parameter, name in _MEMBERS.items() if name == member)
