"""Log dialects: bytes -> calls. `DIALECTS` is the table; a new dialect is one file and one row.

What no dialect claims is home-made, and read by the names of its keys (`formats.aliases`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import takewhile
from typing import Any, Final

from llmmon.formats.dialect import Dialect

# name -> its constant in `formats.dialects`, and its hallmarks: the keys that an object must have for one of its
# marks, so that a module is imported only for logs that can be of it; most specific first: the first that claims
# an object reads it
_TABLE: Final[dict[str, tuple[str, str]]] = {
    "bedrock": ("bedrock.BEDROCK", "schemaType"),
    "otlp": ("otlp.OTLP", "resourceSpans"),
    "otlp_logs": ("otlp_logs.OTLP_LOGS", "resourceLogs"),
    "otlp_metrics": ("otlp_logs.OTLP_METRICS", "resourceMetrics"),
    "litellm": (
        "litellm.LITELLM",
        "litellm_call_id startTime, call_type startTime model_map_information, model_group hidden_params startTime",
    ),
    "litellm_spend": ("litellm.LITELLM_SPEND", "request_id spend startTime endTime"),
    "weave": ("weave.WEAVE", "op_name started_at"),
    "codex": ("codex.CODEX", "timestamp payload type"),
    "claude_code_error": ("claude_code.CLAUDE_CODE_ERROR", "sessionId uuid type message isApiErrorMessage"),
    "qwen_code": (
        "gemini_cli.QWEN_CODE",
        "uuid sessionId timestamp type usageMetadata, uuid sessionId timestamp type message",
    ),
    "claude_code": (
        "claude_code.CLAUDE_CODE",
        "sessionId uuid type, summary leafUuid type, type sessionId, type messageId",
    ),
    "claude_cli": ("claude_cli.CLAUDE_CLI", "session_id type message, session_id type subtype, session_id type event"),
    "gemini_cli": (
        "gemini_cli.GEMINI_CLI",
        "sessionId projectHash startTime, sessionId messages startTime, id timestamp type, $set, $rewindTo",
    ),
    "pi": ("pi.PI", "type message id timestamp, type id timestamp cwd, type id timestamp"),
    "codex_exec": ("codex.CODEX_EXEC", "type usage, type, type thread_id, type error, type item"),
    "cline": ("cline.CLINE", "ts type say, ts type ask"),
    "copilot_cli": ("copilot_cli.COPILOT_CLI", "type data id timestamp parentId"),
    "amp": ("amp.AMP", "id created messages v, id created messages usageLedger"),
    "inspect": ("inspect_ai.INSPECT", "version status eval plan samples"),
    "lm_eval": ("lm_eval.LM_EVAL", "doc_id doc arguments resps filtered_resps"),
    "langchain": ("langchain.LANGCHAIN", "event run_id name data"),
    "braintrust": ("braintrust.BRAINTRUST", "span_attributes root_span_id metrics"),
    "kong": ("gateways.KONG", "ai started_at request response latencies"),
    "apisix": ("gateways.APISIX", "llm_summary request response, llm_summary start_time"),
    "higress": ("gateways.HIGRESS", "ai_log"),
    "envoy_ai_gateway": (
        "gateways.ENVOY",
        "start_time response_code gen_ai.request.model, start_time response_code gen_ai.usage.input_tokens",
    ),
    "kimi": ("kimi.KIMI", "timestamp message, type protocol_version"),
    "droid": ("droid.DROID", "tokenUsage providerLock, tokenUsage providerLockTimestamp"),
    "opencode": ("opencode.OPENCODE", "id sessionID role time"),
    "opencode_export": ("opencode.OPENCODE_EXPORT", "info messages"),
    "opencode_event": ("opencode.OPENCODE_EVENT", "type timestamp sessionID part"),
    "opencode_part": ("opencode.OPENCODE_PART", "id sessionID messageID type"),
    "promptfoo": (
        "promptfoo.PROMPTFOO",
        "evalId results, latencyMs provider testCase promptIdx, latencyMs provider response gradingResult",
    ),
    "mlflow": ("mlflow.MLFLOW", "info data"),
    "bedrock_batch": ("bedrock_batch.BEDROCK_BATCH", "recordId modelInput, recordId modelOutput"),
    "jaeger": ("traces.JAEGER", "traceID spans processes, traceID spanID operationName tags"),
    "zipkin": ("traces.ZIPKIN", "traceId id timestamp duration tags"),
    "logfire": ("traces.LOGFIRE", "start_timestamp span_name trace_id span_id attributes"),
    "otel_javascript": ("traces.OTEL_JAVASCRIPT", "traceId id timestamp duration attributes status"),
    "openai_batch": ("openai_batch.OPENAI_BATCH", "custom_id response error"),
    "anthropic_batch": ("anthropic_batch.ANTHROPIC_BATCH", "custom_id result"),
    "sglang": ("sglang.SGLANG", "rid obj event"),
    "sglang_metrics": ("sglang.SGLANG_METRICS", "request_parameters e2e_latency"),
    "tgi": ("servers.TGI", "timestamp level target span"),
    "vertex": ("vertex.VERTEX", "logging_time full_request full_response"),
    "azure_openai": ("azure.AZURE_OPENAI", "category resourceId"),
    "azure_apim_gateway": ("azure.AZURE_APIM_GATEWAY", "category isRequestSuccess resourceId"),
    "azure_apim_llm": ("azure.AZURE_APIM_LLM", "Type, PromptTokens CompletionTokens CorrelationId"),
    "cloudflare": ("cloudflare.CLOUDFLARE", "tokens_in tokens_out duration created_at status_code"),
    "cloudflare_logpush": ("cloudflare.CLOUDFLARE_LOGPUSH", "Gateway Provider StatusCode ResponseBody"),
    "portkey": ("portkey.PORTKEY", "req_units res_units, ai_org ai_model"),
    "openrouter": ("openrouter.OPENROUTER", "native_tokens_prompt generation_time"),
    "helicone": ("helicone.HELICONE", "request_created_at delay_ms"),
    "langsmith": ("langsmith.LANGSMITH", "run_type trace_id dotted_order, run_type trace_id start_time"),
    "langfuse": (
        "langfuse.LANGFUSE",
        "traceId startTime type level, trace_id start_time type level",
    ),
    "langfuse_trace": ("langfuse.LANGFUSE_TRACE", "observations sessionId timestamp, observations userId timestamp"),
    "open_webui": ("open_webui.OPEN_WEBUI", "chat user_id title, chat user_id updated_at"),
    "phoenix": ("spans.PHOENIX", "context span_kind status_code attributes"),
    "phoenix_dataframe": ("spans.PHOENIX_FRAME", "context.span_id span_kind start_time"),
    "otel_console": ("spans.OTEL_CONSOLE", "context status attributes start_time"),
    "cursor": ("cursor.CURSOR", "Date Model"),
    "openrouter_activity": ("openrouter.OPENROUTER_ACTIVITY", "model_permaslug tokens_prompt cost_total"),
    "llm": ("llm_cli.LLM_CLI", "datetime_utc duration_ms conversation_id"),
    "aider": ("aider.AIDER", "event properties time user_id"),
    "fastchat": ("servers.FASTCHAT", "tstamp type state"),
    "vllm_bench": ("servers.VLLM_BENCH", "model_id num_prompts request_throughput mean_ttft_ms"),
    "azure_llm_trace": ("public_traces.AZURE_TRACE", "TIMESTAMP ContextTokens GeneratedTokens"),
    "burstgpt": ("public_traces.BURSTGPT", "Timestamp Model"),
    "mooncake_trace": ("public_traces.MOONCAKE_TRACE", "input_length output_length hash_ids"),
    "llmmon_metric": ("native.METRIC_SAMPLES", "name value type timestamp"),
    "ollama": ("ollama.OLLAMA", "model created_at done"),
    "ollama_embedding": ("ollama.OLLAMA_EMBEDDING", "model embeddings total_duration"),
    "openai_event": ("openai.OPENAI_EVENT", "type sequence_number, response type"),
    "anthropic_event": (
        "anthropic.ANTHROPIC_EVENT",
        "type message, type delta usage, type index content_block, type index delta, type index, type",
    ),
    "google_interaction": (
        "google.GOOGLE_INTERACTION",
        "object, id status usage model steps, id status usage model outputs",
    ),
    "google_event": ("google.GOOGLE_EVENT", "event_type interaction, event_type interaction_id, event_type index"),
    "openai_chat": ("openai.OPENAI_CHAT", "object"),
    "openai_responses": ("openai.OPENAI_RESPONSE", "object"),
    "openai_chunk": ("openai.OPENAI_CHUNK", "object"),
    "openai_completion": ("openai.OPENAI_COMPLETION", "object"),
    "openai_embedding": ("openai.OPENAI_EMBEDDING", "object data usage model"),
    "anthropic": ("anthropic.ANTHROPIC_MESSAGE", "type stop_reason"),
    "gemini": ("google.GEMINI", "usageMetadata, usage_metadata, candidates modelVersion, candidates model_version"),
    "api_error": ("openai.API_ERROR", "error"),
}
# the replies of providers as they are
REPLIES: Final = (
    *("openai_chat", "openai_responses", "openai_chunk", "openai_completion", "openai_embedding"),
    *("anthropic", "gemini", "api_error"),
)
_MOST_SHAPES: Final = 4096


class _Dialects(Mapping[str, Dialect]):
    """The dialects by name, each imported when it is first asked for."""

    def __init__(self, table: Mapping[str, tuple[str, str]]) -> None:
        self._places = {name: place for name, (place, _) in table.items()}
        self._hallmarks = {
            name: [frozenset(keys.split()) for keys in hallmarks.split(",")] for name, (_, hallmarks) in table.items()
        }
        self._loaded: dict[str, Dialect] = {}
        self._possible: dict[tuple[str, ...], tuple[Dialect, ...]] = {}

    def __getitem__(self, name: str) -> Dialect:
        if name not in self._loaded:
            module, _, constant = self._places[name].partition(".")
            self._loaded[name] = getattr(import_module(f"llmmon.formats.dialects.{module}"), constant)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def before(self, name: str) -> Iterator[tuple[frozenset[str], str]]:
        """The hallmarks of the dialects that are asked before one, each with the dialect's name."""
        for earlier in takewhile(lambda each: each != name, self._places):
            for keys in self._hallmarks[earlier]:
                yield keys, earlier

    def possible(self, keys: tuple[str, ...]) -> tuple[Dialect, ...]:
        """The dialects that objects with these keys can be of; files repeat few shapes, so they are remembered."""
        possible = self._possible.get(keys)
        if possible is None:
            there = frozenset(keys)
            named = [self[name] for name, each in self._hallmarks.items() if any(mark <= there for mark in each)]
            possible = tuple(dialect for dialect in named if dialect.has_keys(there))
            if len(self._possible) >= _MOST_SHAPES:
                self._possible.clear()
            self._possible[keys] = possible
        return possible


DIALECTS: Final = _Dialects(_TABLE)


def claimant(found: dict[str, Any]) -> Dialect | None:
    """The dialect that an object is of, None for a home-made one."""
    return next((dialect for dialect in DIALECTS.possible(tuple(found)) if dialect.claims(found)), None)


def replier(found: dict[str, Any]) -> Dialect | None:
    """The provider's dialect whose reply an object is, None if it is none."""
    if _USAGE.isdisjoint(found):
        return None
    possible = DIALECTS.possible(tuple(found))
    return next((dialect for dialect in possible if dialect.name in REPLIES and dialect.claims(found)), None)


_USAGE: Final = frozenset({"usage", "usageMetadata", "usage_metadata", "error"})
