"""Memories for a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.prompting import DEFAULT_HEADING, CountTokens, MemoryContext, Packing
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.requests import MAX_K, checked_integer
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.scoring.choice import ScoringChoice
from betterdb_agent_memory.memory.surroundings import ids_beside, surroundings
from betterdb_agent_memory.memory.verbs.recall import RecallVerbs
from betterdb_agent_memory.memory.where import Where
from betterdb_agent_memory.options import RecallWeights, Retrieval

DEFAULT_BUDGET_TOKENS = 2_000
DEFAULT_CANDIDATES = 32
MAX_BUDGET_TOKENS = 10_000_000
MAX_AROUND = 20
CHARACTERS_A_ROW = 40
"""Characters that take as long to pack as a row of other work does: 4 microseconds, estimated tokens included."""


class PromptVerbs(RecallVerbs):
    """context."""

    async def context(
        self,
        query: str,
        *,
        budget_tokens: int | None = None,
        k: int | None = None,
        around: int | None = None,
        heading: str = DEFAULT_HEADING,
        count_tokens: CountTokens | None = None,
        sources: Sequence[str] | None = None,
        threshold: float | None = None,
        tags: Sequence[str] | None = None,
        weights: RecallWeights | None = None,
        reinforce: bool | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
        now: int | None = None,
        retrieval: Retrieval | None = None,
        exact: bool | None = None,
        diversity: float | None = None,
        rerank: bool | None = None,
        fresh: bool | None = None,
        scoring: ScoringChoice | None = None,
        expand: bool = False,
        min_confidence: float | None = None,
        context: Sequence[str] | None = None,
    ) -> MemoryContext:
        """What is remembered about `query`, as a text for a prompt of at most `budget_tokens` (2,000 by default).

        The best of `k` recalled memories (32 by default), best first as long as there is room, without those that
        say the same; then oldest first, what one session says on a day together, each with its sources. They are
        delimited as data, and no content can break out of that (docs/context.md). `heading` is the first line, put
        there as it is; "" leaves it out.
        With `around` (0 by default, at most 20) as many turns before and after each hit of a conversation come along,
        while there is room, so that "yes, that one" is read with its question: of the same session and scope, marked
        `"context": true`. They need not meet `tags`, `subject`, `kind` and `where`, and are not reinforced.
        `sources` are those of "id", "time", "date", "session", "turn", "speaker", "agent", "source" and "tags" that a
        line tells, by default all but session and turn.
        `count_tokens` is the model's tokenizer, a function from a text to a number; without one tokens are estimated.
        The budget holds for the whole text. Only hits that are in it are reinforced, and none that was added by a link
        (`expand`), which come last. The rest is as for `recall`, round trips included; turns around hits are one more
        per 500.

        Raises:
            InvalidInputError: something is refused, before the embedder was called; or `count_tokens` failed.
            EmbeddingError: the embedder failed.
            RerankingError: the reranker failed.
            EngineError: the server said no, or did not answer in time.
        """
        budget = checked_integer("budget_tokens", budget_tokens, DEFAULT_BUDGET_TOKENS, 1, MAX_BUDGET_TOKENS)
        count = checked_integer("k", k, DEFAULT_CANDIDATES, 1, MAX_K)
        reach = checked_integer("around", around, 0, 0, MAX_AROUND)
        if reinforce is not None and not isinstance(reinforce, bool | np.bool_):
            raise InvalidInputError(f"reinforce must be true or false, got {reinforce!r:.80}")
        packing = Packing(budget_tokens=budget, heading=heading, count_tokens=count_tokens, sources=sources)
        hits = await self.recall(
            query,
            k=count,
            threshold=threshold,
            tags=tags,
            weights=weights,
            reinforce=False,
            thread_id=thread_id,
            agent_id=agent_id,
            namespace=namespace,
            scope=scope,
            subject=subject,
            where=where,
            kind=kind,
            now=now,
            retrieval=retrieval,
            exact=exact,
            diversity=diversity,
            scoring=scoring,
            rerank=rerank,
            fresh=fresh,
            expand=expand,
            min_confidence=min_confidence,
            context=context,
        )
        beside = await self._beside([hit.item for hit in hits], reach)
        told = [*(hit.item for hit in hits), *(item for items in beside.values() for item in items)]
        characters = sum(len(item.content) for item in told)
        packed = await off_loop(max(len(told), characters // CHARACTERS_A_ROW), packing.pack, hits, beside)
        found = [hit.item.id for hit in packed.hits if hit.explain is None or hit.explain.link is None]
        if found and (reinforce is None or reinforce):
            now_ms = self._clock() if now is None else now
            await self._reinforcer.reinforce(found, now_ms)
            self._watch.reinforcements(self._reinforcer.statistics())
        return packed

    async def _beside(self, items: Sequence[MemoryItem], reach: int) -> dict[str, list[MemoryItem]]:
        """The turns around those that are turns, by id. One round trip per 500, none where all are known."""
        ids = ids_beside(items, reach)
        read = await self._read(ids) if ids else []
        return surroundings(items, read, reach)
