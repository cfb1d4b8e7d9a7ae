"""Which vectors an import stores: the file's, or new ones. Asked again and again, since models may be changed."""

from __future__ import annotations

from dataclasses import dataclass

from betterdb_agent_memory.embedders.vectors import checked_vector, decode_float32
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EmbeddingError,
    IndexMismatchError,
    IndexNotReadyError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.embedding import PROBE_TEXT, CheckedEmbedder
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.transfer.form import Exported, Header
from betterdb_agent_memory.memory.transfer.place import REPLACING, TransferPlace
from betterdb_agent_memory.memory.turns import Window
from betterdb_agent_memory.memory.windows import embed_windows


@dataclass(frozen=True, slots=True)
class Vectors:
    """What vectors must be like at one moment.

    `embedder` makes them, `dimensions` numbers each. `because` says why the file's are not used, empty where they
    are. `generation` has to be told of what is written.
    """

    embedder: CheckedEmbedder
    dimensions: int
    because: str
    generation: Generation | None

    def are_as(self, other: Vectors) -> bool:
        """Whether vectors that were right then are right now."""
        return self.embedder is other.embedder and self.dimensions == other.dimensions and self.because == other.because

    def fit(self, memory: Exported) -> bool:
        """Whether a line's own vector can be stored: of the right model and length, and with a direction."""
        stored = memory.fields.get(record.VECTOR)
        if self.because or stored is None:
            return False
        try:
            checked_vector(decode_float32(stored), dimensions=self.dimensions)
        except EmbeddingError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Made:
    """What became of texts: a vector each or the reason why there is none, and what ended it before all had a try."""

    vectors: dict[int, bytes]
    refused: dict[int, str]
    given_up: AgentMemoryError | None = None


class Planning:
    """Decides about the vectors of one file in one store."""

    def __init__(self, place: TransferPlace, header: Header) -> None:
        self._place = place
        self._header = header
        self.because = ""
        """Why those of the whole file were not used when that was looked at last."""

    async def now(self) -> Vectors:
        """What is right at the moment. One or two round trips.

        Raises:
            ConfigurationError: vectors would have to be made, and there is no embedder.
            IndexNotReadyError: without an embedder, while the vectors are replaced by another model's.
            IndexMismatchError: the store's embedder is not the one that made its memories' vectors.
        """
        try:
            return await self._look()
        except IndexMismatchError:
            return await self._look()  # the index was made anew in the instant between two looks

    async def _look(self) -> Vectors:
        layout = await self._place.models.layout(look=True)
        main = layout.main
        can_embed = main.embedder.is_there
        if not can_embed and (await self._place.models.state.current()).phase in REPLACING:
            raise IndexNotReadyError(
                f"the vectors of store {self._place.name} are being replaced by another model's, and it was opened "
                "without an embedder: import when migration.finish() is done"
            )
        if not self._header.vectors and not can_embed:
            raise ConfigurationError(
                "the file holds no vectors and the store has no embedder to make them: open the store with the "
                "embedder it shall be searched with"
            )
        dimensions = await self._place.dimensions_for(main, self._header.dimensions)
        self.because = self._why_anew(await self._place.model_name(main), dimensions)
        if self.because and not can_embed:
            raise ConfigurationError(f"{self.because}, and the store has no embedder to make others: open it with one")
        return Vectors(main.embedder, dimensions, self.because, layout.generation)

    def _why_anew(self, model: str | None, dimensions: int) -> str:
        header = self._header
        if not header.vectors:
            return "the file holds no vectors"
        if header.dimensions not in (None, dimensions):
            return f"the file's vectors have {header.dimensions} dimensions, the store's {dimensions}"
        if None not in (header.embedder, model) and header.embedder != model:
            return f"the file's vectors were made by {header.embedder}, the store's embedder is {model}"
        return ""


async def make_vectors(windows: dict[int, Window], vectors: Vectors) -> Made:
    """A vector for each line's window, one call where all goes well.

    Raises:
        AgentMemoryError: texts failed, and one that is known to be good fails, too: the embedder it is then,
            and no text can be blamed.
    """
    if not vectors.embedder.is_there:
        reason = "its vector is missing or unusable, and the store has no embedder to make another"
        return Made({}, dict.fromkeys(windows, reason))
    found = await embed_windows(vectors.embedder, list(windows.values()), vectors.dimensions)
    made = {line: vector for line, vector in zip(windows, found, strict=True) if isinstance(vector, bytes)}
    refused = {line: str(vector) for line, vector in zip(windows, found, strict=True) if not isinstance(vector, bytes)}
    if refused and found.given_up is None:
        await vectors.embedder.embed_document(PROBE_TEXT, vectors.dimensions)
    return Made(made, refused, found.given_up)
