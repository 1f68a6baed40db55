"""Gemini's replies as they are, and Vertex AI's request-response log."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Object, below, bind, marks
from llmmon.formats.mapping import Binding


def _is_gemini(found: Object) -> bool:
    return "candidates" in found or "promptFeedback" in found or "prompt_feedback" in found


def _by_kind(details: str, kinds: str) -> tuple[str, str]:
    """Tokens of some modalities, in both spellings of keys."""
    snake = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in details)
    return (
        f"usageMetadata.{details}.[modality={kinds}].tokenCount",
        f"usage_metadata.{snake}.[modality={kinds}].token_count",
    )


# the answer's count leaves the thoughts out; keys come in two spellings
GEMINI_USAGE: Final = bind(
    prompt_tokens=("usageMetadata.promptTokenCount", "usage_metadata.prompt_token_count"),
    completion_tokens=(
        "usageMetadata.candidatesTokenCount:exclusive",
        "usage_metadata.candidates_token_count:exclusive",
    ),
    reasoning_tokens=("usageMetadata.thoughtsTokenCount", "usage_metadata.thoughts_token_count"),
    cached_tokens=("usageMetadata.cachedContentTokenCount", "usage_metadata.cached_content_token_count"),
    # what its own tools add to the prompt is counted beside it
    input_tool_tokens=(
        "usageMetadata.toolUsePromptTokenCount:exclusive",
        "usage_metadata.tool_use_prompt_token_count:exclusive",
    ),
    input_audio_tokens=_by_kind("promptTokensDetails", "AUDIO"),
    input_image_tokens=_by_kind("promptTokensDetails", "IMAGE|DOCUMENT"),
    input_video_tokens=_by_kind("promptTokensDetails", "VIDEO"),
    cache_audio_read_tokens=_by_kind("cacheTokensDetails", "AUDIO"),
    cache_image_read_tokens=_by_kind("cacheTokensDetails", "IMAGE|DOCUMENT"),
    cache_video_read_tokens=_by_kind("cacheTokensDetails", "VIDEO"),
    output_audio_tokens=_by_kind("candidatesTokensDetails", "AUDIO"),
    output_image_tokens=_by_kind("candidatesTokensDetails", "IMAGE|DOCUMENT"),
    output_video_tokens=_by_kind("candidatesTokensDetails", "VIDEO"),
    service_tier=("usageMetadata.serviceTier", "serviceTier"),
    total_tokens=("usageMetadata.totalTokenCount", "usage_metadata.total_token_count"),
)
GEMINI: Final = Dialect(
    name="gemini",
    title="Gemini replies",
    marks=marks("usageMetadata", "usage_metadata", "candidates modelVersion", "candidates model_version"),
    proof=_is_gemini,
    bindings=(
        *GEMINI_USAGE,
        *bind(
            request_id=("responseId", "response_id"),
            start=("createTime", "create_time"),
            model=("modelVersion", "model_version"),
            web_searches=(
                "candidates.0.groundingMetadata.webSearchQueries.#",
                "candidates.0.grounding_metadata.web_search_queries.#",
            ),
            finish_reason=(
                "candidates.0.finishReason",
                "candidates.0.finish_reason",
                "promptFeedback.blockReason",
                "prompt_feedback.block_reason",
            ),
            error="error",
            output="candidates.0.content.parts",
        ),
    ),
    nests=True,  # the pieces of a stream, of which the last counts all
    lacks="no time (but for createTime), no latency",
)


def _interaction(at: str) -> tuple[Binding, ...]:
    """The bindings of an interaction under a key."""
    found = bind(
        request_id="id",
        start="created",
        model="model",
        prompt_tokens="usage.total_input_tokens",
        input_tool_tokens="usage.total_tool_use_tokens:exclusive",
        completion_tokens="usage.total_output_tokens:exclusive",
        reasoning_tokens="usage.total_thought_tokens",
        cached_tokens="usage.total_cached_tokens",
        total_tokens="usage.total_tokens",
        service_tier="service_tier",
        outcome="status",
        error="error",
        output=("steps", "outputs"),
    )
    return below(at, found) if at else found


GOOGLE_INTERACTION: Final = Dialect(
    name="google_interaction",
    title="Google interactions",
    marks=marks("object=interaction", "id status usage model steps", "id status usage model outputs"),
    bindings=_interaction(""),
    nests=True,
    lacks="no latency",
)
GOOGLE_EVENT: Final = Dialect(
    name="google_event",
    title="Google interactions as events",
    marks=marks(
        "event_type interaction",
        "event_type=interaction.status_update interaction_id",
        "event_type=step.start|step.delta|step.stop|content.start|content.delta|content.stop index",
    ),
    only=marks("interaction/usage/total_tokens")[0],
    bindings=_interaction("interaction"),
    nests=True,
    lacks="no latency",
)
