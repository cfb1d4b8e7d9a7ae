"""Deterministic embeddings for tests: 8 numbers from the text itself."""

from __future__ import annotations

import hashlib

DIMENSIONS = 8


async def embed(text: str) -> list[float]:
    """`v(1,0,...)` at the start of a text is its vector; any other text gives 8 numbers of its SHA-256."""
    if text.startswith("v("):
        return [float(number) for number in text[2 : text.index(")")].split(",")]
    digest = hashlib.sha256(text.encode()).digest()
    return [(byte - 128) / 128 for byte in digest[:DIMENSIONS]]


def at_angle(cosine: float, about: str = "") -> str:
    """A text whose vector has this cosine with `v(1,0,0,0,0,0,0,0)`."""
    return f"v({cosine!r},{(1 - cosine * cosine) ** 0.5!r},0,0,0,0,0,0) {about}"


AHEAD = "v(1,0,0,0,0,0,0,0)"
