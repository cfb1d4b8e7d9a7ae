"""Turns of a conversation: how they are keyed, and the window of neighbours that each one's vector stands for.

Pure functions. A turn alone says little ("yes, that one"). So its vector is mixed from its own text and from the
turns before and after it in the same session: half itself, half the sum of the three. Scores are linear in the
vector, so no second vector is needed. Measured on LoCoMo: 2.5 points of recall@10 (docs/conversations.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.vectors import decode_float32, encode_float32
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.roles import is_role
from betterdb_agent_memory.memory.scope import MemoryScope

OWN_SHARE: Final = 0.5
"""How much of a turn's vector is its own; the rest is the sum of its window, itself included."""

TURN_FIELDS: Final = (
    record.CONTENT,
    record.SESSION,
    record.TURN,
    record.SPEAKER,
    record.THREAD,
    record.AGENT,
    record.NAMESPACE,
)
"""What has to be read of a memory, and of its neighbours, to know its window."""

_TURN_ID: Final = re.compile(r"([0-9a-f]{32})-([0-9]{6,18})")


def session_key(session: str, scope: MemoryScope) -> str:
    """What the ids of a session's turns begin with.

    The first 32 hexadecimal digits of the SHA-256 of the JSON array of thread, agent, namespace and session (UTF-8, no
    blanks): sessions of one name in different scopes are different ones.
    """
    parts = [scope.thread_id, scope.agent_id, scope.namespace, session]
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def turn_id(key: str, turn: int) -> str:
    """The id of a turn, counted from 0; ids sort as turns do, up to a million of them.

    >>> turn_id("0" * 32, 7)
    '00000000000000000000000000000000-000007'
    """
    return f"{key}-{turn:06d}"


def ids_around(id: str, reach: int = 1) -> list[str]:
    """The ids of the turns up to `reach` places before and after this one; none for an id that is no turn's.

    >>> ids_around(turn_id("0" * 32, 0))
    ['00000000000000000000000000000000-000001']
    >>> ids_around("a-fact")
    []
    """
    found = _TURN_ID.fullmatch(id)
    if found is None:
        return []
    key, turn = found[1], int(found[2])
    return [turn_id(key, other) for other in range(max(turn - reach, 0), turn + reach + 1) if other != turn]


def all_around(ids: Sequence[str], reach: int = 1) -> list[str]:
    """The ids of the turns around these that are not among these."""
    own = frozenset(ids)
    return list(dict.fromkeys(other for id in ids for other in ids_around(id, reach) if other not in own))


def spoken(content: str, speaker: str | None) -> str:
    """What is embedded of a turn: its words behind the speaker's name, unless they begin with it or it is a role.

    >>> spoken("Yes, that one.", "Maya")
    'Maya: Yes, that one.'
    >>> spoken("Maya: Yes, that one.", "Maya")
    'Maya: Yes, that one.'
    >>> spoken("Yes, that one.", "user")
    'Yes, that one.'
    """
    if not speaker or is_role(speaker) or re.match(rf"\W*{re.escape(speaker)}\b", content, re.IGNORECASE):
        return content
    return f"{speaker}: {content}"


@dataclass(frozen=True, slots=True)
class Window:
    """The texts that a memory's vector stands for. One that `is_turn` has neighbours, or could have."""

    own: str
    previous: str | None = None
    following: str | None = None
    is_turn: bool = False

    @property
    def texts(self) -> list[str]:
        """What has to be embedded, its own text first."""
        return [text for text in (self.own, self.previous, self.following) if text is not None]

    @property
    def mark(self) -> bytes:
        """Tells this window from any other one, without holding its texts: 32 hexadecimal digits."""
        text = json.dumps([self.previous, self.own, self.following]) if self.is_turn else self.own
        return hashlib.sha256(text.encode()).hexdigest()[:32].encode()


def stored_vectors(windows: Sequence[Window], vectors: Mapping[str, bytes]) -> list[bytes]:
    """The vector to store for each window, from those of its texts; a neighbour without one is left out.

    That of a turn has length 1; that of any other memory is the embedder's own.
    """
    turns = [window for window in windows if window.is_turn]
    mixes = iter(_mixes(turns, vectors) if turns else ())
    return [next(mixes) if window.is_turn else vectors[window.own] for window in windows]


def _mixes(turns: Sequence[Window], vectors: Mapping[str, bytes]) -> list[bytes]:
    texts = list(dict.fromkeys(text for turn in turns for text in turn.texts if text in vectors))
    rows = {text: row for row, text in enumerate(texts)}
    units = np.array([decode_float32(vectors[text]) for text in texts], dtype=np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    units = np.vstack([units, np.zeros(units.shape[1])])  # the last row is that of a neighbour that is not there
    own = units[[rows[turn.own] for turn in turns]]
    neighbours = [
        units[[rows.get(text, -1) if text is not None else -1 for text in texts_there]]
        for texts_there in ([turn.previous for turn in turns], [turn.following for turn in turns])
    ]
    return [encode_float32(row) for row in mixed(own, neighbours[0] + neighbours[1])]


def mixed(own: NDArray[np.float64], neighbours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1 between those of `own`, which have length 1, and the direction of their windows.

    `neighbours` holds the sum of each row's neighbours, all of length 1, or zeros. Both have the shape (turns,
    dimensions).
    """
    together = _directions(own + neighbours, otherwise=own)
    return _directions(OWN_SHARE * own + (1 - OWN_SHARE) * together, otherwise=own)


_NO_DIRECTION: Final = 1e-6
"""Opposite vectors cancel each other out; what is left of them is rounding, shorter than this."""


def _directions(rows: NDArray[np.float64], *, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(lengths < _NO_DIRECTION, otherwise, rows / np.maximum(lengths, _NO_DIRECTION))


def is_turn(id: str, fields: Fields) -> bool:
    """Whether a memory is the turn that its id says: only such ones are neighbours."""
    session, turn = fields.get(record.SESSION), fields.get(record.TURN)
    if session is None or turn is None or not turn.isdigit() or len(turn) > _MOST_DIGITS:
        return False
    scope = MemoryScope(*(_optional(fields.get(name)) for name in (record.THREAD, record.AGENT, record.NAMESPACE)))
    return id == turn_id(session_key(_text(session), scope), int(turn))


_MOST_DIGITS: Final = 18


def window_of(id: str, records: Mapping[str, Fields | None]) -> Window:
    """The window of the memory `id`, which is among `records`; its neighbours are looked for there, too."""
    fields = records[id] or {}
    own = _said(fields)
    if not is_turn(id, fields):
        return Window(_text(fields.get(record.CONTENT, b"")))
    key, turn = id.rpartition("-")[0], int(fields[record.TURN])

    def neighbour(place: int) -> str | None:
        other_id = turn_id(key, place)
        other = records.get(other_id) if place >= 0 else None
        if other is None or not record.is_memory(other) or not is_turn(other_id, other):
            return None
        return _said(other)

    return Window(own, neighbour(turn - 1), neighbour(turn + 1), is_turn=True)


def _said(fields: Fields) -> str:
    return spoken(_text(fields.get(record.CONTENT, b"")), _optional(fields.get(record.SPEAKER)))


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _optional(stored: bytes | None) -> str | None:
    return None if stored is None else _text(stored)
