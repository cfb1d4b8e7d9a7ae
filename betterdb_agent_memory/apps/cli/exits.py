"""How a command ends, and which error ends it how."""

from __future__ import annotations

from enum import IntEnum

from betterdb_agent_memory import (
    AgentMemoryError,
    ConfigurationError,
    EmbeddingError,
    EngineError,
    IndexMismatchError,
    InvalidInputError,
)
from betterdb_agent_memory.errors import (
    ConsolidationError,
    LeaseHeldError,
    LeaseLostError,
    MemoryExistsError,
    MemoryNotFoundError,
    SupersededError,
    VersionConflictError,
)


class Exit(IntEnum):
    """What a shell is told."""

    OK = 0
    NOTHING = 1
    USAGE = 2
    REFUSED = 3
    FAILED = 4
    PARTLY = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """What it says, for the documentation."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "done",
    Exit.NOTHING: "nothing was found, or no memory has the id",
    Exit.USAGE: "the command was not understood, or needed a confirmation that it did not get",
    Exit.REFUSED: (
        "the configuration or the input was refused, there is no such file, the id is taken, "
        "the memory is another version, or another worker holds the lease; nothing was changed"
    ),
    Exit.FAILED: (
        "the server, the file, the embedder or the language model failed, the lease was lost on the way, or it is a bug"
    ),
    Exit.PARTLY: "a part was done; the rest is named on stderr",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
    Exit.PIPE_CLOSED: "whoever read the output stopped reading",
    Exit.TERMINATED: "ended with SIGTERM, tidily as with Ctrl-C",
}

_ENDS: tuple[tuple[type[AgentMemoryError], Exit], ...] = (
    (MemoryNotFoundError, Exit.NOTHING),
    (InvalidInputError, Exit.REFUSED),
    (ConfigurationError, Exit.REFUSED),
    (IndexMismatchError, Exit.REFUSED),
    (MemoryExistsError, Exit.REFUSED),
    (SupersededError, Exit.REFUSED),
    (VersionConflictError, Exit.REFUSED),
    (LeaseHeldError, Exit.REFUSED),
    (LeaseLostError, Exit.FAILED),
    (ConsolidationError, Exit.FAILED),
    (EmbeddingError, Exit.FAILED),
    (EngineError, Exit.FAILED),
)


def exit_of(error: AgentMemoryError) -> Exit:
    """How a command ends that this error ended."""
    return next((end for kind, end in _ENDS if isinstance(error, kind)), Exit.FAILED)
