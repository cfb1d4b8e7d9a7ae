"""docs/export-import.md says what the code says."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.exporting import PAGE
from betterdb_agent_memory.memory.transfer.importing import BATCH_LINES
from betterdb_agent_memory.memory.transfer.results import MAX_REPORTED, ExportResult, ImportResult
from tests.docs.pages import ROOT, table, text_of

DOCS = ROOT / "docs" / "export-import.md"


@pytest.mark.parametrize("method", [MemoryStore.export_to, MemoryStore.import_from], ids=lambda m: m.__name__)
def test_arguments_and_their_defaults(method: Any) -> None:
    documented = {row[0]: row[1] for row in table(DOCS, f"signature MemoryStore.{method.__name__}")}
    assert documented == {
        name: "required" if parameter.default is parameter.empty else repr(parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize("result", [ExportResult, ImportResult])
def test_results(result: Any) -> None:
    assert [row[0] for row in table(DOCS, f"fields {result.__name__}")] == [field.name for field in fields(result)]


def test_the_header() -> None:
    line = json.loads(form.encode_header(form.Header(store="s", exported_at=1)))
    rows = table(DOCS, "header")
    assert [row[0] for row in rows] == list(line)
    assert rows[0][1] == json.dumps(form.FORMAT)
    assert rows[1][1] == str(form.FORMAT_VERSION)


def test_the_lines() -> None:
    rows = table(DOCS, "line")
    readable = {row[0]: row[1] for row in rows if row[0] in form.READABLE_NAMES}
    stored = dict.fromkeys(readable.values(), b"1")
    fields = {**stored, record.METADATA: b"{}", record.VECTOR: b"\0" * 4, "own": b"x", "raw": b"\xff"}
    whole = form.Exported("i", fields, 1, (LinkEnd("other", 1.0, 1),), old=True)
    assert [row[0] for row in rows] == list(json.loads(form.encode_memory_line(whole)))
    assert readable == {"thread_id": record.THREAD, "agent_id": record.AGENT} | {
        name: name for name in form.READABLE_NAMES if name not in ("thread_id", "agent_id")
    }


def test_numbers_in_the_text() -> None:
    text = text_of(Path(DOCS))
    assert f"for {PAGE} memories exported" in text
    assert f"for {BATCH_LINES} imported" in text
    assert f"the first {MAX_REPORTED} rejected" in text
