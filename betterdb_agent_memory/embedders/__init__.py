"""Text to vector: the embedder protocol, the adapter for a plain function, the offline default.

Importing this loads no model and no tokenizer; `WordLlamaEmbedder` reads its weights when it first embeds.
"""

from __future__ import annotations

from betterdb_agent_memory.embedders.base import Embedder, EmbedFn, QueryBatchEmbedder
from betterdb_agent_memory.embedders.coalescing import CoalescingEmbedder, EmbedderStatistics, coalesced
from betterdb_agent_memory.embedders.function import FunctionEmbedder, as_embedder
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder

__all__ = [
    "CallLimits",
    "CoalescingEmbedder",
    "EmbedFn",
    "Embedder",
    "EmbedderStatistics",
    "FunctionEmbedder",
    "QueryBatchEmbedder",
    "WordLlamaEmbedder",
    "as_embedder",
    "coalesced",
]
