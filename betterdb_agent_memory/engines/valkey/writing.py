"""What changes records, as commands: pure functions, but for looking up the scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from betterdb_agent_memory.engines.base import Expected, Fence, Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.beside import LOST, NOTHING, Beside, outcome_in
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script
from betterdb_agent_memory.errors import OutcomeUnknownError, PartialBatchError


def write_command(key: str, write: RecordWrite, whole_field: str, beside: Beside = NOTHING) -> Command:
    """Store a checked record. A new one that never expires needs no script: HSET alone is atomic."""
    is_plain = write.is_new and write.ttl_seconds is None and write.expires_at_ms is None and write.if_exists is None
    if is_plain and beside.is_nothing:
        return ("HSET", key, *_flat(write.fields))
    expiry: tuple[Argument, Argument] = ("", 0)
    if write.ttl_seconds is not None:
        expiry = ("EXPIRE", write.ttl_seconds)
    elif write.expires_at_ms is not None:
        expiry = ("PEXPIREAT", write.expires_at_ms)
    storing = (*expiry, *_flat(write.fields), *_flat(beside.fields))
    if write.if_exists is None:
        return beside.call(load_script("write"), key, ["", len(storing), *storing])
    changing = _change_arguments(write.if_exists, beside)
    return beside.call(load_script("write"), key, [whole_field, len(storing), *storing, *changing])


def change_command(key: str, change: RecordChange, whole_field: str, beside: Beside = NOTHING) -> Command:
    """Change a record that still exists."""
    return beside.call(load_script("change"), key, [whole_field, *_change_arguments(change, beside)])


def delete_command(key: str, expected: Expected | None, beside: Beside = NOTHING) -> Command:
    """Delete a record, if it is as expected. One key per command: several cannot be sent to a cluster."""
    if not expected and beside.is_nothing:
        return ("DEL", key)
    return beside.call(load_script("delete"), key, _expected_arguments(expected or {}))


def _expected_arguments(expected: Expected) -> list[Argument]:
    arguments: list[Argument] = [len(expected)]
    for field, value in expected.items():
        arguments += (field, 0, b"") if value is None else (field, 1, value)
    return arguments


def _change_arguments(change: RecordChange, beside: Beside) -> list[Argument]:
    arguments = _expected_arguments(change.expected)
    arguments += _counted(change.sets)
    arguments += (len(change.removes), *change.removes)
    arguments += _counted({**change.maxima, **beside.maxima})
    arguments += _counted(change.increments)
    arguments += _counted(change.raises)
    arguments.append(len(change.unions))
    for field, joined in change.unions.items():
        values = [value for value in joined.split(TAG_SEPARATOR.encode()) if value]
        arguments += (field, len(values), *values)
    arguments.append(change.revision_field or "")
    expiry = change.expiry
    if expiry is None:
        arguments.append("keep")
    else:
        seconds = expiry.ttl_seconds or 0
        arguments += ("later" if expiry.only_later else "set", seconds)
    if change.copies or change.newest:
        arguments += _counted(change.copies)
        arguments.append(len(change.newest))
        for field, newest in change.newest.items():
            arguments += (field, newest.most, len(newest.numbers), *newest.numbers)
    return arguments


def _counted(items: Mapping[str, Argument]) -> list[Argument]:
    return [len(items), *_flat(items)]


def _flat(items: Mapping[str, Argument]) -> Iterable[Argument]:
    return chain.from_iterable(items.items())


def settle(ids: Sequence[str], outcomes: Sequence[Any], fence: Fence | None = None) -> None:
    """Raise what a batch amounts to, if any of it failed."""
    failed = {id: outcome for id, outcome in zip(ids, outcomes, strict=True) if isinstance(outcome, Exception)}
    late = [id for id, outcome in zip(ids, outcomes, strict=True) if id not in failed and outcome_in(outcome) == LOST]
    if fence is not None and late:
        done = [id for id in ids if id not in failed and id not in late]
        raise fence.lost(done=done, refused=len(late)) from next(iter(failed.values()), None)
    if not failed:
        return
    done = [id for id in ids if id not in failed]
    kinds = {type(error) for error in failed.values()}
    first = next(iter(failed.values()))
    if done or len(kinds) > 1:
        raise PartialBatchError(
            f"{len(done)} of {len(ids)} happened; the first failure: {first}", done=done, failed=failed
        ) from first
    if isinstance(first, OutcomeUnknownError):
        raise OutcomeUnknownError(str(first), ids=tuple(failed)) from first.__cause__
    raise first


def told_outcome(command: Command, answer: Any) -> Outcome | None:
    """What became of an item as far as others are to be told; a deletion as WRITTEN, None where nobody knows."""
    if isinstance(answer, OutcomeUnknownError):
        return None
    if isinstance(answer, Exception) or outcome_in(answer) == LOST:
        return Outcome.MISSING
    if command[0] == "HSET":
        return Outcome.WRITTEN
    is_deletion = command[0] == "DEL" or command[1] == load_script("delete").digest
    return Outcome.WRITTEN if is_deletion and outcome_in(answer) else Outcome(reply.as_int(outcome_in(answer)))


def outcome_of(command: Command, answer: Any) -> Outcome:
    """What became of an item, by the reply to its command."""
    # HSET answers with the number of fields that were not there before, whichever that is.
    return Outcome.WRITTEN if command[0] == "HSET" else Outcome(reply.as_int(outcome_in(answer)))
