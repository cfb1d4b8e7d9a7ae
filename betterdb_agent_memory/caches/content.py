"""What a request to a language model and its answer are made of, as plain mappings.

Any mapping with these members will do; the types are here for editors and type checkers. Parameters
have Python names, while members of messages and blocks have the camelCase ones in every language,
because they take part in the key as they are given.

    params: LlmCacheParams = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Is the station far?"}]}],
        "temperature": 0,
    }
"""

# Annotations are not postponed in this module: at run time, too, each type knows which of its members may be left out.

from typing import Any, Literal, NotRequired, Required, TypeAlias, TypedDict

BinaryKind: TypeAlias = Literal["image", "audio", "document"]


class CacheControlHint(TypedDict, total=False):
    """Where Anthropic's own prompt cache may cut, and for how long it keeps what is before."""

    type: Required[Literal["ephemeral"]]
    ttl: Literal["5m", "1h"]


class BlockHints(TypedDict, total=False):
    """What a provider is told about a block beside its content; it takes part in the key."""

    anthropicCacheControl: CacheControlHint


class TextBlock(TypedDict):
    """Text."""

    type: Literal["text"]
    text: str
    hints: NotRequired[BlockHints]


class BinaryBlock(TypedDict):
    """An image, a sound or a document, by a reference instead of its bytes (`references.py` makes them)."""

    type: Literal["binary"]
    kind: BinaryKind
    mediaType: str
    ref: str
    detail: NotRequired[Literal["auto", "low", "high", "original"]]
    filename: NotRequired[str]
    hints: NotRequired[BlockHints]


class ToolCallBlock(TypedDict):
    """The model asks for a tool; `args` are its parsed arguments."""

    type: Literal["tool_call"]
    id: str
    name: str
    args: Any
    hints: NotRequired[BlockHints]


class ToolResultBlock(TypedDict):
    """What a tool that the model asked for came back with."""

    type: Literal["tool_result"]
    toolCallId: str
    content: list[TextBlock | BinaryBlock]
    isError: NotRequired[bool]
    hints: NotRequired[BlockHints]


class ReasoningBlock(TypedDict):
    """What a model thought before it answered, or the provider's sealed form of it."""

    type: Literal["reasoning"]
    text: str
    opaqueSignature: NotRequired[str]
    redacted: NotRequired[bool]
    hints: NotRequired[BlockHints]


ContentBlock: TypeAlias = TextBlock | BinaryBlock | ToolCallBlock | ToolResultBlock | ReasoningBlock
"""One part of a message or of an answer; its `type` says which."""


class LlmCacheMessage(TypedDict, total=False):
    """One message of a conversation. Members that are not named here take part in the key as well."""

    role: Required[Literal["system", "user", "assistant", "tool"]]
    content: Required[str | list[ContentBlock]]
    toolCallId: str
    name: str


class ToolDefinition(TypedDict):
    """A tool that the model may ask for; `function` has its name, description and JSON schema."""

    type: str
    function: dict[str, Any]


class LlmCacheParams(TypedDict, total=False):
    """The parameters that make up the key of a request (`keys.py` says how)."""

    model: Required[str]
    messages: Required[list[LlmCacheMessage]]
    temperature: float
    top_p: float
    max_tokens: int
    tools: list[ToolDefinition]
    tool_choice: Any
    seed: int
    stop: list[str]
    response_format: Any
    reasoning_effort: str
    prompt_cache_key: str
