"""Moving memories out and in, and looking after their index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.calibrating import calibrate
from betterdb_agent_memory.memory.calibration import (
    DEFAULT_FALSE_ACCEPT_RATE,
    DEFAULT_SAMPLE,
    MAX_SAMPLE,
    MIN_SAMPLE,
    AnsweredQuestion,
    Calibration,
    checked_questions,
    checked_rate,
)
from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration
from betterdb_agent_memory.memory.generations.reindexing import Reindexing
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.requests import checked_integer, exact_filter
from betterdb_agent_memory.memory.results import ReindexResult
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.searching import recall_space
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.transfer.arguments import check_progress
from betterdb_agent_memory.memory.transfer.exporting import export_jsonl
from betterdb_agent_memory.memory.transfer.importing import OnExisting, import_jsonl
from betterdb_agent_memory.memory.transfer.place import TransferPlace
from betterdb_agent_memory.memory.transfer.results import ExportResult, ImportResult
from betterdb_agent_memory.memory.where import Where


class MaintainVerbs(StoreParts):
    """export_to, import_from, reindex, migration, calibrate."""

    async def export_to(
        self,
        path: str | Path | BinaryIO,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        vectors: bool = True,
        include_superseded: bool = True,
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ExportResult:
        """Write memories to a file of JSON lines, oldest first, as docs/export-import.md describes: lossless.

        All of them, or those of the scope, with all `tags`, that meet `where`; and before them, unless
        `include_superseded=False`, the superseded versions and archived memories of which the same is true. A path
        (`.gz` compresses) is written as `<path>.part` and renamed when complete; after an interruption the same call
        goes on behind the last whole line, unless `resume=False`. A binary stream gets the lines and stays open. Every
        memory that is there all the time is in the file exactly once; what is written or forgotten meanwhile may be in
        it or not, and one that is replaced under its id may be in it twice: as it was, and further on as it is. Four
        round trips and memory for 250 memories at a time.

        Raises:
            InvalidInputError: an argument is of another type.
            ConfigurationError: the file cannot be written or is no regular one, another export is writing it, or the
                `.part` belongs to another one.
            IndexNotReadyError: with vectors, while `migration.finish()` replaces them; no `.part` stays.
            EngineError: what is written stays for the next run.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        return await export_jsonl(
            self._transfer_place(),
            path,
            filter=filter,
            vectors=vectors,
            include_superseded=include_superseded,
            resume=resume,
            on_progress=on_progress,
        )

    async def import_from(
        self,
        path: str | Path | BinaryIO,
        *,
        on_existing: OnExisting = "skip",
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ImportResult:
        """Store the memories of an export under their ids, with every field and expiry they had.

        A memory that is there already stays as it is, or is replaced with `on_existing="replace"`. Of two lines with
        one id the first is kept so, with "replace" the last, as docs/export-import.md tells. One
        that has expired since is left out; a line that is no memory is counted and reported in
        `errors`. Superseded versions and archived memories come to where the store keeps its own, for as long as they
        had still to be kept. Replacing looks at nothing but the id: a line of one namespace replaces a memory of
        another.
        Vectors are made anew where the file has none, or where they are another embedder's.
        After an interruption the same call on the same file goes on behind its last batch, unless
        `resume=False`. Scopes that are full make room after each 500 memories, as after any write. About six
        round trips and one embedding call, if any, for 500 memories.

        Raises:
            InvalidInputError: the file is no export that this release reads, or is cut off.
            ConfigurationError: it cannot be read or is no regular file, or it brings no usable vectors and there is
                no embedder; nothing was written.
            IndexMismatchError: the embedder does not fit the store's index.
            IndexNotReadyError: the model was changed again and again meanwhile, or there is no embedder while
                it is changed.
            EmbeddingError, EngineError: what is done stays done, and the next run goes on.
        """
        return await import_jsonl(
            self._transfer_place(), path, on_existing=on_existing, resume=resume, on_progress=on_progress
        )

    @property
    def migration(self) -> EmbeddingMigration:
        """Changing the embedding model without downtime; the store needs `next_embed_fn` for it."""
        return EmbeddingMigration(self._engine, self.name, self._records, self._models)

    async def reindex(self, *, on_progress: ProgressFn | None = None) -> ReindexResult:
        """Drop the search index and build it anew over the memories that are there.

        For an index that another client made without our fields (`stats().unindexed_fields`), one that is
        damaged, or memories of earlier releases and other packages that are not found by their words: each gets the
        stems that this store would write with it in its `language` (progress stage "words"). Nothing else of a memory
        is touched. On a server every worker is told first, which takes about 13 s, and the
        searches of all of them wait then until it is done, 30 s at most before they raise
        IndexNotReadyError. Progress is told in memories.

        Raises:
            ConfigurationError: there is no index, and no embedder to tell the length of its vectors.
            LeaseHeldError: another worker is making it anew, or changing the embedding model.
        """
        reindexing = Reindexing(
            self._engine,
            self.name,
            self._records,
            self._models,
            self._follower,
            stored_words=self._analyzer.stored,
        )
        return await reindexing.run(on_progress)

    async def calibrate(
        self,
        *,
        questions: Sequence[str | tuple[str, Sequence[str]] | AnsweredQuestion] | None = None,
        sample: int = DEFAULT_SAMPLE,
        false_accept_rate: float = DEFAULT_FALSE_ACCEPT_RATE,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        on_progress: ProgressFn | None = None,
    ) -> Calibration:
        """Measure which distance counts as related in this store: what each ceiling lets in, and what it keeps.

        Recommends the largest threshold that admits at most `false_accept_rate` (above 0, below 1) of the memories
        that do not answer a question. `questions` are yours, about 50 or more: texts, pairs of a text and the ids of
        the memories that answer it, or `AnsweredQuestion`. With answers it also tells which share of them each
        ceiling keeps. Without questions 100 are made up from the memories, which tells the threshold within a
        few hundredths and says nothing about answers (docs/thresholds.md).

        They are compared with a `sample` (20 to 5,000) of the scope, evenly spread by age. Nothing is written; set
        it with `agent.config.set(threshold=...)`, `default_threshold=` or `threshold=` of a call.

        About 25 round trips, in which the vectors of the sample are read once (500 of 384 numbers: 0.8 MB), one
        embedding call a question, and one for 128 answers that are texts.

        Raises:
            InvalidInputError: an argument cannot be used, an expected memory is not there, or there is too little
                to tell the rate from; nothing was embedded.
            ConfigurationError: the store has no embedder.
            EmbeddingError, EngineError: something failed on the way.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        asked = checked_questions(questions, max_bytes=self._max_content_bytes)
        sample_size = checked_integer("sample", sample, DEFAULT_SAMPLE, MIN_SAMPLE, MAX_SAMPLE)
        rate = checked_rate(false_accept_rate)
        check_progress(on_progress)
        self._embedder.require("calibrate")

        async def measure(space: VectorSpace) -> Calibration | None:
            return await calibrate(
                space,
                filter,
                questions=asked,
                sample_size=sample_size,
                false_accept_rate=rate,
                current=self._config_for(space).threshold,
                on_progress=on_progress,
            )

        found = await self._searcher.within(
            recall_space, lambda space: self._searcher.ask(space, lambda: measure(space), None, filter=filter)
        )
        if found is None:
            raise InvalidInputError("calibrate needs memories to compare with, and the store has none")
        return found

    def _transfer_place(self) -> TransferPlace:
        return TransferPlace(
            name=self.name,
            records=self._records,
            links=self._linker.ends,
            values=self._engine.values,
            models=self._models,
            searcher=self._searcher,
            keep_in_step=self._follower.follow,
            mender=self._mender,
            sessions=self._sessions,
            shelf=self._shelf,
            stored_words=self._analyzer.stored,
            make_room=self._capacity.make_room_for,
            clock=self._clock,
        )
