"""Text to vector: the embedder protocol, the adapter for a plain function, the offline default.

Importing this loads no model and no tokenizer; `WordLlamaEmbedder` reads its weights when it first embeds.
"""

from __future__ import annotations

from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.embedders.function import FunctionEmbedder, as_embedder
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder

__all__ = ["EmbedFn", "Embedder", "FunctionEmbedder", "WordLlamaEmbedder", "as_embedder"]
