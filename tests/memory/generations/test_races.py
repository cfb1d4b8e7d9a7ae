"""Workers that know of a change of models late, or are slow, while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import (
    ConfigurationError,
    EmbeddingError,
    Importance,
    IndexMismatchError,
    MemoryListOptions,
    MemoryStore,
)
from betterdb_agent_memory.embedders.function import FunctionEmbedder
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import LeaseLostError
from betterdb_agent_memory.memory.generations import layout as layout_module
from betterdb_agent_memory.memory.generations import migration as migration_module
from betterdb_agent_memory.memory.generations.generation import drop_generation, generation_collection
from betterdb_agent_memory.memory.generations.state import GenerationState
from betterdb_agent_memory.options import checked_name
from tests.memory.generations.conftest import Workers
from tests.memory.generations.words import NAME, WordEmbedder, following, former
from tests.waiting import NEVER_SECONDS, until

Step = Callable[[], Awaitable[None]]


async def found(store: MemoryStore, text: str) -> bool:
    hits = await store.recall(text, k=1, reinforce=False)
    return bool(hits) and hits[0].item.content == text and hits[0].similarity < 1e-5


async def mirrored(engine: Engine, number: int = 1) -> set[str]:
    """The ids that have a vector in the generation."""
    records = engine.records(generation_collection(NAME, number))
    return {row.id async for rows in records.scan(("vector",)) for row in rows}


async def own_vectors(store: MemoryStore) -> dict[str, bytes]:
    return {
        row.fields["content"].decode(): row.fields["vector"]
        async for rows in store._records.scan(("content", "vector"))
        for row in rows
    }


async def until_finishing(store: MemoryStore) -> asyncio.Task[object]:
    """A finish that has told everybody that it began."""
    task: asyncio.Task[object] = asyncio.create_task(store.migration.finish())
    while (await store._models.state.current(look=True)).phase != "finishing":  # noqa: ASYNC110 - told by the engine
        await asyncio.sleep(0.01)
    return task


@pytest.fixture(params=[24, 16], ids=["another length", "the same length"])
def model(request: pytest.FixtureRequest) -> WordEmbedder:
    return following(request.param)


async def test_a_write_that_began_before_the_change_has_its_vector_after_the_switch(
    engine: Engine, worker: Workers, model: WordEmbedder
) -> None:
    slow = former()
    writer = worker(embed_fn=slow, next_embed_fn=model)
    operator = worker(next_embed_fn=following(model.dimensions))
    await writer.remember("there already")
    slow.hold()
    late = asyncio.create_task(writer.remember("begun before the change"))
    await until(lambda: slow.waiting)
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    assert not late.done()
    slow.let_go()
    id = await late
    assert id in await mirrored(engine)
    assert await found(operator, "begun before the change")


async def test_a_write_or_change_that_ends_after_the_finish_has_the_new_vector(engine: Engine, worker: Workers) -> None:
    """With one length the memory would be written, with the wrong model's vector; nobody would ever see it."""
    model, slow = following(16), former()
    writer = worker(embed_fn=slow, next_embed_fn=model)
    operator = worker(next_embed_fn=following(16))
    id = await writer.remember("to be changed")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    slow.hold()
    late = asyncio.create_task(writer.remember("begun before the end"))
    change = asyncio.create_task(writer.update(id, content="changed before the end"))
    await until(lambda: slow.waiting == 2)
    await operator.migration.finish()
    assert not late.done()
    slow.let_go()
    await asyncio.gather(late, change)
    vectors = await own_vectors(operator)
    for text in ("begun before the end", "changed before the end"):
        assert vectors[text] == np.asarray(model.vector(text), "<f4").tobytes()
    assert await mirrored(engine) == set(), "nothing is written into a generation that is deleted"


class _Between:
    """Records whose reading waits for something before, or has something done behind it."""

    def __init__(self, records: Any, *, before: Step | None = None, behind: Step | None = None) -> None:
        self._records = records
        self._before, self._behind = before, behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> Any:
        if self._before is not None:
            await self._before()
        found = await self._records.read_many(ids, fields)
        if self._behind is not None:
            await self._behind()
        return found


async def test_a_vector_of_a_former_content_is_not_given_to_a_memory(
    worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content changes after its vector was read, and before the memory is."""
    model = following(16)
    writer, operator = worker(next_embed_fn=model), worker(next_embed_fn=following(16))
    id = await writer.remember("to be changed")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    await writer.recall("so that it knows")
    generation = operator._models.generation(await operator._models.state.current(look=True))
    assert generation is not None
    changed = asyncio.Event()

    async def change() -> None:
        await writer.update(id, content="changed meanwhile")
        changed.set()

    async def wait() -> None:
        await changed.wait()

    with monkeypatch.context() as patched:
        patched.setattr(generation, "records", _Between(generation.records, behind=change))
        patched.setattr(generation, "_memories", _Between(generation._memories, before=wait))
        assert await generation.adopt([id]) == 1, "to be looked at once more"
    vectors = await own_vectors(operator)
    assert vectors["changed meanwhile"] != np.asarray(model.vector("to be changed"), "<f4").tobytes()
    assert await generation.adopt([id]) == 0
    vectors = await own_vectors(operator)
    assert vectors["changed meanwhile"] == np.asarray(model.vector("changed meanwhile"), "<f4").tobytes()


async def test_a_write_that_the_new_index_refuses_is_embedded_again(worker: Workers) -> None:
    """In a file, where the index takes vectors of its own length only."""
    model, slow = following(24), former()
    writer = worker(embed_fn=slow, next_embed_fn=model)
    operator = worker(next_embed_fn=following(24))
    id = await writer.remember("to be changed")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    slow.hold()
    late = asyncio.gather(
        writer.remember("one"), writer.remember_many(["two", "three"]), writer.update(id, content="changed")
    )
    await until(lambda: slow.waiting == 4)
    await operator.migration.finish()
    assert not late.done()
    slow.let_go()
    _, results, _ = await late
    assert [result.outcome for result in results] == ["stored", "stored"]
    vectors = await own_vectors(operator)
    for text in ("one", "two", "three", "changed"):
        assert vectors[text] == np.asarray(model.vector(text), "<f4").tobytes()


async def test_a_question_is_never_compared_with_another_models_vectors(worker: Workers) -> None:
    model, slow = following(16), former()
    reader = worker(embed_fn=slow, next_embed_fn=model)
    operator = worker(next_embed_fn=following(16))
    await reader.remember_many([f"text {number}" for number in range(30)])
    await operator.migration.start()
    await operator.migration.run()
    slow.hold()
    straddling = asyncio.create_task(reader.recall("text 7", k=1))
    await until(lambda: slow.waiting)
    await operator.migration.switch()
    await operator.migration.finish()
    assert not straddling.done()
    slow.let_go()
    [hit] = await straddling
    assert hit.item.content == "text 7"
    assert hit.similarity < 1e-5


async def test_workers_with_the_former_model_alone_are_refused_once_it_ends(
    worker: Workers, model: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = worker()
    await old.remember_many([f"text {number}" for number in range(20)])
    operator = worker(next_embed_fn=model)
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    assert await found(old, "text 3")
    monkeypatch.setattr(migration_module, "_GRACE_SECONDS", 0.6)
    finishing = await until_finishing(operator)
    await asyncio.sleep(0.2)  # what it believes
    for call in (old.recall("text 3"), old.remember("text")):
        with pytest.raises(IndexMismatchError, match="following"):
            await call
    await finishing
    with pytest.raises(IndexMismatchError, match="following"):
        await old.recall("text 3")


async def test_others_are_served_while_it_is_finished(
    worker: Workers, model: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has the next model only, and one that has none."""
    operator, other = worker(next_embed_fn=model), worker(next_embed_fn=following(model.dimensions))
    await operator.remember_many([f"text {number}" for number in range(40)], thread_id="t")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    walk = other.iterate(page_size=5)
    seen = {(await anext(walk)).id for _ in range(3)}
    monkeypatch.setattr(migration_module, "_GRACE_SECONDS", 0.5)
    finishing = await until_finishing(operator)
    new_only, none = worker(embed_fn=following(model.dimensions)), worker(embed_fn=None)
    while not finishing.done():
        for store in (other, new_only):
            assert await found(store, "text 5")
        for store in (other, new_only, none):
            assert (await store.list(MemoryListOptions(thread_id="t"))).total == 40
            assert len([item async for item in store.iterate(thread_id="t", page_size=7)]) == 40
        assert len(await other.recall("text", k=50, where=Importance.between(0, 1))) >= 40
        id = await other.remember("written meanwhile")
        await other.update(id, content="changed meanwhile")
        assert await found(new_only, "changed meanwhile")
        assert await other.forget(id)
        await other.remember("to be forgotten", thread_id="gone")
        assert await none.forget_by_scope(thread_id="gone") == 1
        seen |= {item.id for item in [await anext(walk, None)] if item is not None}
    await finishing
    seen |= {item.id async for item in walk}
    assert seen >= {item.id async for item in other.iterate(thread_id="t")}
    assert (await other.list()).total == 40


async def test_a_limit_holds_while_it_is_finished(worker: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = worker(next_embed_fn=following())
    other = worker(next_embed_fn=following(), max_items_per_scope=10)
    await other.remember_many([f"text {number}" for number in range(10)], thread_id="t")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    monkeypatch.setattr(migration_module, "_GRACE_SECONDS", 0.5)
    finishing = await until_finishing(operator)
    written = 0
    while not finishing.done():
        await other.remember(f"more {written}", thread_id="t")
        written += 1
        assert (await other.list(MemoryListOptions(thread_id="t"))).total == 10
    await finishing
    assert written
    assert (await other.stats()).evictions == written


async def test_what_is_forgotten_leaves_the_generation_at_once(engine: Engine, worker: Workers) -> None:
    """By whoever forgets it, in whatever way."""
    old, operator = worker(), worker(next_embed_fn=following())
    limited = worker(next_embed_fn=following(), max_items_per_scope=2)
    ids = [result.id or "" for result in await old.remember_many([f"text {n}" for n in range(5)], thread_id="t")]
    await operator.migration.start()
    await operator.migration.run()
    await asyncio.sleep(0.15)  # what `old` believes
    await old.forget(ids[0])
    assert await mirrored(engine) == set(ids[1:])
    await operator.update(ids[1], tags=["go"])
    assert await old.forget_by_scope(tags=["go"]) == 1
    assert await mirrored(engine) == set(ids[2:])
    new = await limited.remember("one too many", thread_id="t")
    left = await mirrored(engine)
    assert new in left
    assert len(left) == 2


async def test_a_start_forgets_no_old_workers_writes(worker: Workers) -> None:
    """One embedder: told of nothing, its writes are seen by the run, the switch and the finish."""
    old, operator = worker(), worker(next_embed_fn=following())
    await old.remember("before")
    await operator.migration.start()
    await old.remember("while it is filled")
    await operator.migration.run()
    await old.remember("when it is filled")
    await operator.migration.switch()
    assert await found(operator, "when it is filled")
    await old.remember("when it is switched")
    await operator.migration.finish()
    assert await found(operator, "when it is switched")


async def test_one_memory_that_cannot_be_embedded_keeps_no_other_back(engine: Engine, worker: Workers) -> None:
    class Squeamish(WordEmbedder):
        async def embed_documents(self, texts: list[str]) -> list[np.ndarray]:  # type: ignore[override]
            if "poison" in texts:
                raise ValueError("cannot embed this")
            return await super().embed_documents(texts)

    store = worker(next_embed_fn=Squeamish("following", 24, 2))
    await store.remember("poison")
    await store.remember_many([f"text {number}" for number in range(50)])
    await store.migration.start()
    with pytest.raises(EmbeddingError, match="1 memories could not"):
        await store.migration.run(batch_size=10)
    assert len(await mirrored(engine)) == 50


async def test_the_change_can_be_given_up_without_the_next_embedder(engine: Engine, worker: Workers) -> None:
    store = worker(next_embed_fn=following())
    await store.remember("something")
    await store.migration.start()
    await store.migration.run()
    await store.migration.switch()
    plain = worker()
    assert (await plain.migration.roll_back()).phase == "ready"
    assert (await plain.migration.abandon()).phase == "none"
    assert await mirrored(engine) == set()


async def test_the_way_back_waits_for_no_run(worker: Workers) -> None:
    """A run after the switch embeds what others wrote, which may take long; bad recalls must not go on meanwhile."""
    model = following()
    old, operator, other = worker(), worker(next_embed_fn=model), worker(next_embed_fn=following())
    await old.remember_many([f"text {number}" for number in range(20)])
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    await old.remember("written by a worker with the former model alone")
    model.hold()
    catching_up = asyncio.create_task(operator.migration.run())
    await until(lambda: model.waiting)
    assert (await other.migration.roll_back()).phase == "ready"
    assert (await other.migration.roll_back()).phase == "ready", "nothing to do is no mishap"
    assert not catching_up.done()
    model.let_go()
    status = await catching_up
    assert (status.phase, status.embedded) == ("ready", 21)
    assert (await operator.migration.switch()).phase == "switched"
    assert await found(operator, "written by a worker with the former model alone")


@pytest.mark.parametrize("step", ["switch", "finish"])
async def test_a_step_that_still_catches_up_does_not_undo_the_way_back(worker: Workers, step: str) -> None:
    model = following()
    old, operator, other = worker(), worker(next_embed_fn=model), worker(next_embed_fn=following())
    await old.remember("first")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    await old.remember("second")
    before = await own_vectors(old)
    model.hold()
    going_on = asyncio.create_task(getattr(operator.migration, step)())
    await until(lambda: model.waiting)
    assert (await other.migration.roll_back()).phase == "ready"
    assert not going_on.done()
    model.let_go()
    if step == "finish":
        with pytest.raises(ConfigurationError, match=r"switch\(\) comes first"):
            await going_on
    else:
        assert (await going_on).phase == "ready"
    assert (await other.migration.status()).phase == "ready"
    assert await own_vectors(old) == before
    assert await found(old, "second")


async def test_there_is_no_way_back_once_memories_are_changed(worker: Workers) -> None:
    operator, other = (worker(next_embed_fn=following()) for _ in range(2))
    await operator.remember("something")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    finishing = await until_finishing(operator)
    with pytest.raises(ConfigurationError, match=r"only finish\(\)"):
        await other.migration.roll_back()
    assert (await finishing) is not None
    assert (await other.migration.status()).phase == "none"


async def test_a_late_word_of_the_way_back_stops_the_finish(worker: Workers) -> None:
    """Whoever goes back stood still between its last look and its word."""
    operator, late = (worker(next_embed_fn=following()) for _ in range(2))
    await operator.remember("something")
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    before = await own_vectors(operator)
    finishing = await until_finishing(operator)
    async with late.migration._turn() as turn:
        await late._models.state.note_phase("ready", turn)
    with pytest.raises(ConfigurationError, match=r"switch\(\) comes first"):
        await finishing
    assert await own_vectors(operator) == before
    assert (await operator.migration.switch()).phase == "switched"
    assert (await operator.migration.finish()).phase == "none"


async def test_others_keys_below_a_generation_are_left_alone(worker: Workers, request: pytest.FixtureRequest) -> None:
    """Such as those of a store that an earlier release let be called `words:gen1`."""
    if "valkey" not in request.node.callspec.id:
        pytest.skip("only a server holds keys of others")
    with request.getfixturevalue("valkey_server").blocking_client() as client:
        foreign = {f"{NAME}:gen{number}:{end}" for number in (1, 2) for end in ("__mem_config", "idx:__mem_config")}
        for key in foreign:
            client.hset(key, mapping={"threshold": "0.4"})
        client.set(f"{NAME}:gen1:text", "x")
        store = worker(next_embed_fn=following())
        await store.remember_many(["one", "two"])
        for give_up in (True, False):
            await store.migration.start()
            await store.migration.run()
            await store.migration.switch()
            await (store.migration.abandon() if give_up else store.migration.finish())
        left = {key.decode() for key in client.keys(f"{NAME}:gen*")}
        assert left == foreign | {f"{NAME}:gen1:text"}
        assert not [name for name in client.execute_command("FT._LIST") if b":gen" in name]


@pytest.mark.parametrize("name", ["app:gen1", "app:gen12:x", "a:b:gen0"])
def test_a_name_among_the_keys_of_a_generation_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"'{name.partition(':gen')[0]}' makes and deletes"):
        checked_name(name)


@pytest.mark.parametrize("name", ["gen1", "gen1:app", "app:gen", "app:gen1x", "app:general", "app:GEN1"])
def test_other_names_with_gen_are_fine(name: str) -> None:
    assert checked_name(name) == name


async def test_with_one_model_nothing_is_worked_out_anew_for_each_call(
    worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No layout, no question about the state: neither for a recall, nor for what follows a write."""
    for seconds in ("STATE_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(layout_module, seconds, NEVER_SECONDS)
    for store in (worker(), worker(next_embed_fn=following())):
        await store.remember("first")
        await store._models.layout()
        plain = store._models.plain()
        assert plain is not None
        await store.recall("first")
        await store.remember("second")
        assert await store._models.layout() is plain
        assert plain.generation is not None
        assert plain.generation.is_closed()
    operator = worker(next_embed_fn=following())
    await operator.migration.start()
    assert operator._models.plain() is None
    assert await operator._models.layout() is not plain


async def test_a_worker_that_lost_its_lease_moves_nothing_back(worker: Workers) -> None:
    """It stood still between its last look at the lease and its word."""
    late, operator = (worker(next_embed_fn=following()) for _ in range(2))
    await operator.remember("something")
    await operator.migration.start()
    state = await late._models.state.current(look=True)
    lost = late.migration._lease()
    async with lost:
        pass
    await operator.migration.run()
    await operator.migration.switch()
    for say in (
        late._models.state.note_position("1:a", lost),
        late._models.state.note_phase("ready", lost),
        late._models.state.write(state, lost),
        late._models.state.note_rebuilding("now", 0, lost),
    ):
        with pytest.raises(LeaseLostError):
            await say
    status = await operator.migration.status()
    assert (status.phase, (await operator._models.state.current(look=True)).position) == ("switched", None)


async def test_a_worker_that_lost_its_lease_drops_nothing(engine: Engine, worker: Workers) -> None:
    """It stood still right before it would have deleted what a start has left, or made an index anew."""
    late, operator = (worker(next_embed_fn=following()) for _ in range(2))
    ids = {await operator.remember(f"text {number}") for number in range(3)}
    lost = late.migration._lease()
    async with lost:
        pass
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    for drop in (
        drop_generation(engine, NAME, 1, lost.fence),
        late._models.index.rebuild(24, fence=lost.fence),
        late._records.drop(fence=lost.fence),
    ):
        with pytest.raises(LeaseLostError):
            await drop
    assert await mirrored(engine) == ids
    assert (await late._records.inspect()).dimensions == 16
    assert await found(operator, "text 1")


async def test_a_word_about_the_first_model_that_comes_late_is_no_more_believed(worker: Workers) -> None:
    """Who made the index stood still before it said for which model, and the model was changed meanwhile."""
    creator, operator = worker(), worker(next_embed_fn=following())
    assert (await creator._models.state.current(look=True)).embedder is None
    await operator.remember("something")
    for step in ("start", "run", "switch", "finish"):
        await getattr(operator.migration, step)()
    await creator._models.state.note_embedder("former")
    assert (await operator.migration.status()).embedder == "following"
    assert await found(worker(embed_fn=following()), "something")


async def test_an_index_that_others_make_meanwhile_is_made_again(
    worker: Workers, request: pytest.FixtureRequest
) -> None:
    """A client in another language, on a server, finds none for an instant and makes one for its vectors."""
    if "valkey" not in request.node.callspec.id:
        pytest.skip("only this library opens a file, and makes no index for another length in it")
    operator = worker(next_embed_fn=following())
    await operator.remember_many([f"text {number}" for number in range(20)])
    await operator.migration.start()
    await operator.migration.run()
    await operator.migration.switch()
    records = operator._records
    finishing = await until_finishing(operator)
    await asyncio.sleep(0.05)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    await records.rebuild(24)
    await records.rebuild(16)
    assert await found(operator, "text 3")
    await operator.migration.finish()
    state = await records.inspect()
    assert state.dimensions == 24
    assert await records.count(Filter()) == 20
    assert await found(operator, "text 3")


async def test_models_without_a_name_are_not_moved_to(worker: Workers) -> None:
    async def embed(text: str) -> list[float]:
        return [float(number) for number in former().vector(text)]

    with pytest.raises(ConfigurationError, match="needs a name"):
        await worker(next_embed_fn=embed).migration.start()
    named = FunctionEmbedder(embed, name="same-length", dimensions=16)
    store = worker(embed_fn=embed, next_embed_fn=named)
    await store.remember("text")
    await store.migration.start()
    await store.migration.run()
    await store.migration.switch()
    await store.migration.finish()
    with pytest.raises(IndexMismatchError, match="same-length"):
        await worker(embed_fn=embed).recall("text")


async def test_a_state_of_another_release_is_said_and_not_guessed() -> None:
    for fields in ({"phase": b"doubling"}, {"phase": b"ready", "number": b"two"}, {"rebuilding": b"maybe"}):
        with pytest.raises(ConfigurationError, match="key"):
            GenerationState.decoded("key", fields)
    state = GenerationState("ready", 3, "a", "b", 8, "1:x", 12, finished=True)
    assert GenerationState.decoded("key", state.encoded()) == state
