"""What goes into an embedder and what comes out of it, as far as no vector has to be read for it."""

from __future__ import annotations

from collections.abc import Iterable

from betterdb_agent_memory.errors import EmbeddingError, InvalidInputError


def refuse_miscount(name: str, vectors: object, count: int) -> None:
    """Raise `EmbeddingError` unless `vectors`, an answer of the embedder `name`, are `count` of something."""
    try:
        found = len(vectors)  # type: ignore[arg-type]
    except TypeError as error:
        raise EmbeddingError(
            f"embedder {name} returned {type(vectors).__name__}, expected a list of vectors"
        ) from error
    if found != count:
        texts = "text" if count == 1 else "texts"
        raise EmbeddingError(f"embedder {name} returned {found} vectors for {count} {texts}")


def refuse_what_is_not_text(texts: Iterable[object]) -> None:
    """Raise `InvalidInputError` for what is no text, or holds half of a surrogate pair."""
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInputError(f"a text to embed is a str, got {type(text).__name__}")
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as cause:
            raise InvalidInputError(
                f"the text holds a lone surrogate at position {cause.start}, which is no character; "
                "decode it with errors='replace' or remove it"
            ) from cause
