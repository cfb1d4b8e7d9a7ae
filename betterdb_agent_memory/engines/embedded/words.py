"""The words of texts, found through SQLite's full-text index (FTS5).

Two tables a collection, because they compare differently: `word` brings what it holds to English stems (Porter)
and takes accents away, `stem` holds words that were brought to their stems beforehand, as they are. Both know
which record has a word and nothing else: no copy of the text, no positions, no frequencies. So what was taken in
has to be said again to take it out.

Nothing of a text stays in the index once it is out. Word by word that takes about 20 us a word
("secure-delete"); much at once is only marked at first, and left behind when the whole index is written anew
("optimize"), about 0.8 us for each record that there is.
"""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.engines.embedded.body import unpack
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.embedded.tables import STEM_TOKENIZER, WORD_TOKENIZER, Tables
from betterdb_agent_memory.engines.filters import Fields

Keys = npt.NDArray[np.int64]

NO_KEYS: Keys = np.empty(0, dtype=np.int64)

_PAGE_BYTES = 1000
"""Of the index: to take a record out it reads a list of records from the beginning of a page."""

_BATCH = 1000

_ALL_FOR_ONE = 4
"""To take out one character takes as long as to write the words of so many records anew (measured, 20 words each)."""


def create(connection: apsw.Connection, tables: Tables) -> None:
    """Create the index, empty."""
    for statement in tables.word_statements:
        connection.execute(statement)
    for table in (tables.word, tables.stem):
        _set(connection, table, "secure-delete", 1)
        _set(connection, table, "pgsz", _PAGE_BYTES)


def refill(connection: apsw.Connection, tables: Tables) -> None:
    """Make the index anew from the records that are there, 1,000 at a time."""
    for table in (tables.word, tables.stem):
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
    last = -1
    while page := rows(
        connection, f"SELECT key, fields FROM {tables.body} WHERE key > ? ORDER BY key LIMIT ?", (last, _BATCH)
    ):
        last = page[-1][0]
        insert(connection, tables, [(key, unpack(body)) for key, body in page])


def insert(connection: apsw.Connection, tables: Tables, records: Iterable[tuple[int, Fields]]) -> None:
    """Make the words of records findable that are not in the index."""
    for table, texts in _by_table(tables, records):
        connection.executemany(f"INSERT INTO {table} (rowid, text) VALUES (?, ?)", texts)


def remove(connection: apsw.Connection, tables: Tables, records: Iterable[tuple[int, Fields]]) -> None:
    """Take records out whose fields are still those that were taken in."""
    for table, texts in _by_table(tables, records):
        characters = sum(len(text) for _, text in texts)
        is_much = characters * _ALL_FOR_ONE > scalar(connection, f"SELECT coalesce(max(key), 0) FROM {tables.record}")
        if is_much:
            _set(connection, table, "secure-delete", 0)
        connection.executemany(f"INSERT INTO {table} ({table}, rowid, text) VALUES ('delete', ?, ?)", texts)
        if is_much:
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
            _set(connection, table, "secure-delete", 1)


def remove_stored(connection: apsw.Connection, tables: Tables, keys: Iterable[int]) -> None:
    """Take records out that are still in the file."""
    if tables.text_fields:
        sql = f"SELECT fields FROM {tables.body} WHERE key = ?"
        # In the order of the keys: each step back would be written for itself.
        bodies = [(key, scalar(connection, sql, (key,))) for key in sorted(keys)]
        remove(connection, tables, [(key, unpack(body)) for key, body in bodies if body is not None])


def find(connection: apsw.Connection, tables: Tables, word: Word) -> Keys:
    """The keys of the records that have `word` in a text, in ascending order."""
    in_texts = _matching(connection, tables.word, _expression(connection, WORD_TOKENIZER, word.text))
    in_stems = _matching(connection, tables.stem, _expression(connection, STEM_TOKENIZER, word.stem))
    return np.union1d(in_texts, in_stems) if len(in_stems) else in_texts


def _set(connection: apsw.Connection, table: str, option: str, value: int) -> None:
    connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES (?, ?)", (option, value))


def _by_table(tables: Tables, records: Iterable[tuple[int, Fields]]) -> Iterable[tuple[str, Sequence[tuple[int, str]]]]:
    """For each of the two tables the texts that go into it, by key."""
    columns = [(table, names) for table, names in ((tables.word, tables.texts), (tables.stem, tables.stems)) if names]
    held: dict[str, list[tuple[int, str]]] = {table: [] for table, _ in columns}
    for key, fields in records:
        for table, names in columns:
            text = " ".join([fields[name].decode(errors="replace") for name in names if name in fields])
            if text:
                held[table].append((key, text))
    return [(table, sorted(texts)) for table, texts in held.items() if texts]


def _expression(connection: apsw.Connection, tokenizer: Sequence[str], text: str) -> str:
    """What FTS5 looks for: all parts into which its tokenizer cuts the word, mostly one; empty for none."""
    name, *arguments = tokenizer
    encoded = text.encode(errors="replace")
    cut: Any = connection.fts5_tokenizer(name, arguments)(encoded, apsw.FTS5_TOKENIZE_QUERY, None)
    return " AND ".join(f'"{encoded[start:end].decode()}"' for start, end, *_ in cut)


def _matching(connection: apsw.Connection, table: str, expression: str) -> Keys:
    if not expression:
        return NO_KEYS
    # Joined inside SQLite, which takes half the time of fetching the keys as rows.
    joined = scalar(connection, f"SELECT group_concat(rowid) FROM {table} WHERE {table} MATCH ?", (expression,))
    return as_keys(joined)


def as_keys(joined: str | None) -> Keys:
    """Keys that SQLite joined with commas."""
    return np.fromstring(joined, dtype=np.int64, sep=",") if joined else NO_KEYS
