"""Which stored memories are products of consolidation, and whose.

Our own products say so in a field of their own. What packages in other languages wrote is recognised
by its source label, byte for byte: the search index compares labels without regard to case, which is
why nothing here asks it.
"""

from __future__ import annotations

from enum import Enum

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.memory.record import DERIVED, DERIVED_FACT, DERIVED_SUMMARY, NOT_DERIVED, SOURCE, SUBJECT

SUMMARY_SOURCE = "summary"
DEFAULT_FACT_SOURCE = "fact"
KIND_FIELDS = (SOURCE, SUBJECT, DERIVED)
"""What `kind_of` looks at."""


class Kind(Enum):
    """What a memory is to a consolidation."""

    PLAIN = "plain"
    SUMMARY = "summary"
    FACT = "fact"


_SAID = {
    DERIVED_SUMMARY.encode(): Kind.SUMMARY,
    DERIVED_FACT.encode(): Kind.FACT,
    NOT_DERIVED.encode(): Kind.PLAIN,
}


def kind_of(fields: Fields, fact_source: str) -> Kind:
    """What the memory in `fields` is, in a store that labels its facts `fact_source`.

    A fact has a subject; a label without one is what a user chose.
    """
    said = _SAID.get(fields.get(DERIVED, b""))
    if said is not None:
        return said
    source = fields.get(SOURCE)
    if source == fact_source.encode() and SUBJECT in fields:
        return Kind.FACT
    return Kind.SUMMARY if source == SUMMARY_SOURCE.encode() else Kind.PLAIN


def is_stored_fact(fields: Fields, fact_source: str) -> bool:
    """Whether it is one of the facts that a run with this label keeps.

    Stores of one name with different labels keep sets of facts apart from each other, as published.
    """
    return (
        fields.get(SOURCE) == fact_source.encode() and SUBJECT in fields and kind_of(fields, fact_source) is Kind.FACT
    )
