"""Cline, Roo Code and Kilo Code: the messages of a task, of which one a request carries what it took."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

CLINE: Final = Dialect(
    name="cline",
    title="Cline and Roo Code tasks",
    marks=marks("ts type=say|ask say", "ts type=say|ask ask"),
    only=marks("say=api_req_started text")[0],
    bindings=bind(
        start="ts:ms",
        model=("modelInfo.modelId", "text.model", "text.inferenceModel"),
        provider=("modelInfo.providerId", "text.inferenceProvider"),
        prompt_tokens="text.tokensIn:exclusive",
        completion_tokens="text.tokensOut",
        cached_tokens="text.cacheReads",
        cache_write_tokens="text.cacheWrites",
        cost="text.cost:usd",
        error_message=("text.streamingFailedMessage", "text.cancelReason"),
        error="text.streamingFailedMessage",
        feature="modelInfo.mode",
    ),
    lacks="no latency; a model only in newer versions",
)
