"""The words of texts, found through SQLite's full-text index (FTS5).

Two tables a collection, because they compare differently: `word` brings what it holds to English stems (Porter)
and takes accents away, `stem` holds words that were brought to their stems beforehand, as they are. Both know
which record has a word and nothing else: no copy of the text, no positions, no frequencies. So what was taken in
has to be said again to take it out.

No word of a text stays in the index once it is out. Taken out one by one ("secure-delete") that takes 25 us a
word, less in a batch. Where so much goes that the rest is written anew sooner, the index is emptied and filled from
the records that stay: 10 us for one of 20 words, 0.5 us a word of a longer one. (Marking what goes and merging it
away, which FTS5 can do too, is faster and leaves marks behind, which are the words themselves.) What may stay: the
beginning of one word in 1,000 bytes of the index, by which FTS5 finds the page, as far as tells it from the one before.
"""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Collection as Members
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.engines.embedded.body import unpack
from betterdb_agent_memory.engines.embedded.queries import insert_rows, rows, scalar
from betterdb_agent_memory.engines.embedded.tables import STEM_TOKENIZER, WORD_TOKENIZER, Tables
from betterdb_agent_memory.engines.filters import Fields

Keys = npt.NDArray[np.int64]

NO_KEYS: Keys = np.empty(0, dtype=np.int64)

_PAGE_BYTES = 1000
"""Of the index: to take a record out it reads a list of records from the beginning of a page."""

_BATCH = 1000

_BYTES_FOR_ONE = 50
"""To take out one character takes as long as to write anew the words of records with so many bytes (measured)."""

_LEAST_BYTES = 50
"""Of a record: with fewer characters than the collection has records, nobody has to look how long they are."""


def create(connection: apsw.Connection, tables: Tables) -> None:
    """Create the index, empty."""
    for statement in tables.word_statements:
        connection.execute(statement)
    for table in (tables.word, tables.stem):
        _set(connection, table, "secure-delete", 1)
        _set(connection, table, "pgsz", _PAGE_BYTES)


def drop(connection: apsw.Connection, tables: Tables) -> None:
    """Remove the index, or what is there of it."""
    for table in (tables.word, tables.stem):
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def renew(connection: apsw.Connection, tables: Tables) -> None:
    """Make the index anew from the records that are there, whatever became of the former."""
    drop(connection, tables)
    create(connection, tables)
    _fill(connection, tables, without=frozenset())


def _fill(connection: apsw.Connection, tables: Tables, *, without: Members[int]) -> None:
    """Take in every record but some, 1,000 at a time, into an empty index."""
    last = -1
    while page := rows(
        connection, f"SELECT key, fields FROM {tables.body} WHERE key > ? ORDER BY key LIMIT ?", (last, _BATCH)
    ):
        last = page[-1][0]
        insert(connection, tables, [(key, unpack(body)) for key, body in page if key not in without])


def insert(connection: apsw.Connection, tables: Tables, records: Iterable[tuple[int, Fields]]) -> None:
    """Make the words of records findable that are not in the index."""
    for table, texts in _by_table(tables, records):
        insert_rows(connection, table, ("rowid", "text"), texts)


def remove(connection: apsw.Connection, tables: Tables, records: Sequence[tuple[int, Fields]]) -> None:
    """Take records out whose fields are still those that were taken in, all of a batch at once.

    Every other record has to be in the index as it is in the file.
    """
    texts_by_table = _by_table(tables, records)
    characters = sum(len(text) for _, texts in texts_by_table for _, text in texts)
    if _is_most(connection, tables, characters):
        for table in (tables.word, tables.stem):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
        _fill(connection, tables, without={key for key, _ in records})
        return
    for table, texts in texts_by_table:
        connection.executemany(f"INSERT INTO {table} ({table}, rowid, text) VALUES ('delete', ?, ?)", texts)


def _is_most(connection: apsw.Connection, tables: Tables, characters: int) -> bool:
    """Whether the words of the records that stay are written sooner than these are taken out."""
    least = _LEAST_BYTES * scalar(connection, f"SELECT coalesce(max(key), 0) FROM {tables.record}")
    if characters * _BYTES_FOR_ONE <= least:
        return False
    total = scalar(connection, f"SELECT coalesce(sum(length(fields)), 0) FROM {tables.body}")
    return bool(characters * _BYTES_FOR_ONE > total - characters)


def remove_stored(connection: apsw.Connection, tables: Tables, keys: Iterable[int]) -> None:
    """Take records out that are still in the file."""
    if tables.text_fields:
        sql = f"SELECT fields FROM {tables.body} WHERE key = ?"
        # In the order of the keys: each step back would be written for itself.
        bodies = [(key, scalar(connection, sql, (key,))) for key in sorted(keys)]
        remove(connection, tables, [(key, unpack(body)) for key, body in bodies if body is not None])


def find(connection: apsw.Connection, tables: Tables, word: Word) -> Keys:
    """The keys of the records that have `word` in a text, in ascending order."""
    # Without accents words are alike in the index; "ß" and "ss" have to be asked for both.
    forms = {_expression(connection, WORD_TOKENIZER, form) for form in (word.text, word.text.casefold())}
    in_texts = _matching(connection, tables.word, " OR ".join(f"({form})" for form in sorted(forms) if form))
    in_stems = _matching(connection, tables.stem, _expression(connection, STEM_TOKENIZER, word.stem))
    return np.union1d(in_texts, in_stems) if len(in_stems) else in_texts


def _set(connection: apsw.Connection, table: str, option: str, value: int) -> None:
    connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES (?, ?)", (option, value))


def _by_table(tables: Tables, records: Iterable[tuple[int, Fields]]) -> Sequence[tuple[str, Sequence[tuple[int, str]]]]:
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
