"""What a facts run changes in the store: pure, from the stored facts and the extracted ones.

There is one fact for a subject in an exact scope, whatever its tags. Facts of narrower scopes that a
wide request also finds are not reconciled with it; among them only duplicates of one scope are healed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from betterdb_agent_memory.memory.consolidation.dates import parse_date
from betterdb_agent_memory.memory.consolidation.facts import (
    Fact,
    FactOp,
    Undated,
    apply_ops,
    fact_content,
    newest,
    reconcile,
    stored_fact,
    subject_key,
)
from betterdb_agent_memory.memory.consolidation.journal import Source
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact in the store, with the digest of what it said when it was read."""

    item: MemoryItem
    digest: str

    @property
    def fact(self) -> Fact:
        """What it states."""
        return stored_fact(self.item.subject, self.item.content, self.item.date)

    @property
    def scope(self) -> MemoryScope:
        """Exactly whose it is."""
        return MemoryScope(self.item.thread_id, self.item.agent_id, self.item.namespace)

    @property
    def key(self) -> tuple[MemoryScope, str]:
        """What there is one of: the exact scope and the folded subject."""
        return self.scope, subject_key(self.item.subject or "")

    @property
    def source(self) -> Source:
        """What has to be unchanged for it to be deleted."""
        return Source(self.item.id, self.digest)


@dataclass(frozen=True, slots=True)
class FactWrite:
    """A fact to be stored in place of `replaced`, in all their tag buckets."""

    fact: Fact
    content: str
    tags: tuple[str, ...]
    replaced: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Curation:
    """What to do: facts to write, tags to add to facts that stay, memories to delete without a successor."""

    operations: list[FactOp]
    facts: int
    writes: list[FactWrite] = field(default_factory=list)
    tags_to_add: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deletes: list[Source] = field(default_factory=list)

    @property
    def deleted(self) -> int:
        """How many memories go if none of them is changed meanwhile."""
        return len(self.deletes) + sum(len(write.replaced) for write in self.writes)

    @property
    def changes_something(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.writes or self.tags_to_add or self.deletes)

    @property
    def leaving(self) -> set[str]:
        """The ids of all memories that go."""
        replaced = (source for write in self.writes for source in write.replaced)
        return {source.id for source in (*replaced, *self.deletes)}

    @property
    def unmatched_tombstones(self) -> list[str]:
        """Subjects of retractions that no fact matched."""
        return [operation.subject for operation in self.operations if operation.type == "unmatched-tombstone"]


def curate(
    stored: Sequence[StoredFact],
    incoming: Sequence[Fact],
    *,
    scope: MemoryScope,
    tags: Sequence[str],
    undated: Undated,
    day_first: bool,
) -> Curation:
    """Reconcile `incoming` with the facts stored under exactly `scope`, and heal duplicates everywhere.

    `stored` are in order of creation. What is written belongs to `tags` and to the tags of what it replaces.
    """
    groups: dict[tuple[MemoryScope, str], list[StoredFact]] = {}
    for row in stored:
        groups.setdefault(row.key, []).append(row)
    kept = {key: _survivor(rows, day_first) for key, rows in groups.items()}
    existing = [row.fact for key, row in kept.items() if key[0] == scope]
    operations = reconcile(incoming, existing, undated=undated, day_first=day_first)
    curated = {subject_key(fact.subject): fact for fact in apply_ops(existing, operations, day_first=day_first)}
    stated = {(subject_key(fact.subject), fact.statement) for fact in incoming if not fact.tombstone}

    curation = Curation(operations, len(curated))
    for subject, fact in curated.items():
        rows = groups.get((scope, subject), [])
        current = kept.get((scope, subject))
        if current is None or not _states(current, fact):
            curation.writes.append(
                FactWrite(fact, fact_content(fact), _union(tags, *_tags(rows)), tuple(row.source for row in rows))
            )
        else:
            gained = tags if (subject, fact.statement) in stated else ()
            _heal(curation, current, rows, gained)
    for key, rows in groups.items():
        if key[0] != scope:
            _heal(curation, kept[key], rows, ())
        elif key[1] not in curated:
            curation.deletes.extend(row.source for row in rows)
    return curation


def _states(row: StoredFact, fact: Fact) -> bool:
    """Whether it is stored so already. A text may begin with what looks like the date of another fact."""
    return row.item.content == fact_content(fact) and (row.item.date or None) == (fact.date or None)


def _survivor(rows: Sequence[StoredFact], day_first: bool) -> StoredFact:
    return newest(
        rows,
        date=lambda row: parse_date(row.item.date, day_first=day_first),
        written=lambda row: (row.item.created_at, row.item.id),
    )


def _heal(curation: Curation, kept: StoredFact, rows: Sequence[StoredFact], gained: Sequence[str]) -> None:
    """Delete the others; the one that stays is found under their tags, too."""
    others = [row for row in rows if row is not kept]
    missing = tuple(tag for tag in _union(gained, *_tags(others)) if tag not in kept.item.tags)
    if missing:
        curation.tags_to_add[kept.item.id] = missing
    curation.deletes.extend(row.source for row in others)


def _tags(rows: Iterable[StoredFact]) -> list[list[str]]:
    return [row.item.tags for row in rows]


def _union(*lists: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for tags in lists for tag in tags))
