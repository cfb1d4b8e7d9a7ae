"""A distributed memory tier for AI agents on Valkey, Redis or one embedded file.

A public name is loaded when it is first used: importing the package costs a millisecond.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from betterdb_agent_memory.agent_cache import AgentCache as AgentCache
    from betterdb_agent_memory.agent_config import AgentConfig as AgentConfig
    from betterdb_agent_memory.agent_config import ConfigInForce as ConfigInForce
    from betterdb_agent_memory.agent_config import SettingInForce as SettingInForce
    from betterdb_agent_memory.agent_memory import AgentMemory as AgentMemory
    from betterdb_agent_memory.caches.content import BinaryBlock as BinaryBlock
    from betterdb_agent_memory.caches.content import BlockHints as BlockHints
    from betterdb_agent_memory.caches.content import ContentBlock as ContentBlock
    from betterdb_agent_memory.caches.content import LlmCacheMessage as LlmCacheMessage
    from betterdb_agent_memory.caches.content import LlmCacheParams as LlmCacheParams
    from betterdb_agent_memory.caches.content import ReasoningBlock as ReasoningBlock
    from betterdb_agent_memory.caches.content import TextBlock as TextBlock
    from betterdb_agent_memory.caches.content import ToolCallBlock as ToolCallBlock
    from betterdb_agent_memory.caches.content import ToolDefinition as ToolDefinition
    from betterdb_agent_memory.caches.content import ToolResultBlock as ToolResultBlock
    from betterdb_agent_memory.caches.default_prices import DEFAULT_COST_TABLE as DEFAULT_COST_TABLE
    from betterdb_agent_memory.caches.embedding import EmbeddingCache as EmbeddingCache
    from betterdb_agent_memory.caches.embedding import EmbeddingCacheStats as EmbeddingCacheStats
    from betterdb_agent_memory.caches.llm import LlmCache as LlmCache
    from betterdb_agent_memory.caches.policies import ToolPolicy as ToolPolicy
    from betterdb_agent_memory.caches.references import BinaryNormalizer as BinaryNormalizer
    from betterdb_agent_memory.caches.references import BinaryRef as BinaryRef
    from betterdb_agent_memory.caches.references import NormalizerConfig as NormalizerConfig
    from betterdb_agent_memory.caches.references import compose_normalizer as compose_normalizer
    from betterdb_agent_memory.caches.references import default_normalizer as default_normalizer
    from betterdb_agent_memory.caches.references import fetch_and_hash as fetch_and_hash
    from betterdb_agent_memory.caches.references import hash_base64 as hash_base64
    from betterdb_agent_memory.caches.references import hash_bytes as hash_bytes
    from betterdb_agent_memory.caches.references import hash_url as hash_url
    from betterdb_agent_memory.caches.references import passthrough as passthrough
    from betterdb_agent_memory.caches.results import AgentCacheStats as AgentCacheStats
    from betterdb_agent_memory.caches.results import LlmAnswer as LlmAnswer
    from betterdb_agent_memory.caches.results import LlmCacheResult as LlmCacheResult
    from betterdb_agent_memory.caches.results import LlmStoreOptions as LlmStoreOptions
    from betterdb_agent_memory.caches.results import SessionStats as SessionStats
    from betterdb_agent_memory.caches.results import TierStats as TierStats
    from betterdb_agent_memory.caches.results import ToolCacheResult as ToolCacheResult
    from betterdb_agent_memory.caches.results import ToolEffectivenessEntry as ToolEffectivenessEntry
    from betterdb_agent_memory.caches.results import ToolStats as ToolStats
    from betterdb_agent_memory.caches.results import ToolStoreOptions as ToolStoreOptions
    from betterdb_agent_memory.caches.session import SessionCache as SessionCache
    from betterdb_agent_memory.caches.shapes import cached_anthropic as cached_anthropic
    from betterdb_agent_memory.caches.shapes import cached_openai_chat as cached_openai_chat
    from betterdb_agent_memory.caches.shapes import cached_openai_responses as cached_openai_responses
    from betterdb_agent_memory.caches.shapes import is_cached as is_cached
    from betterdb_agent_memory.caches.single_flight import Patience as Patience
    from betterdb_agent_memory.caches.tool import ToolCache as ToolCache
    from betterdb_agent_memory.discovery import MEMORY_CACHE_TYPE as MEMORY_CACHE_TYPE
    from betterdb_agent_memory.discovery import MEMORY_CAPABILITIES as MEMORY_CAPABILITIES
    from betterdb_agent_memory.discovery import MemoryDiscovery as MemoryDiscovery
    from betterdb_agent_memory.dynamics.dynamics import Dynamics as Dynamics
    from betterdb_agent_memory.dynamics.learning import Lesson as Lesson
    from betterdb_agent_memory.dynamics.maintenance import MaintenanceResult as MaintenanceResult
    from betterdb_agent_memory.dynamics.maintenance import Replay as Replay
    from betterdb_agent_memory.dynamics.parameters import DynamicsParameters as DynamicsParameters
    from betterdb_agent_memory.dynamics.presets import PRESETS as PRESETS
    from betterdb_agent_memory.dynamics.presets import preset as preset
    from betterdb_agent_memory.dynamics.reporting import DynamicsHealth as DynamicsHealth
    from betterdb_agent_memory.dynamics.reporting import DynamicsStats as DynamicsStats
    from betterdb_agent_memory.dynamics.reporting import GroupStats as GroupStats
    from betterdb_agent_memory.dynamics.reporting import MetricHealth as MetricHealth
    from betterdb_agent_memory.dynamics.teaching import OutcomeResult as OutcomeResult
    from betterdb_agent_memory.embedders.base import Embedder as Embedder
    from betterdb_agent_memory.embedders.base import EmbedFn as EmbedFn
    from betterdb_agent_memory.embedders.cached import CachedEmbedder as CachedEmbedder
    from betterdb_agent_memory.embedders.coalescing import CoalescingEmbedder as CoalescingEmbedder
    from betterdb_agent_memory.embedders.function import FunctionEmbedder as FunctionEmbedder
    from betterdb_agent_memory.embedders.named import embedder_from_name as embedder_from_name
    from betterdb_agent_memory.errors import AgentCacheError as AgentCacheError
    from betterdb_agent_memory.errors import AgentCacheUsageError as AgentCacheUsageError
    from betterdb_agent_memory.errors import AgentMemoryError as AgentMemoryError
    from betterdb_agent_memory.errors import AuthenticationFailedError as AuthenticationFailedError
    from betterdb_agent_memory.errors import ChangesMissedError as ChangesMissedError
    from betterdb_agent_memory.errors import ConfigurationError as ConfigurationError
    from betterdb_agent_memory.errors import ConsolidationError as ConsolidationError
    from betterdb_agent_memory.errors import ContentUnavailableError as ContentUnavailableError
    from betterdb_agent_memory.errors import EmbedderOverloadedError as EmbedderOverloadedError
    from betterdb_agent_memory.errors import EmbedderUnavailableError as EmbedderUnavailableError
    from betterdb_agent_memory.errors import EmbeddingError as EmbeddingError
    from betterdb_agent_memory.errors import EngineError as EngineError
    from betterdb_agent_memory.errors import EngineUnavailableError as EngineUnavailableError
    from betterdb_agent_memory.errors import IndexMismatchError as IndexMismatchError
    from betterdb_agent_memory.errors import IndexMissingError as IndexMissingError
    from betterdb_agent_memory.errors import IndexNotReadyError as IndexNotReadyError
    from betterdb_agent_memory.errors import InvalidInputError as InvalidInputError
    from betterdb_agent_memory.errors import LeaseHeldError as LeaseHeldError
    from betterdb_agent_memory.errors import LeaseLostError as LeaseLostError
    from betterdb_agent_memory.errors import MemoryExistsError as MemoryExistsError
    from betterdb_agent_memory.errors import MemoryNotFoundError as MemoryNotFoundError
    from betterdb_agent_memory.errors import OutcomeUnknownError as OutcomeUnknownError
    from betterdb_agent_memory.errors import PartialBatchError as PartialBatchError
    from betterdb_agent_memory.errors import RerankingError as RerankingError
    from betterdb_agent_memory.errors import SearchModuleMissingError as SearchModuleMissingError
    from betterdb_agent_memory.errors import SearchTimeoutError as SearchTimeoutError
    from betterdb_agent_memory.errors import SupersededError as SupersededError
    from betterdb_agent_memory.errors import TenantLimitError as TenantLimitError
    from betterdb_agent_memory.errors import ValkeyCommandError as ValkeyCommandError
    from betterdb_agent_memory.errors import VersionConflictError as VersionConflictError
    from betterdb_agent_memory.live_config import MemoryConfigSnapshot as MemoryConfigSnapshot
    from betterdb_agent_memory.memory.calibration import AnsweredQuestion as AnsweredQuestion
    from betterdb_agent_memory.memory.calibration import Calibration as Calibration
    from betterdb_agent_memory.memory.calibration import CeilingRates as CeilingRates
    from betterdb_agent_memory.memory.changes.change import Change as Change
    from betterdb_agent_memory.memory.changes.change import ChangeKind as ChangeKind
    from betterdb_agent_memory.memory.changes.status import ChangeFeedStatus as ChangeFeedStatus
    from betterdb_agent_memory.memory.changes.status import ChangeGroup as ChangeGroup
    from betterdb_agent_memory.memory.consolidation.facts import AddOp as AddOp
    from betterdb_agent_memory.memory.consolidation.facts import ConsolidateFactsResult as ConsolidateFactsResult
    from betterdb_agent_memory.memory.consolidation.facts import ConsolidateResult as ConsolidateResult
    from betterdb_agent_memory.memory.consolidation.facts import DeleteOp as DeleteOp
    from betterdb_agent_memory.memory.consolidation.facts import Fact as Fact
    from betterdb_agent_memory.memory.consolidation.facts import FactExtractor as FactExtractor
    from betterdb_agent_memory.memory.consolidation.facts import FactOp as FactOp
    from betterdb_agent_memory.memory.consolidation.facts import NoopOp as NoopOp
    from betterdb_agent_memory.memory.consolidation.facts import SummarizeFn as SummarizeFn
    from betterdb_agent_memory.memory.consolidation.facts import UnmatchedTombstoneOp as UnmatchedTombstoneOp
    from betterdb_agent_memory.memory.consolidation.facts import UpdateOp as UpdateOp
    from betterdb_agent_memory.memory.consolidation.facts import apply_ops as apply_ops
    from betterdb_agent_memory.memory.consolidation.facts import reconcile as reconcile
    from betterdb_agent_memory.memory.consolidation.facts import subject_key as subject_key
    from betterdb_agent_memory.memory.consolidation.language_model import LanguageModel as LanguageModel
    from betterdb_agent_memory.memory.conversations import ConversationMessage as ConversationMessage
    from betterdb_agent_memory.memory.correction.lineage import MemoryVersion as MemoryVersion
    from betterdb_agent_memory.memory.drafts import MemoryDraft as MemoryDraft
    from betterdb_agent_memory.memory.drafts import OnDuplicate as OnDuplicate
    from betterdb_agent_memory.memory.drafts import RememberResult as RememberResult
    from betterdb_agent_memory.memory.dynamics_fields import MemoryDynamics as MemoryDynamics
    from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration as EmbeddingMigration
    from betterdb_agent_memory.memory.generations.migration import MigrationStatus as MigrationStatus
    from betterdb_agent_memory.memory.kinds import KINDS as KINDS
    from betterdb_agent_memory.memory.kinds import KindProfile as KindProfile
    from betterdb_agent_memory.memory.kinds import MemoryKind as MemoryKind
    from betterdb_agent_memory.memory.linking import Link as Link
    from betterdb_agent_memory.memory.near_misses import NearMisses as NearMisses
    from betterdb_agent_memory.memory.progress import Progress as Progress
    from betterdb_agent_memory.memory.progress import ProgressFn as ProgressFn
    from betterdb_agent_memory.memory.prompting import CountTokens as CountTokens
    from betterdb_agent_memory.memory.prompting import MemoryContext as MemoryContext
    from betterdb_agent_memory.memory.recalling.expanding import LinkedBy as LinkedBy
    from betterdb_agent_memory.memory.recalling.explaining import Component as Component
    from betterdb_agent_memory.memory.recalling.explaining import Explanation as Explanation
    from betterdb_agent_memory.memory.recalling.explaining import MemoryHit as MemoryHit
    from betterdb_agent_memory.memory.recalling.explaining import Relevance as Relevance
    from betterdb_agent_memory.memory.record import MATCH_ALL_MEMORY_QUERY as MATCH_ALL_MEMORY_QUERY
    from betterdb_agent_memory.memory.record import MemoryItem as MemoryItem
    from betterdb_agent_memory.memory.requests import MemoryListOptions as MemoryListOptions
    from betterdb_agent_memory.memory.results import MemoryListResult as MemoryListResult
    from betterdb_agent_memory.memory.results import MemoryStats as MemoryStats
    from betterdb_agent_memory.memory.results import ReindexResult as ReindexResult
    from betterdb_agent_memory.memory.scope import MemoryScope as MemoryScope
    from betterdb_agent_memory.memory.scoring.activation import Activation as Activation
    from betterdb_agent_memory.memory.scoring.activation import ActivationParameters as ActivationParameters
    from betterdb_agent_memory.memory.scoring.base import Candidates as Candidates
    from betterdb_agent_memory.memory.scoring.base import Scored as Scored
    from betterdb_agent_memory.memory.scoring.base import ScoringModel as ScoringModel
    from betterdb_agent_memory.memory.scoring.base import Term as Term
    from betterdb_agent_memory.memory.scoring.chain import Chain as Chain
    from betterdb_agent_memory.memory.scoring.chain import ChainParameters as ChainParameters
    from betterdb_agent_memory.memory.scoring.choice import ScoringParameters as ScoringParameters
    from betterdb_agent_memory.memory.scoring.composite import Composite as Composite
    from betterdb_agent_memory.memory.scoring.composite import composite_score as composite_score
    from betterdb_agent_memory.memory.scoring.composite import recency_decay as recency_decay
    from betterdb_agent_memory.memory.scoring.composite import similarity_from_distance as similarity_from_distance
    from betterdb_agent_memory.memory.scoring.retrievability import Retrievability as Retrievability
    from betterdb_agent_memory.memory.standing.confidence import ConfidenceParameters as ConfidenceParameters
    from betterdb_agent_memory.memory.standing.standing import Standing as Standing
    from betterdb_agent_memory.memory.store import MemoryStore as MemoryStore
    from betterdb_agent_memory.memory.transfer.results import ExportResult as ExportResult
    from betterdb_agent_memory.memory.transfer.results import ImportResult as ImportResult
    from betterdb_agent_memory.memory.transfer.results import LineError as LineError
    from betterdb_agent_memory.memory.where import AccessCount as AccessCount
    from betterdb_agent_memory.memory.where import CreatedAt as CreatedAt
    from betterdb_agent_memory.memory.where import Entity as Entity
    from betterdb_agent_memory.memory.where import Id as Id
    from betterdb_agent_memory.memory.where import Importance as Importance
    from betterdb_agent_memory.memory.where import Kind as Kind
    from betterdb_agent_memory.memory.where import LastAccessedAt as LastAccessedAt
    from betterdb_agent_memory.memory.where import MemoryFilter as MemoryFilter
    from betterdb_agent_memory.memory.where import OccurredAt as OccurredAt
    from betterdb_agent_memory.memory.where import Pinned as Pinned
    from betterdb_agent_memory.memory.where import Session as Session
    from betterdb_agent_memory.memory.where import Source as Source
    from betterdb_agent_memory.memory.where import Speaker as Speaker
    from betterdb_agent_memory.memory.where import Subject as Subject
    from betterdb_agent_memory.memory.where import Tag as Tag
    from betterdb_agent_memory.near_cache import NearCacheStatistics as NearCacheStatistics
    from betterdb_agent_memory.options import AgentCacheOptions as AgentCacheOptions
    from betterdb_agent_memory.options import AgentMemoryConfig as AgentMemoryConfig
    from betterdb_agent_memory.options import AgentMemoryOptions as AgentMemoryOptions
    from betterdb_agent_memory.options import AgentMemoryRecallConfig as AgentMemoryRecallConfig
    from betterdb_agent_memory.options import Analytics as Analytics
    from betterdb_agent_memory.options import AnalyticsOptions as AnalyticsOptions
    from betterdb_agent_memory.options import CacheOptions as CacheOptions
    from betterdb_agent_memory.options import ChangeFeedOptions as ChangeFeedOptions
    from betterdb_agent_memory.options import ConfigRefreshOptions as ConfigRefreshOptions
    from betterdb_agent_memory.options import ConsolidationConfig as ConsolidationConfig
    from betterdb_agent_memory.options import DeferredReinforcement as DeferredReinforcement
    from betterdb_agent_memory.options import DiscoveryOptions as DiscoveryOptions
    from betterdb_agent_memory.options import EmbeddingCacheOptions as EmbeddingCacheOptions
    from betterdb_agent_memory.options import HybridOptions as HybridOptions
    from betterdb_agent_memory.options import MemoryConfigRefreshConfig as MemoryConfigRefreshConfig
    from betterdb_agent_memory.options import MemoryDiscoveryConfig as MemoryDiscoveryConfig
    from betterdb_agent_memory.options import MemoryOptions as MemoryOptions
    from betterdb_agent_memory.options import MemoryStoreClient as MemoryStoreClient
    from betterdb_agent_memory.options import MemoryTelemetryOptions as MemoryTelemetryOptions
    from betterdb_agent_memory.options import ModelCost as ModelCost
    from betterdb_agent_memory.options import NearCacheOptions as NearCacheOptions
    from betterdb_agent_memory.options import RecallWeights as RecallWeights
    from betterdb_agent_memory.options import TelemetryOptions as TelemetryOptions
    from betterdb_agent_memory.options import TenantLimits as TenantLimits
    from betterdb_agent_memory.options import TenantsOptions as TenantsOptions
    from betterdb_agent_memory.options import TierDefaults as TierDefaults
    from betterdb_agent_memory.rerankers.base import Reranker as Reranker
    from betterdb_agent_memory.rerankers.base import RerankFn as RerankFn
    from betterdb_agent_memory.rerankers.function import FunctionReranker as FunctionReranker
    from betterdb_agent_memory.rerankers.named import reranker_from_name as reranker_from_name
    from betterdb_agent_memory.telemetry import DEFAULT_METRICS_PREFIX as DEFAULT_METRICS_PREFIX
    from betterdb_agent_memory.telemetry import DEFAULT_TRACER_NAME as DEFAULT_TRACER_NAME
    from betterdb_agent_memory.telemetry import MemoryMetrics as MemoryMetrics
    from betterdb_agent_memory.telemetry import MemoryTelemetry as MemoryTelemetry
    from betterdb_agent_memory.telemetry import create_memory_telemetry as create_memory_telemetry
    from betterdb_agent_memory.tenants.deletion import DeletedTenant as DeletedTenant
    from betterdb_agent_memory.tenants.tenant import Tenant as Tenant
    from betterdb_agent_memory.tenants.tenants import Tenants as Tenants
    from betterdb_agent_memory.tenants.tenants import TenantStatus as TenantStatus

_PLACES: Final = {
    "agent_cache": "AgentCache",
    "agent_config": "AgentConfig ConfigInForce SettingInForce",
    "agent_memory": "AgentMemory",
    "caches.content": (
        "BinaryBlock BlockHints ContentBlock LlmCacheMessage LlmCacheParams ReasoningBlock TextBlock ToolCallBlock "
        "ToolDefinition ToolResultBlock"
    ),
    "caches.default_prices": "DEFAULT_COST_TABLE",
    "caches.embedding": "EmbeddingCache EmbeddingCacheStats",
    "caches.llm": "LlmCache",
    "caches.policies": "ToolPolicy",
    "caches.references": (
        "BinaryNormalizer BinaryRef NormalizerConfig compose_normalizer default_normalizer fetch_and_hash "
        "hash_base64 hash_bytes hash_url passthrough"
    ),
    "caches.results": (
        "AgentCacheStats LlmAnswer LlmCacheResult LlmStoreOptions SessionStats TierStats ToolCacheResult "
        "ToolEffectivenessEntry ToolStats ToolStoreOptions"
    ),
    "caches.session": "SessionCache",
    "caches.single_flight": "Patience",
    "caches.shapes": "cached_anthropic cached_openai_chat cached_openai_responses is_cached",
    "caches.tool": "ToolCache",
    "discovery": "MEMORY_CACHE_TYPE MEMORY_CAPABILITIES MemoryDiscovery",
    "dynamics.dynamics": "Dynamics",
    "dynamics.learning": "Lesson",
    "dynamics.maintenance": "MaintenanceResult Replay",
    "dynamics.parameters": "DynamicsParameters",
    "dynamics.presets": "PRESETS preset",
    "dynamics.reporting": "DynamicsHealth DynamicsStats GroupStats MetricHealth",
    "dynamics.teaching": "OutcomeResult",
    "embedders.base": "EmbedFn Embedder",
    "embedders.cached": "CachedEmbedder",
    "embedders.coalescing": "CoalescingEmbedder",
    "embedders.function": "FunctionEmbedder",
    "embedders.named": "embedder_from_name",
    "errors": (
        "AgentCacheError AgentCacheUsageError AgentMemoryError AuthenticationFailedError ChangesMissedError "
        "ConfigurationError ConsolidationError ContentUnavailableError EmbedderOverloadedError "
        "EmbedderUnavailableError EmbeddingError EngineError EngineUnavailableError IndexMismatchError "
        "IndexMissingError IndexNotReadyError InvalidInputError LeaseHeldError LeaseLostError MemoryExistsError "
        "MemoryNotFoundError OutcomeUnknownError PartialBatchError RerankingError SearchModuleMissingError "
        "SearchTimeoutError SupersededError TenantLimitError ValkeyCommandError VersionConflictError"
    ),
    "live_config": "MemoryConfigSnapshot",
    "memory.calibration": "AnsweredQuestion Calibration CeilingRates",
    "memory.changes.change": "Change ChangeKind",
    "memory.changes.status": "ChangeFeedStatus ChangeGroup",
    "memory.consolidation.facts": (
        "AddOp ConsolidateFactsResult ConsolidateResult DeleteOp Fact FactExtractor FactOp NoopOp SummarizeFn "
        "UnmatchedTombstoneOp UpdateOp apply_ops reconcile subject_key"
    ),
    "memory.consolidation.language_model": "LanguageModel",
    "memory.conversations": "ConversationMessage",
    "memory.correction.lineage": "MemoryVersion",
    "memory.drafts": "MemoryDraft OnDuplicate RememberResult",
    "memory.dynamics_fields": "MemoryDynamics",
    "memory.generations.migration": "EmbeddingMigration MigrationStatus",
    "memory.kinds": "KINDS KindProfile MemoryKind",
    "memory.linking": "Link",
    "memory.near_misses": "NearMisses",
    "memory.progress": "Progress ProgressFn",
    "memory.prompting": "CountTokens MemoryContext",
    "memory.recalling.expanding": "LinkedBy",
    "memory.recalling.explaining": "Component Explanation MemoryHit Relevance",
    "memory.record": "MATCH_ALL_MEMORY_QUERY MemoryItem",
    "memory.requests": "MemoryListOptions",
    "memory.results": "MemoryListResult MemoryStats ReindexResult",
    "memory.scope": "MemoryScope",
    "memory.scoring.activation": "Activation ActivationParameters",
    "memory.scoring.base": "Candidates Scored ScoringModel Term",
    "memory.scoring.chain": "Chain ChainParameters",
    "memory.scoring.choice": "ScoringParameters",
    "memory.scoring.composite": "Composite composite_score recency_decay similarity_from_distance",
    "memory.scoring.retrievability": "Retrievability",
    "memory.standing.confidence": "ConfidenceParameters",
    "memory.standing.standing": "Standing",
    "memory.store": "MemoryStore",
    "memory.transfer.results": "ExportResult ImportResult LineError",
    "memory.where": (
        "AccessCount CreatedAt Entity Id Importance Kind LastAccessedAt MemoryFilter OccurredAt Pinned Session Source "
        "Speaker Subject Tag"
    ),
    "near_cache": "NearCacheStatistics",
    "options": (
        "AgentCacheOptions AgentMemoryConfig AgentMemoryOptions AgentMemoryRecallConfig Analytics AnalyticsOptions "
        "CacheOptions ChangeFeedOptions ConfigRefreshOptions ConsolidationConfig DeferredReinforcement "
        "DiscoveryOptions EmbeddingCacheOptions HybridOptions MemoryConfigRefreshConfig MemoryDiscoveryConfig "
        "MemoryOptions MemoryStoreClient MemoryTelemetryOptions ModelCost NearCacheOptions RecallWeights "
        "TelemetryOptions TenantLimits TenantsOptions TierDefaults"
    ),
    "rerankers.base": "RerankFn Reranker",
    "rerankers.function": "FunctionReranker",
    "rerankers.named": "reranker_from_name",
    "telemetry": "DEFAULT_METRICS_PREFIX DEFAULT_TRACER_NAME MemoryMetrics MemoryTelemetry create_memory_telemetry",
    "tenants.tenant": "Tenant",
    "tenants.deletion": "DeletedTenant",
    "tenants.tenants": "TenantStatus Tenants",
}
"""Every public name, by the module that has it. The imports above tell type checkers the same."""

_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names.split()}

__version__: str

if not TYPE_CHECKING:  # for whom every name would be there

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = import_module(f"{__name__}.version").package_version()
        elif name in _MODULES:
            value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "__version__"})


__all__ = [*_MODULES]  # noqa: PLE0604
