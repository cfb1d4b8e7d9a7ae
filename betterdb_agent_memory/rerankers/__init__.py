"""Question and text to score: the reranker protocol, the adapter for a plain function, and a model on this machine.

Importing this loads no model and none of the libraries that run one.
"""

from __future__ import annotations

from betterdb_agent_memory.rerankers.base import Reranker, RerankFn, TimedReranker
from betterdb_agent_memory.rerankers.checked import CheckedReranker
from betterdb_agent_memory.rerankers.fast_embed import FastEmbedReranker
from betterdb_agent_memory.rerankers.function import FunctionReranker, as_reranker
from betterdb_agent_memory.rerankers.named import close_reranker, reranker_from_name

__all__ = [
    "CheckedReranker",
    "FastEmbedReranker",
    "FunctionReranker",
    "RerankFn",
    "Reranker",
    "TimedReranker",
    "as_reranker",
    "close_reranker",
    "reranker_from_name",
]
