"""Log dialects: bytes -> calls. `DIALECTS` is the table; a new dialect is one file and one row.

What no dialect claims is home-made, and read by the names of its keys (`formats.aliases`).
"""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect
from llmmon.formats.dialects.aider import AIDER
from llmmon.formats.dialects.amp import AMP
from llmmon.formats.dialects.anthropic import ANTHROPIC_EVENT
from llmmon.formats.dialects.anthropic_batch import ANTHROPIC_BATCH
from llmmon.formats.dialects.azure import AZURE_APIM_GATEWAY, AZURE_APIM_LLM, AZURE_OPENAI
from llmmon.formats.dialects.bedrock import BEDROCK
from llmmon.formats.dialects.bedrock_batch import BEDROCK_BATCH
from llmmon.formats.dialects.bodies import RAW
from llmmon.formats.dialects.braintrust import BRAINTRUST
from llmmon.formats.dialects.claude_cli import CLAUDE_CLI
from llmmon.formats.dialects.claude_code import CLAUDE_CODE, CLAUDE_CODE_ERROR
from llmmon.formats.dialects.cline import CLINE
from llmmon.formats.dialects.cloudflare import CLOUDFLARE, CLOUDFLARE_LOGPUSH
from llmmon.formats.dialects.codex import CODEX, CODEX_EXEC
from llmmon.formats.dialects.copilot_cli import COPILOT_CLI
from llmmon.formats.dialects.cursor import CURSOR
from llmmon.formats.dialects.droid import DROID
from llmmon.formats.dialects.gateways import APISIX, ENVOY, HIGRESS, KONG
from llmmon.formats.dialects.gemini_cli import GEMINI_CLI, QWEN_CODE
from llmmon.formats.dialects.google import GOOGLE_EVENT, GOOGLE_INTERACTION
from llmmon.formats.dialects.helicone import HELICONE
from llmmon.formats.dialects.inspect_ai import INSPECT
from llmmon.formats.dialects.kimi import KIMI
from llmmon.formats.dialects.langchain import LANGCHAIN
from llmmon.formats.dialects.langfuse import LANGFUSE, LANGFUSE_TRACE
from llmmon.formats.dialects.langsmith import LANGSMITH
from llmmon.formats.dialects.litellm import LITELLM, LITELLM_SPEND
from llmmon.formats.dialects.llm_cli import LLM_CLI
from llmmon.formats.dialects.lm_eval import LM_EVAL
from llmmon.formats.dialects.mlflow import MLFLOW
from llmmon.formats.dialects.native import METRIC_SAMPLES
from llmmon.formats.dialects.ollama import OLLAMA, OLLAMA_EMBEDDING
from llmmon.formats.dialects.openai import OPENAI_EVENT
from llmmon.formats.dialects.openai_batch import OPENAI_BATCH
from llmmon.formats.dialects.opencode import OPENCODE, OPENCODE_EVENT, OPENCODE_EXPORT, OPENCODE_PART
from llmmon.formats.dialects.openrouter import OPENROUTER, OPENROUTER_ACTIVITY
from llmmon.formats.dialects.otlp import OTLP
from llmmon.formats.dialects.otlp_logs import OTLP_LOGS, OTLP_METRICS
from llmmon.formats.dialects.pi import PI
from llmmon.formats.dialects.portkey import PORTKEY
from llmmon.formats.dialects.promptfoo import PROMPTFOO
from llmmon.formats.dialects.public_traces import AZURE_TRACE, BURSTGPT, MOONCAKE_TRACE
from llmmon.formats.dialects.servers import FASTCHAT, TGI, VLLM_BENCH
from llmmon.formats.dialects.sglang import SGLANG, SGLANG_METRICS
from llmmon.formats.dialects.spans import OTEL_CONSOLE, PHOENIX, PHOENIX_FRAME
from llmmon.formats.dialects.traces import JAEGER, LOGFIRE, OTEL_JAVASCRIPT, ZIPKIN
from llmmon.formats.dialects.vertex import VERTEX
from llmmon.formats.dialects.weave import WEAVE

# most specific first: the first that claims an object reads it
DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        *(BEDROCK, OTLP, OTLP_LOGS, OTLP_METRICS, LITELLM, LITELLM_SPEND, WEAVE),
        *(CODEX, CLAUDE_CODE_ERROR, QWEN_CODE, CLAUDE_CODE, CLAUDE_CLI, GEMINI_CLI, PI),
        *(
            CODEX_EXEC,
            CLINE,
            COPILOT_CLI,
            AMP,
            INSPECT,
            LM_EVAL,
            LANGCHAIN,
            BRAINTRUST,
            KONG,
            APISIX,
            HIGRESS,
            ENVOY,
            KIMI,
            DROID,
        ),
        *(OPENCODE, OPENCODE_EXPORT, OPENCODE_EVENT, OPENCODE_PART, PROMPTFOO, MLFLOW, BEDROCK_BATCH),
        *(JAEGER, ZIPKIN, LOGFIRE, OTEL_JAVASCRIPT),
        *(OPENAI_BATCH, ANTHROPIC_BATCH, SGLANG, SGLANG_METRICS, TGI, VERTEX),
        *(AZURE_OPENAI, AZURE_APIM_GATEWAY, AZURE_APIM_LLM, CLOUDFLARE, CLOUDFLARE_LOGPUSH, PORTKEY, OPENROUTER),
        *(HELICONE, LANGSMITH, LANGFUSE, LANGFUSE_TRACE, PHOENIX, PHOENIX_FRAME, OTEL_CONSOLE),
        *(CURSOR, OPENROUTER_ACTIVITY),
        *(LLM_CLI, AIDER, FASTCHAT, VLLM_BENCH, AZURE_TRACE, BURSTGPT, MOONCAKE_TRACE, METRIC_SAMPLES),
        *(OLLAMA, OLLAMA_EMBEDDING, OPENAI_EVENT, ANTHROPIC_EVENT, GOOGLE_INTERACTION, GOOGLE_EVENT),
        *RAW,
    )
}
_MOST_SHAPES: Final = 4096
_candidates: dict[tuple[str, ...], tuple[Dialect, ...]] = {}


def claimant(found: dict[str, Any]) -> Dialect | None:
    """The dialect that an object is of, None for a home-made one."""
    return next((dialect for dialect in _possible(tuple(found)) if dialect.claims(found)), None)


def _possible(keys: tuple[str, ...]) -> tuple[Dialect, ...]:
    """The dialects that objects with these keys can be of; files repeat few shapes, so they are remembered."""
    possible = _candidates.get(keys)
    if possible is None:
        there = frozenset(keys)
        possible = tuple(dialect for dialect in DIALECTS.values() if dialect.has_keys(there))
        if len(_candidates) >= _MOST_SHAPES:
            _candidates.clear()
        _candidates[keys] = possible
    return possible
