"""Whose a field is (F 10)."""

from __future__ import annotations

import pytest

from tests.caches.session.support import Open, Session


async def test_f10_a_thread_never_includes_one_whose_name_begins_the_same(session: Session) -> None:
    cache = session.cache
    await cache.set("a", "x", "1")
    await cache.set("a:b", "y", "2")
    await cache.set("a*c", "z", "3")
    await cache.set("axc", "w", "4")
    for scan in (None, True):
        assert await cache.get_all("a", scan=scan) == {"x": "1"}
        assert await cache.get_all("a:b", scan=scan) == {"y": "2"}
        assert await cache.get_all("a*c", scan=scan) == {"z": "3"}
    assert await cache.scan_fields_by_prefix("a", "") == {"x": "1"}
    assert await cache.get("a", "b:y") is None
    assert await cache.delete("a", "b:y") is False
    assert await cache.destroy_thread("a") == 1
    assert await cache.get_all("a:b") == {"y": "2"}


async def test_f10_destroying_a_thread_leaves_unclaimed_fields_of_longer_names_alone(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await session.store("a", "x", b"1")
    await session.store("a:b", "y", b"2")
    assert await session.cache.get_all("a", scan=True) == {"x": "1"}
    assert await session.cache.destroy_thread("a") == 1
    assert await session.stored("a:b", "y") == b"2"
    assert "1 keys that begin with" in caplog.text
    assert await session.cache.destroy_thread("a:b") == 1


async def test_f10_touching_a_thread_does_not_touch_another(opened: Open) -> None:
    session = opened(300)
    await session.cache.set("a", "x", "1", ttl=10)
    await session.cache.set("a:b", "y", "2", ttl=10)
    await session.count_foreign(writes=1)
    await session.cache.touch("a")
    assert (await session.left_ms("a", "x") or 0) > 10_000
    assert (await session.left_ms("a:b", "y") or 0) <= 10_000


@pytest.mark.parametrize("values", [("first", "second", "third"), ("same", "same", "same")])
async def test_a_key_that_two_threads_could_own_belongs_to_the_one_that_wrote_last(
    session: Session, values: tuple[str, str, str]
) -> None:
    cache = session.cache
    first, second, third = values
    await cache.set("a", "b:c:f", first)
    assert await cache.get("a:b", "c:f") is None
    assert await cache.get("a:b:c", "f") is None
    await cache.set("a:b:c", "f", second)
    assert await cache.get("a", "b:c:f") is None
    assert await cache.get_all("a") == {}
    assert await cache.get_all("a", scan=True) == {}
    assert await cache.destroy_thread("a") == 0
    await cache.set("a:b", "c:f", third)
    assert await cache.get_all("a:b:c", scan=True) == {}
    assert await cache.get_all("a:b") == {"c:f": third}
    assert await cache.destroy_thread("a:b:c") == 0
    assert await cache.destroy_thread("a:b") == 1
    assert [await session.index(thread) for thread in ("a", "a:b", "a:b:c")] == [{}, {}, {}]


async def test_fields_with_colons_are_read_and_destroyed_with_their_thread(session: Session) -> None:
    fields = {"user:name": "Maya", "x": "1", "checkpoint:1ef": "{}", "writes:1ef|t|c|0": "{}"}
    for field, value in fields.items():
        await session.cache.set("t:1", field, value)
    for scan in (None, True):
        assert await session.cache.get_all("t:1", scan=scan) == fields
    assert await session.cache.scan_fields_by_prefix("t:1", "writes:1ef|") == {"writes:1ef|t|c|0": "{}"}
    assert await session.cache.get("t:1", "user:name") == "Maya"
    assert await session.cache.delete("t:1", "user:name") is True
    assert await session.cache.destroy_thread("t:1") == 3
    assert await session.keys("t:1") == set()


async def test_what_langgraph_savers_of_other_packages_stored_belongs_to_its_thread(session: Session) -> None:
    fields = {"checkpoint:1ef": "{}", "__checkpoint_latest": "{}", "writes:1ef|t|c|0": "{}"}
    for field, value in fields.items():
        await session.store("t:1", field, value.encode())
    assert await session.cache.get_all("t:1", scan=True) == fields
    assert await session.cache.get_all("t:1:checkpoint", scan=True) == {}
    assert await session.cache.destroy_thread("t:1:checkpoint") == 0
    assert await session.cache.destroy_thread("t:1") == 3


async def test_an_unclaimed_field_with_a_colon_is_found_by_its_name(session: Session) -> None:
    await session.store("t", "user:name", b"Maya")
    assert await session.cache.get("t", "user:name") == "Maya"
    # Whoever meets it as a whole takes it for a field of thread t:user, and that claims nothing.
    assert await session.cache.get_all("t", scan=True) == {}
    assert await session.cache.get_all("t:user", scan=True) == {"name": "Maya"}
    assert await session.cache.get("t", "user:name") == "Maya"
    assert await session.cache.delete("t", "user:name") is True


async def test_unclaimed_fields_with_colons_are_read_and_destroyed_with_their_thread_if_asked(session: Session) -> None:
    cache = session.cache
    await cache.set("t", "plain", "1")
    await session.store("t", "user:name", b"Maya")
    await session.store("t", "a:b:c", b"2")
    await cache.set("t:user", "mail", "of another thread")
    everything = {"plain": "1", "user:name": "Maya", "a:b:c": "2"}
    assert await cache.get_all("t", scan=True) == {"plain": "1"}
    assert await cache.get_all("t", include_unclaimed=True) == everything
    # To have looked at them claims nothing.
    assert await cache.get_all("t") == {"plain": "1"}
    assert await cache.get_all("t:user", scan=True) == {"name": "Maya", "mail": "of another thread"}
    assert await cache.destroy_thread("t", include_unclaimed=True) == 3
    assert await cache.get_all("t", include_unclaimed=True) == {}
    assert await cache.get_all("t:user", scan=True) == {"mail": "of another thread"}
    assert await session.keys("t") == {f"{session.name}:session:t:user:mail"}
