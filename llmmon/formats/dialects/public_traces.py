"""Public request traces, as CSV or JSON: Azure LLM inference, BurstGPT, Mooncake."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks
from llmmon.formats.mapping import Test

AZURE_TRACE: Final = Dialect(
    name="azure_llm_trace",
    title="Azure LLM inference trace",
    marks=marks("TIMESTAMP ContextTokens GeneratedTokens"),
    bindings=bind(start="TIMESTAMP", prompt_tokens="ContextTokens", completion_tokens="GeneratedTokens"),
    naive="UTC",
    lacks="no model, latency or outcome",
)
BURSTGPT: Final = Dialect(
    name="burstgpt",
    title="BurstGPT trace",
    marks=((Test("Timestamp"), Test("Model"), Test("Request tokens"), Test("Response tokens")),),
    bindings=bind(
        start="Timestamp:s",
        latency="Elapsed time:s",
        model="Model",
        session="Session ID",
        operation="Log Type",
        prompt_tokens="Request tokens",
        completion_tokens="Response tokens",
        success="Response tokens",  # 0 tokens is a failure
    ),
    lacks="times count from 0 (shown from 1970-01-01)",
)
MOONCAKE_TRACE: Final = Dialect(
    name="mooncake_trace",
    title="Mooncake trace",
    marks=marks("input_length output_length hash_ids"),
    bindings=bind(start="timestamp:ms", prompt_tokens="input_length", completion_tokens="output_length"),
    lacks="no model, latency or outcome; times count from 0 (shown from 1970-01-01)",
)
