"""Roles in a chat, which are no names: whoever asks about a user does not ask what "user" has said."""

from __future__ import annotations

from typing import Final

ROLES: Final = frozenset(
    {
        "agent",
        "ai",
        "assistant",
        "bot",
        "developer",
        "function",
        "human",
        "model",
        "system",
        "tool",
        "user",
    }
)


def is_role(speaker: str) -> bool:
    """Whether a speaker is called by a role, whatever its case.

    >>> is_role("Assistant"), is_role("Maya")
    (True, False)
    """
    return speaker.strip().casefold() in ROLES
