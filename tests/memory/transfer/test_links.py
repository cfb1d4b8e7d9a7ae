"""Links go into a file with their memories and come back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from betterdb_agent_memory import InvalidInputError, MemoryStore
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.transfer import form
from tests.embedding import embed
from tests.servers import ValkeyServer


async def weights(store: MemoryStore, id: str) -> dict[str, float]:
    return {link.id: link.weight for link in await store.links(id)}


async def test_links_survive_the_way_through_a_file(
    tmp_path: Path, valkey_server: ValkeyServer, store_name: str
) -> None:
    file, server = EmbeddedEngine(tmp_path / "a.db"), ValkeyEngine.from_url(valkey_server.url)
    source = MemoryStore(client=file, name="s", embed_fn=embed)
    for id in "abcd":
        await source.remember(f"memory {id}", id=id, namespace="n" if id != "d" else "other")
    await source.link("a", "c", 3.0)
    await source.link("b", "c", 1.5)
    await source.link("a", "d", 2.0)
    whole, part = io.BytesIO(), io.BytesIO()
    await source.export_to(whole, vectors=False)
    await source.export_to(part, namespace="n")
    assert b'"d"' not in part.getvalue()  # the id of what is not exported

    target = MemoryStore(client=server, name=store_name, embed_fn=embed)
    await target.import_from(io.BytesIO(whole.getvalue()))
    for id in "abcd":
        assert await weights(target, id) == pytest.approx(await weights(source, id), rel=1e-5)
    assert [link.since for link in await target.links("b")] == [link.since for link in await source.links("b")]

    back = MemoryStore(client=file, name="back", embed_fn=embed)
    await back.import_from(io.BytesIO(part.getvalue()))
    assert set(await weights(back, "a")) == {"c"}
    await back.unlink("a", "c")
    # What is there already keeps the links it has.
    await back.import_from(io.BytesIO(part.getvalue()), resume=False)
    assert await weights(back, "a") == {}
    for store in (source, target, back):
        await store.close()
    await file.close()
    await server.close()


async def test_links_fade_by_the_clock_of_the_store_on_their_way(tmp_path: Path) -> None:
    times = [1_750_000_000_000]
    file = EmbeddedEngine(tmp_path / "a.db")
    source, target = (MemoryStore(client=file, name=name, embed_fn=embed, clock=lambda: times[-1]) for name in "st")
    for id in "ab":
        await source.remember(f"memory {id}", id=id)
    await source.link("a", "b", 2.0)
    exported = io.BytesIO()
    await source.export_to(exported)
    times.append(times[-1] + 30 * 86_400_000)
    await target.import_from(io.BytesIO(exported.getvalue()))
    assert await weights(target, "a") == pytest.approx({"b": 1.0}, rel=1e-5)
    for store in (source, target):
        await store.close()
    await file.close()


@pytest.mark.parametrize(
    "links",
    [[], {"b": 1}, {"b": [1]}, {"b": [0, 1]}, {"b": [True, 1]}, {"b": ["1", 1]}, {"b": [1, 1.5]}, {"b:c": [1, 1]}],
    ids=["list", "number", "short", "zero", "boolean", "text", "since", "id"],
)
def test_bad_links_in_a_line_are_refused(links: object) -> None:
    line = {"id": "a", "content": "x", "links": links}
    with pytest.raises(InvalidInputError):
        form.decode_memory_line(json.dumps(line).encode())
    good = form.decode_memory_line(json.dumps(line | {"links": {"b": [1, 2]}}).encode())
    assert form.decode_memory_line(form.encode_memory_line(good)) == good
