"""How well recall finds what it should, on a dataset of questions whose answers are known."""

from betterdb_agent_memory.evaluation.dataset import Collection, Dataset, Entry, Question
from betterdb_agent_memory.evaluation.metrics import DEPTHS, Judged, Latency, Quality
from betterdb_agent_memory.evaluation.reading import EXAMPLE, load_dataset
from betterdb_agent_memory.evaluation.results import Cost, Evaluation, StrategyResult
from betterdb_agent_memory.evaluation.running import evaluate
from betterdb_agent_memory.evaluation.strategies import Strategy, strategies, strategy

__all__ = [
    "DEPTHS",
    "EXAMPLE",
    "Collection",
    "Cost",
    "Dataset",
    "Entry",
    "Evaluation",
    "Judged",
    "Latency",
    "Quality",
    "Question",
    "Strategy",
    "StrategyResult",
    "evaluate",
    "load_dataset",
    "strategies",
    "strategy",
]
