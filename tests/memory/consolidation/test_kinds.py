"""Which records are products of consolidation."""

from __future__ import annotations

import pytest

from betterdb_agent_memory.memory.consolidation.kinds import Kind, is_stored_fact, kind_of


@pytest.mark.parametrize(
    ("fields", "fact_source", "kind"),
    [
        ({}, "fact", Kind.PLAIN),
        ({"source": "summary"}, "fact", Kind.SUMMARY),
        ({"source": "Summary"}, "fact", Kind.PLAIN),
        ({"source": "summary "}, "fact", Kind.PLAIN),
        ({"source": "fact", "subject": "x"}, "fact", Kind.FACT),
        ({"source": "fact"}, "fact", Kind.PLAIN),
        ({"source": "FACT", "subject": "x"}, "fact", Kind.PLAIN),
        ({"source": "fact", "subject": "x"}, "other", Kind.PLAIN),
        ({"source": "summary", "subject": "x"}, "summary", Kind.FACT),
        ({"source": "summary"}, "summary", Kind.SUMMARY),
        ({"source": "fact", "subject": "x", "derived": "none"}, "fact", Kind.PLAIN),
        ({"source": "summary", "derived": "none"}, "fact", Kind.PLAIN),
        ({"source": "anything", "derived": "fact"}, "fact", Kind.FACT),
        ({"source": "anything", "derived": "summary"}, "fact", Kind.SUMMARY),
        ({"source": "summary", "derived": "of the future"}, "fact", Kind.SUMMARY),
    ],
)
def test_our_mark_decides_and_labels_count_byte_for_byte(fields: dict[str, str], fact_source: str, kind: Kind) -> None:
    encoded = {name: value.encode() for name, value in fields.items()}
    assert kind_of(encoded, fact_source) is kind
    is_ours = kind is Kind.FACT and fields.get("source") == fact_source
    assert is_stored_fact(encoded, fact_source) is is_ours
