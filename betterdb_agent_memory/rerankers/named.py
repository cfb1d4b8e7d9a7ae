"""A reranker from one word of a command line, a file or the environment."""

from __future__ import annotations

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.rerankers.base import Reranker
from betterdb_agent_memory.rerankers.fast_embed import DEFAULT_MODEL, FastEmbedReranker


def reranker_from_name(name: str) -> Reranker:
    """The reranker that `name` stands for: `fastembed` or `fastembed:MODEL`, a `FastEmbedReranker`.

    The name that it states stands for it as well. Nothing is fetched or loaded yet.

    Raises `ConfigurationError` for a name that stands for nothing, and for a package that is missing (it says
    which command installs it).
    """
    kind, colon, model = str(name).strip().partition(":")
    if kind != "fastembed" or (colon and not model):
        raise ConfigurationError(
            f"no reranker is named {name!r}; known is fastembed:MODEL, as fastembed:{DEFAULT_MODEL}"
        )
    return FastEmbedReranker(model) if model else FastEmbedReranker()


async def close_reranker(reranker: Reranker) -> None:
    """Close the connections or the thread of a reranker that has some; others have nothing to close."""
    close = getattr(reranker, "aclose", None)
    if close is not None:
        await close()
