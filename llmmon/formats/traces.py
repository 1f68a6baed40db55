"""Public request traces: Azure LLM inference, Mooncake."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind

AZURE_TRACE: Final = Dialect(
    name="azure_llm_trace",
    title="Azure LLM inference trace",
    claims=lambda found: found.keys() >= {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    bindings=bind(start="TIMESTAMP", prompt_tokens="ContextTokens", completion_tokens="GeneratedTokens"),
    required=(("ContextTokens",), ("GeneratedTokens",)),
    lacks="no model, latency or outcome",
)
MOONCAKE_TRACE: Final = Dialect(
    name="mooncake_trace",
    title="Mooncake trace",
    claims=lambda found: found.keys() >= {"input_length", "output_length", "hash_ids"},
    bindings=bind(start="timestamp:ms", prompt_tokens="input_length", completion_tokens="output_length"),
    required=(("input_length",), ("output_length",)),
    lacks="no model, latency or outcome; times count from 0 (shown from 1970-01-01)",
)
