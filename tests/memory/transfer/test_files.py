"""A file that was cut off anywhere is continued behind its last whole line."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.transfer import files
from betterdb_agent_memory.memory.transfer.files import LineReader, PartFile, open_lines
from tests.memory.transfer.conftest import MakeStore

PAGES = [b"header\n", b"one\ntwo\n", b"three\n", "vier ü\n".encode()]
TEXT = b"".join(PAGES)


def part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def write_all(path: Path, *, resume: bool = True) -> None:
    """What an export does: what is there already is not written again."""
    file = PartFile(path, resume=resume)
    file.go_on()
    missing = TEXT.splitlines(keepends=True)[file.found.count :]
    for line in missing:
        file.append(line)
    file.finish()


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.parametrize("name", ["memories.jsonl", "memories.jsonl.gz"])
def test_a_file_cut_off_at_any_byte_is_made_whole(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    file = PartFile(whole, resume=True)
    for page in PAGES:
        file.append(page)
    file.close()
    written = part(whole).read_bytes()
    for length in range(len(written) + 1):
        part(whole).write_bytes(written[:length])
        write_all(whole)
        assert read(whole) == TEXT, length
        whole.unlink()


def test_zeros_that_a_power_failure_leaves_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    part(path).write_bytes(TEXT + bytes(5000))
    write_all(path)
    assert read(path) == TEXT


def test_the_name_appears_when_the_file_is_complete_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"an older export")
    file = PartFile(path, resume=True)
    file.append(b"new\n")
    assert path.read_bytes() == b"an older export"
    file.finish()
    assert path.read_bytes() == b"new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not part(path).exists()


def test_without_resume_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    part(path).write_bytes(b"something else\n")
    write_all(path, resume=False)
    assert read(path) == TEXT


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        PartFile(tmp_path / "nowhere" / "a.jsonl", resume=True)
    with pytest.raises(ConfigurationError, match="nowhere"):
        open_lines(tmp_path / "nowhere")


def test_lines_are_read_in_batches_and_numbered() -> None:
    reader = LineReader(io.BytesIO(b"h\na\n\n  \nb\nc\nd"), max_lines=2, max_bytes=1000)
    assert reader.header() == b"h\n"
    assert [(line.number, line.text) for line in reader.batch()] == [(2, b"a\n"), (5, b"b\n")]
    assert [(line.number, line.text) for line in reader.batch()] == [(6, b"c\n"), (7, b"d")]
    assert reader.batch() == []


def test_a_batch_ends_where_it_is_large_enough() -> None:
    reader = LineReader(io.BytesIO(b"x" * 100 + b"\nb\n"), max_lines=500, max_bytes=50)
    assert [line.number for line in reader.batch()] == [1]


def test_reading_goes_on_where_it_was_left() -> None:
    reader = LineReader(io.BytesIO(b"a\nb\nc\n"), max_lines=1, max_bytes=1000)
    reader.batch()
    again = LineReader(io.BytesIO(b"a\nb\nc\n"), max_lines=9, max_bytes=1000)
    again.seek(reader.offset, reader.number)
    assert [(line.number, line.text) for line in again.batch()] == [(2, b"b\n"), (3, b"c\n")]


def test_a_line_that_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 10)
    monkeypatch.setattr(files, "_CHUNK", 7)
    reader = LineReader(io.BytesIO(b"a\n" + b"x" * 50 + b"\nb\n"), max_lines=9, max_bytes=1000)
    assert [(line.number, line.text) for line in reader.batch()] == [(1, b"a\n"), (2, None), (3, b"b\n")]
    assert reader.offset == 2 + 51 + 2


def test_gzip_that_is_cut_off_is_an_error_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(b"h\n") + gzip.compress(b"line\n" * 50)
    path.write_bytes(packed[:-5])
    with open_lines(path) as stream:
        reader = LineReader(stream, max_lines=500, max_bytes=10_000)
        assert reader.header() == b"h\n"
        with pytest.raises(InvalidInputError, match="cut off"):
            reader.batch()


class TestPart:
    """The `.part` beside an export is ours alone, or is not touched."""

    async def test_a_link_is_not_followed(self, make_store: MakeStore, tmp_path: Path) -> None:
        path, victim = tmp_path / "a.jsonl", tmp_path / "victim"
        victim.write_bytes(b"theirs\n")
        part(path).symlink_to(victim)
        for resume in (True, False):
            with pytest.raises(ConfigurationError, match="symbolic link"):
                await make_store("file").export_to(path, resume=resume)
        assert victim.read_bytes() == b"theirs\n"

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    @pytest.mark.parametrize("theirs", [b"theirs\n", b"theirs", b"\x1f\x8b\x08theirs"])
    async def test_what_is_not_ours_is_left_alone(
        self, make_store: MakeStore, tmp_path: Path, theirs: bytes, name: str
    ) -> None:
        path = tmp_path / name
        part(path).write_bytes(theirs)
        with pytest.raises(ConfigurationError, match="resume=False"):
            await make_store("file").export_to(path)
        assert part(path).read_bytes() == theirs
        await make_store("file").export_to(path, resume=False)
        assert read(path).startswith(b'{"format"')

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    async def test_a_header_that_was_cut_off_is_ours(self, make_store: MakeStore, tmp_path: Path, name: str) -> None:
        path, store = tmp_path / name, make_store("file")
        await store.export_to(path)
        for length in (0, 1, 5, 40, path.stat().st_size - 1):
            part(path).write_bytes(path.read_bytes()[:length])
            await store.export_to(path)
            assert len(read(path).splitlines()) == 1

    async def test_only_its_owner_may_read_one_that_was_there(self, make_store: MakeStore, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        part(path).touch(0o666)
        part(path).chmod(0o666)
        await make_store("file").export_to(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    async def test_a_second_export_to_the_same_path_is_refused(self, make_store: MakeStore, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        first = PartFile(path, resume=True)
        first.append(b"first\n")
        for resume in (True, False):
            with pytest.raises(ConfigurationError, match="another export"):
                await make_store("file").export_to(path, resume=resume)
        first.finish()
        assert path.read_bytes() == b"first\n"
        await make_store("file").export_to(path)


def special(folder: Path, kind: str) -> Path:
    """Something in a folder that is no file, and not a real device."""
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.mkdir()
    return path


SPECIAL = pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
class TestPaths:
    """Only a file is replaced, and only a file is read by its name."""

    @SPECIAL
    @pytest.mark.parametrize("linked", [False, True])
    async def test_an_export_replaces_nothing_but_files(
        self, make_store: MakeStore, tmp_path: Path, kind: str, linked: bool
    ) -> None:
        there = path = special(tmp_path, kind)
        if linked:
            path = tmp_path / "link.jsonl"
            path.symlink_to(there)
        before = there.lstat()
        names = {one.name for one in tmp_path.iterdir()}
        for resume in (True, False):
            with pytest.raises(
                ConfigurationError, match="folder" if kind == "folder" else "no regular file.* - is the"
            ):
                await make_store("server").export_to(path, resume=resume)
        after = there.lstat()
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
        assert path.is_symlink() == linked
        assert {one.name for one in tmp_path.iterdir()} == names
        with pytest.raises(ConfigurationError, match="no regular file"):
            PartFile(path, resume=True)

    @pytest.mark.parametrize("name", ["link.jsonl", "link.jsonl.gz"])
    async def test_a_link_stays_and_the_file_behind_it_is_replaced(
        self, make_store: MakeStore, tmp_path: Path, name: str
    ) -> None:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        file, link, first = folder / "all", tmp_path / name, tmp_path / "first"
        file.write_bytes(b"an older export")
        first.symlink_to(file)
        link.symlink_to(first)
        begun = PartFile(link, resume=True)
        assert part(file).exists()
        begun.discard()
        begun.close()
        store = make_store("file")
        await store.export_to(link)
        assert link.is_symlink()
        assert first.is_symlink()
        assert not file.is_symlink()
        assert read(link).startswith(b'{"format"')
        assert [one.name for one in folder.iterdir()] == ["all"]
        assert (await store.import_from(link)).read == 0

    async def test_a_link_to_nothing_or_to_itself_is_refused(self, make_store: MakeStore, tmp_path: Path) -> None:
        link, circle = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
        link.symlink_to(tmp_path / "gone")
        circle.symlink_to(circle)
        for path, reason in ((link, "symbolic link to .*gone"), (circle, "symbolic links")):
            with pytest.raises(ConfigurationError, match=reason):
                await make_store("file").export_to(path)
            assert path.is_symlink()
        assert not (tmp_path / "gone").exists()

    def test_what_has_come_to_its_place_meanwhile_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        file = PartFile(path, resume=True)
        file.append(b"new\n")
        os.mkfifo(path)
        with pytest.raises(ConfigurationError, match="no regular file"):
            file.finish()
        file.close()
        assert stat.S_ISFIFO(path.lstat().st_mode)
        assert part(path).read_bytes() == b"new\n"

    @SPECIAL
    @pytest.mark.parametrize("resume", [True, False])
    async def test_an_import_reads_nothing_but_files_by_their_names(
        self, make_store: MakeStore, tmp_path: Path, kind: str, resume: bool
    ) -> None:
        path = special(tmp_path, kind)
        reason = "folder" if kind == "folder" else "no regular file.* - is the standard input"
        with pytest.raises(ConfigurationError, match=reason) as refusal:
            await make_store("file").import_from(path, resume=resume)
        assert "None" not in str(refusal.value)


class TestArguments:
    async def test_are_judged_before_any_work(self, make_store: MakeStore, tmp_path: Path) -> None:
        store: Any = make_store("file")
        for call in (store.export_to, store.import_from):
            with pytest.raises(ConfigurationError, match="folder"):
                await call(tmp_path)
            for nothing in ("", 5, io.StringIO()):
                with pytest.raises(InvalidInputError, match="stream"):
                    await call(nothing)
            with pytest.raises(InvalidInputError, match="resume"):
                await call(tmp_path / "a", resume="no")
            with pytest.raises(InvalidInputError, match="on_progress"):
                await call(tmp_path / "a", on_progress=1)
        with pytest.raises(InvalidInputError, match="vectors"):
            await store.export_to(tmp_path / "a", vectors="no")
        assert not (tmp_path / "a").exists()
