"""Gemini's replies as they are, and Vertex AI's request-response log."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Object, bind, marks


def _is_gemini(found: Object) -> bool:
    return "candidates" in found or "promptFeedback" in found or "prompt_feedback" in found


# the answer's count leaves the thoughts out; keys come in two spellings
GEMINI: Final = Dialect(
    name="gemini",
    title="Gemini replies",
    marks=marks("usageMetadata", "usage_metadata", "candidates modelVersion", "candidates model_version"),
    proof=_is_gemini,
    bindings=bind(
        request_id=("responseId", "response_id"),
        start=("createTime", "create_time"),
        model=("modelVersion", "model_version"),
        prompt_tokens=("usageMetadata.promptTokenCount", "usage_metadata.prompt_token_count"),
        completion_tokens=(
            "usageMetadata.candidatesTokenCount:exclusive",
            "usage_metadata.candidates_token_count:exclusive",
        ),
        reasoning_tokens=("usageMetadata.thoughtsTokenCount", "usage_metadata.thoughts_token_count"),
        cached_tokens=("usageMetadata.cachedContentTokenCount", "usage_metadata.cached_content_token_count"),
        total_tokens=("usageMetadata.totalTokenCount", "usage_metadata.total_token_count"),
        finish_reason=(
            "candidates.0.finishReason",
            "candidates.0.finish_reason",
            "promptFeedback.blockReason",
            "prompt_feedback.block_reason",
        ),
        error="error",
        output="candidates.0.content.parts",
    ),
    lacks="no time (but for createTime), no latency",
)
