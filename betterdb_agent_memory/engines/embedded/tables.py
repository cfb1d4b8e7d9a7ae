"""The tables of one collection.

`record` is narrow (id, expiry, what is filtered and sorted by), so that scans stay cheap; `body`
holds the fields as they came, `vector` the vectors, `tag` the single values of comma-separated
fields, `coarse` the quantised vectors in blocks of slots (a record's slot is its `key`), `free` the
keys that deletions left, to be used again so that blocks stay dense, and `unfit` the keys of vectors
of another length than the collection's, which no search compares. `word` and `stem` say which records
have a word, see words.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from betterdb_agent_memory.engines.base import SchemaField

_CHARACTERS = ("categories", "L* M* N* Co", "tokenchars", "_")
"""A word is made of letters, their marks, digits and underscores."""

WORD_TOKENIZER = ("porter", "unicode61", "remove_diacritics", "2", *_CHARACTERS)
"""English stems, without accents."""

STEM_TOKENIZER = ("unicode61", "remove_diacritics", "0", *_CHARACTERS)
"""Words as they are, but for upper and lower case."""


@lru_cache
def column(field: str) -> str:
    """The quoted column of the record table that holds `field`."""
    return _quoted(f"f_{field}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _words_statement(table: str, tokenizer: Sequence[str]) -> str:
    spelled = " ".join("'" + part + "'" for part in tokenizer)
    return (
        f"CREATE VIRTUAL TABLE {table} USING fts5(text, content='', columnsize=0, detail=none, tokenize=\"{spelled}\")"
    )


def whole_number(field: str) -> str:
    """The number field as an integer, cut towards zero and 0 where there is none, as SQL."""
    return f"CAST(coalesce({column(field)}, 0) AS INTEGER)"


def is_odd(field: str) -> str:
    """Whether `whole_number` is another number than the field's, as SQL: it is fractional, huge or missing."""
    return f"({column(field)} IS NULL OR {column(field)} <> {whole_number(field)})"


@dataclass(frozen=True)
class Tables:
    """Names and shape of the tables of collection `number`."""

    number: int
    dimensions: int
    slots_per_block: int
    vector_field: str
    fields: tuple[SchemaField, ...]

    @cached_property
    def record(self) -> str:
        """Id, expiry, and what is filtered and sorted by."""
        return f"record_{self.number}"

    @cached_property
    def body(self) -> str:
        """The fields as they came, without the vector."""
        return f"body_{self.number}"

    @cached_property
    def vector(self) -> str:
        """The vectors as they came."""
        return f"vector_{self.number}"

    @cached_property
    def tag(self) -> str:
        """Single values of comma-separated fields."""
        return f"tag_{self.number}"

    @cached_property
    def coarse(self) -> str:
        """Blocks of quantised vectors."""
        return f"coarse_{self.number}"

    @cached_property
    def free(self) -> str:
        """Keys to be used again."""
        return f"free_{self.number}"

    @cached_property
    def unfit(self) -> str:
        """Keys of vectors of another length."""
        return f"unfit_{self.number}"

    @cached_property
    def word(self) -> str:
        """Which records have a word in a text that holds no stems."""
        return f"word_{self.number}"

    @cached_property
    def stem(self) -> str:
        """Which records have a word in a text that holds stems."""
        return f"stem_{self.number}"

    @cached_property
    def all_names(self) -> tuple[str, ...]:
        """Every table of the collection but those of words."""
        return (self.record, self.body, self.vector, self.tag, self.coarse, self.free, self.unfit)

    @cached_property
    def order_field(self) -> str | None:
        """The field that a walk goes by: the first sortable number."""
        return next((field.name for field in self.fields if field.kind == "number" and field.sortable), None)

    @cached_property
    def whole_tags(self) -> tuple[str, ...]:
        """Tag fields compared as a whole."""
        return tuple(field.name for field in self.fields if field.kind == "tag" and not field.multiple)

    @cached_property
    def multiple_tags(self) -> tuple[str, ...]:
        """Tag fields that hold comma-separated values."""
        return tuple(field.name for field in self.fields if field.kind == "tag" and field.multiple)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Fields that can be ordered by."""
        return tuple(field.name for field in self.fields if field.kind == "number")

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Text fields whose words are brought to English stems."""
        return tuple(field.name for field in self.fields if field.kind == "text" and not field.holds_stems)

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """Text fields that hold stems."""
        return tuple(field.name for field in self.fields if field.kind == "text" and field.holds_stems)

    @cached_property
    def text_fields(self) -> frozenset[str]:
        """Fields in which words are found."""
        return frozenset(self.texts + self.stems)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Fields with a column of their own in the record table, in order."""
        return self.whole_tags + self.numbers

    @cached_property
    def vector_bytes(self) -> int:
        """Length of an encoded vector."""
        return 4 * self.dimensions

    def statements(self) -> list[str]:
        """What creates the tables of a new collection."""
        return [
            f"CREATE TABLE {self.record} (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, expires_at_ms INTEGER)",
            f"CREATE INDEX {self.record}_expiry ON {self.record} (expires_at_ms) WHERE expires_at_ms IS NOT NULL",
            f"CREATE TABLE {self.body} (key INTEGER PRIMARY KEY, fields BLOB NOT NULL)",
            f"CREATE TABLE {self.vector} (key INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
            f"CREATE TABLE {self.tag} (field TEXT NOT NULL, value BLOB NOT NULL, key INTEGER NOT NULL, "
            "PRIMARY KEY (field, value, key)) WITHOUT ROWID",
            f"CREATE INDEX {self.tag}_key ON {self.tag} (key)",
            f"CREATE TABLE {self.coarse} (block INTEGER PRIMARY KEY, slots BLOB NOT NULL)",
            f"CREATE TABLE {self.free} (key INTEGER PRIMARY KEY)",
            self.unfit_statement,
            *self.column_statements(self.fields),
        ]

    @property
    def unfit_statement(self) -> str:
        """What creates the table that the first format lacks."""
        return f"CREATE TABLE {self.unfit} (key INTEGER PRIMARY KEY)"

    @property
    def word_statements(self) -> list[str]:
        """What creates the tables of words, which the first formats lack."""
        return [_words_statement(self.word, WORD_TOKENIZER), _words_statement(self.stem, STEM_TOKENIZER)]

    def walk_statement(self, field: str) -> str:
        """What creates the index of records that the index of a sortable number has in no place of a walk.

        Empty where times are whole milliseconds.
        """
        index = _quoted(f"{self.record}_{field}_odd")
        return f"CREATE INDEX {index} ON {self.record} ({whole_number(field)}, id) WHERE {is_odd(field)}"

    def column_statements(self, fields: Sequence[SchemaField]) -> list[str]:
        """What adds the columns and indexes of `fields`.

        Tags are compared as bytes, so a BLOB column, and indexed with the expiry, so that counting
        and listing a scope reads nothing but the index; a sortable number is indexed with the id
        that breaks its ties.
        """
        statements = []
        for field in fields:
            name = column(field.name)
            index = _quoted(f"{self.record}_{field.name}")
            if field.kind == "tag" and not field.multiple:
                statements.append(f"ALTER TABLE {self.record} ADD COLUMN {name} BLOB")
                statements.append(
                    f"CREATE INDEX {index} ON {self.record} ({name}, expires_at_ms) WHERE {name} IS NOT NULL"
                )
            elif field.kind == "number":
                statements.append(f"ALTER TABLE {self.record} ADD COLUMN {name} REAL")
                if field.sortable:
                    statements.append(f"CREATE INDEX {index} ON {self.record} ({name}, id)")
                    statements.append(self.walk_statement(field.name))
        return statements
