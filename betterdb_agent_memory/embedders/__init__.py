"""Text to vector: the embedder protocol, the adapter for a plain function, the offline default, models
on this machine and at providers, and the queue through which concurrent calls go out in batches.

Importing this loads no model and none of the libraries that run one.
"""

from __future__ import annotations

from betterdb_agent_memory.embedders.base import EachEmbedder, EachVector, Embedder, EmbedFn, QueryBatchEmbedder
from betterdb_agent_memory.embedders.coalescing import CoalescingEmbedder, EmbedderStatistics, coalesced
from betterdb_agent_memory.embedders.fast_embed import FastEmbedEmbedder
from betterdb_agent_memory.embedders.function import FunctionEmbedder, as_embedder
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.named import close_embedder, embedder_from_name
from betterdb_agent_memory.embedders.provider import ProviderEmbedder, ProviderUsage
from betterdb_agent_memory.embedders.sentence_transformer import SentenceTransformerEmbedder
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder

__all__ = [
    "CallLimits",
    "CoalescingEmbedder",
    "EachEmbedder",
    "EachVector",
    "EmbedFn",
    "Embedder",
    "EmbedderStatistics",
    "FastEmbedEmbedder",
    "FunctionEmbedder",
    "ProviderEmbedder",
    "ProviderUsage",
    "QueryBatchEmbedder",
    "SentenceTransformerEmbedder",
    "WordLlamaEmbedder",
    "as_embedder",
    "close_embedder",
    "coalesced",
    "embedder_from_name",
]
