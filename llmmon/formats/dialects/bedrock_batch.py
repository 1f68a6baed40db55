"""Results of AWS Bedrock's batch inference: the replies of a model, in its own form."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import body_row, object_in, row_of

# Converse and Nova, Llama, Titan
_OTHERS: Final = bind(
    prompt_tokens=("usage.inputTokens:exclusive", "prompt_token_count", "inputTextTokenCount"),
    completion_tokens=("usage.outputTokens", "generation_token_count", "results.0.tokenCount"),
    total_tokens="usage.totalTokens",
    cached_tokens=("usage.cacheReadInputTokens", "usage.cacheReadInputTokenCount"),
    cache_write_tokens=("usage.cacheWriteInputTokens", "usage.cacheWriteInputTokenCount"),
    finish_reason=("stopReason", "stop_reason", "results.0.completionReason"),
    output=("output.message.content", "generation", "results.0.outputText"),
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        asked, body = object_in(found, "modelInput"), object_in(found, "modelOutput")
        error: Any = found.get("error")
        row = body_row(body) or row_of(_OTHERS, body)
        row |= {
            "request_id": found.get("recordId") or row.get("request_id"),
            "provider": "aws_bedrock",
            "service_tier": "batch",
            "prompt": asked.get("messages") or asked.get("prompt") or asked.get("inputText"),
        }
        if error:
            fault = error if isinstance(error, dict) else {}
            row |= {"failed": True, "status_code": fault.get("errorCode"), "error_message": fault.get("errorMessage")}
        else:
            row["success"] = True
        return [row]

    return calls


BEDROCK_BATCH: Final = Dialect(
    name="bedrock_batch",
    title="AWS Bedrock batch results",
    marks=marks("recordId modelInput", "recordId modelOutput"),
    open=_open,
    lacks="no time, no latency; a model only where its reply names it",
)
