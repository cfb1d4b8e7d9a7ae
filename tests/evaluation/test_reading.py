"""Each form of a dataset is read as it is meant, and what is wrong with a file is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.evaluation import EXAMPLE, Question, load_dataset

SILENCE = {"dia_id": "D2:3", "speaker": "Ben", "text": " "}


def sample(**changes: Any) -> dict[str, Any]:
    """A conversation of our own in the form of LoCoMo's file."""
    session_2 = [{"dia_id": "D2:1", "speaker": "Ben", "text": "", "blip_caption": "a kettle on a stove"}]
    return {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ann",
            "session_10_date_time": "9:05 am on 1 June, 2023",
            "session_10": [{"dia_id": "D10:1", "speaker": "Ann", "text": "June already."}],
            "session_2_date_time": "1:56 pm on 8 May, 2023",
            "session_2": [*session_2, {"dia_id": "D2:2", "speaker": "Ann", "text": "Tea, then."}, SILENCE],
            "session_3_date_time": "1:56 pm on 9 May, 2023",
        },
        "qa": [
            {"question": "What is drunk?", "answer": "tea", "evidence": ["D2:2"], "category": 4},
            {"question": "What, and when?", "answer": "?", "evidence": ["D2:02; D10:1", "D:2:1"], "category": 2},
            {"question": "Which coffee?", "adversarial_answer": "?", "evidence": ["D2:2"], "category": 5},
            {"question": "Where is it?", "answer": "?", "evidence": ["D", "D7:1"], "category": 1},
        ],
        **changes,
    }


def written(tmp_path: Path, content: object, name: str = "data.json") -> Path:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def test_locomos_file(tmp_path: Path) -> None:
    dataset = load_dataset(written(tmp_path, [sample()]))
    [collection] = dataset.collections
    assert [(entry.id, entry.session) for entry in collection.entries] == [
        ("D2:1", "2"),
        ("D2:2", "2"),
        ("D10:1", "10"),
    ]
    first, second, _ = collection.entries
    assert first.spoken == "Ben: [shares a kettle on a stove]"
    assert second.occurred_at_ms == 1_683_554_160_000 + 30_000  # 8 May 2023, 13:56 UTC, and half a minute
    assert [question.expected for question in collection.questions] == [("D2:2",), ("D2:2", "D10:1", "D2:1")]
    assert [question.category for question in collection.questions] == ["single-hop", "temporal"]
    assert dataset.left_out == 2
    assert collection.asked_at_ms == 1_685_610_300_000 + 30_000


def test_the_reduced_form(tmp_path: Path) -> None:
    memory = {"id": "D1:1", "text": "Ann: Tea.", "timestamp": 1000.0, "speaker": "Ann", "session": 1, "turn": 1}
    asked = [
        {"id": "c/0", "text": "What?", "gold": ["D1:1", "D9:9"], "category": "temporal"},
        {"id": "c/1", "text": "Who?", "gold": ["D9:9"], "category": "temporal"},
    ]
    whole = {"conversations": [{"id": "c", "asked_at": 2000.0, "memories": [memory], "questions": asked}]}
    dataset = load_dataset(written(tmp_path, whole))
    [collection] = dataset.collections
    [entry] = collection.entries
    assert (entry.text, entry.speaker, entry.session, entry.occurred_at_ms) == ("Tea.", "Ann", "1", 1_000_000)
    assert collection.questions == (Question("What?", ("D1:1",), "temporal", 2_000_000),)
    assert dataset.left_out == 1


def test_json_lines_of_ones_own(tmp_path: Path) -> None:
    lines = [
        {"question": "What is drunk?", "expected": ["a", "a"], "asked_at": "2026-06-01", "category": "drinks"},
        {"id": "a", "text": "Tea at five.", "occurred_at": "2026-05-08T14:30:00Z", "speaker": "Ann", "session": 3},
        {"id": "a", "text": "The other one.", "collection": "other"},
        {"question": "Which one?", "expected": ["a"], "collection": "other"},
    ]
    content = "\n\n".join(json.dumps(line) for line in lines)
    for name in ("data.jsonl", "data.json"):
        dataset = load_dataset(written(tmp_path, content, name))
        one, other = dataset.collections
        assert (one.entries[0].occurred_at_ms, one.entries[0].session) == (1_778_250_600_000, "3")
        assert one.questions == (Question("What is drunk?", ("a",), "drinks", 1_780_272_000_000),)
        assert (other.id, other.entries[0].session, other.asked_at_ms) == ("other", None, None)


MEMORY = '{"id": "a", "text": "Tea."}'


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 must be an object"),
        ('{"id": "b"}', "line 2 must be an object"),
        ('{"id": "b", "text": "x", "question": "y"}', "line 2 must be an object"),
        ('{"id": "b", "text": " "}', "line 2: text"),
        ('{"text": "x"}', "line 2: id"),
        ('{"id": "a", "text": "again"}', "line 2: another memory of this collection has the id 'a'"),
        ('{"id": "b", "text": "x", "when": 3}', "line 2: when"),
        ('{"id": "b", "text": "x", "occurred_at": "2026-05-08T10:00"}', "line 2: occurred_at.*time zone"),
        ('{"question": "Why?", "expected": []}', "line 2: expected"),
        ('{"question": "Why?", "expected": "a"}', "line 2: expected"),
        ('{"question": "Why?", "expected": ["a", "b"]}', "line 2 expects 'b'"),
        ('{"question": "Why?", "expected": ["a"], "collection": "c"}', "line 2 expects 'a'"),
    ],
    ids=lambda value: value if value.startswith("line") else "",
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        load_dataset(written(tmp_path, f"{MEMORY}\n{line}\n", "mine.jsonl"))


def test_other_files_are_refused_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no LoCoMo file: 0\.qa"):
        load_dataset(written(tmp_path, [{"sample_id": "c", "conversation": {}}]))
    with pytest.raises(InvalidInputError, match=r"no LoCoMo file: 0\.speaker"):
        load_dataset(written(tmp_path, [sample(conversation={"session_1": [{"dia_id": "D1:1", "text": "x"}]})]))
    with pytest.raises(InvalidInputError, match="session_1_date_time 'soon' is no date"):
        load_dataset(written(tmp_path, [sample(conversation={"session_1_date_time": "soon", "session_1": []})]))
    with pytest.raises(InvalidInputError, match=r"conversations\.0\.questions"):
        load_dataset(written(tmp_path, {"conversations": [{"id": "c", "memories": []}]}))
    with pytest.raises(InvalidInputError, match="no question"):
        load_dataset(written(tmp_path, MEMORY, "mine.jsonl"))
    with pytest.raises(FileNotFoundError):
        load_dataset(tmp_path / "none.json")


def test_a_sample_is_the_same_every_time_and_keeps_all_memories_it_needs() -> None:
    dataset = load_dataset(EXAMPLE)
    drawn = dataset.sampled(7)
    assert drawn == dataset.sampled(7)
    assert drawn.question_count == 7
    assert dataset.sampled(10_000) == dataset
    known = {one.id: one for one in dataset.collections}
    for collection in drawn.collections:
        assert collection.entries == known[collection.id].entries
        assert set(collection.questions) <= set(known[collection.id].questions)


def test_the_set_of_ours_is_what_its_page_says() -> None:
    dataset = load_dataset(EXAMPLE)
    assert (len(dataset.collections), dataset.entry_count, dataset.question_count) == (3, 104, 68)
    sizes = [sum(asked.category == kind for one in dataset.collections for asked in one.questions) for kind in KINDS]
    assert min(sizes) >= 6
    assert sum(sizes) == dataset.question_count


KINDS = ("single fact", "context", "date named", "person named", "paraphrase", "rare word", "other language")
