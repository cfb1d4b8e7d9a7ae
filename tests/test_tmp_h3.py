from __future__ import annotations
import asyncio, os
from betterdb_agent_memory import MemoryListOptions, MemoryStore
async def test_a(valkey_server):
    if os.environ.get("NOFILL"): return
    c = valkey_server.client()
    for i in range(75):
        p = c.pipeline(transaction=False)
        for j in range(1000): p.hset(f"x{i}:{j}", "a", "b")
        await p.execute()
    await c.aclose()
async def test_b(valkey_server, store_name) -> None:
    from tests.proxy import Proxy
    dimensions = 1_536
    async def wide(text: str) -> list[float]:
        return [1.0, float(len(text))] + [0.5] * (dimensions - 2)
    client = valkey_server.client()
    store = MemoryStore(client=client, name=store_name, embed_fn=wide, default_threshold=2.0)
    for number in range(20):
        await store.remember("x" * number, thread_id="t")
    last = 0
    async def sent(what) -> int:
        nonlocal last
        now = int((await client.info("stats"))["total_net_output_bytes"])
        print(what, now - last)
        last = now
    def calls(st): return {k: v["calls"] for k, v in st.items()}
    before = calls(await client.info("commandstats"))
    await sent("begin")
    await store.recall("x", thread_id="t", reinforce=False)
    await sent("recall")
    after = calls(await client.info("commandstats"))
    print({k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)})
    await sent("x")
    n = len(str(await client.execute_command("FT._LIST")))
    await sent("list of indexes")
    await store.recall("x", thread_id="t", reinforce=False)
    await sent("recall2")
    await client.aclose()
    assert 0
