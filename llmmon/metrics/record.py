"""What one LLM call is: the table of its fields, whatever dialect it was logged in.

Numbers are kept as integers in small units (microseconds, nano-dollars), held in float64 with NaN for
missing: sums of them are exact, so that any order of adding gives the same total.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Kind(StrEnum):
    """How a field is held in `Columns`."""

    TIME = "time"  # int64 microseconds since the epoch, UTC
    NUMBER = "number"  # float64, integral in units of 1/scale, NaN for missing
    NAME = "name"  # interned text: codes into a list of values, -1 for missing
    TEXT = "text"  # long text, read only where a command asks for it


class Field(msgspec.Struct, frozen=True):
    """One field of a call; a stored number is the public one times `scale`."""

    name: str
    kind: Kind
    help: str
    scale: int = 1


class Status(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


MICROSECONDS: Final = 1000  # stored units in a millisecond
NANO_DOLLARS: Final = 1_000_000_000  # stored units in a US dollar
SCORE_UNITS: Final = 1_000_000  # stored units in a score of 1

_T, _N, _S, _X = Kind.TIME, Kind.NUMBER, Kind.NAME, Kind.TEXT

# usage that some models bill apart; the names are those of the price list's units
_USAGE: Final = (
    Field("input_audio_tokens", _N, "prompt tokens of audio"),
    Field("input_image_tokens", _N, "prompt tokens of images and documents"),
    Field("input_video_tokens", _N, "prompt tokens of video"),
    Field("input_tool_tokens", _N, "prompt tokens that tools of the provider added"),
    Field("cache_audio_read_tokens", _N, "audio tokens among the cached ones"),
    Field("cache_image_read_tokens", _N, "image tokens among the cached ones"),
    Field("cache_video_read_tokens", _N, "video tokens among the cached ones"),
    Field("output_audio_tokens", _N, "completion tokens of audio"),
    Field("output_image_tokens", _N, "completion tokens of images"),
    Field("output_video_tokens", _N, "completion tokens of video"),
    Field("output_citation_tokens", _N, "completion tokens of cited sources"),
    Field("web_searches", _N, "web searches that the provider ran"),
    Field("social_searches", _N, "searches of a social network that the provider ran"),
    Field("storage_searches", _N, "searches of stored files that the provider ran"),
    Field("code_executions", _N, "code that the provider ran"),
    Field("rerank_searches", _N, "search units of reranking"),
    Field("audio_seconds", _N, "seconds of audio, in or out", 1000),
    Field("input_audio_seconds", _N, "seconds of audio that were transcribed", 1000),
    Field("output_audio_seconds", _N, "seconds of audio that were made", 1000),
    Field("input_document_pages", _N, "pages of documents that were read"),
    Field("input_annotated_document_pages", _N, "those of the pages that were annotated"),
    Field("input_characters", _N, "characters of the input, where they are billed"),
    Field("input_text_messages", _N, "text messages, where they are billed"),
    # what another model did for the one that answers
    Field("advisor_input_tokens", _N, "prompt tokens of an advisor, without cached ones"),
    Field("advisor_cached_tokens", _N, "prompt tokens that an advisor read from the cache"),
    Field("advisor_cache_write_tokens", _N, "prompt tokens that an advisor wrote to the cache"),
    Field("advisor_output_tokens", _N, "completion tokens of an advisor"),
)

FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        Field("request_id", _S, "identifier of the call"),
        Field("timestamp", _T, "when the call started"),
        Field("model", _S, "model that answered"),
        Field("model_requested", _S, "model that was asked for"),
        Field("provider", _S, "who served it"),
        Field("operation", _S, "chat, completion, embedding, ..."),
        Field("prompt_tokens", _N, "input tokens, cache reads and writes included"),
        Field("completion_tokens", _N, "output tokens, reasoning included"),
        Field("total_tokens", _N, "prompt and completion tokens"),
        Field("cached_tokens", _N, "prompt tokens read from the provider's cache"),
        Field("cache_write_tokens", _N, "prompt tokens written to the provider's cache"),
        Field("cache_write_1h_tokens", _N, "the part of the cache writes kept for an hour"),
        Field("reasoning_tokens", _N, "completion tokens spent on reasoning"),
        *_USAGE,
        Field("latency_ms", _N, "start to end", MICROSECONDS),
        Field("time_to_first_token_ms", _N, "start to the first token", MICROSECONDS),
        Field("cost_usd", _N, "cost of the call", NANO_DOLLARS),
        Field("service_tier", _S, "default, flex, priority, batch"),
        Field("advisor_model", _S, "model that was asked for advice within the call"),
        Field("speed", _S, "standard, or fast where that has a price of its own"),
        Field("cache_hit", _N, "1 if a gateway answered from its own cache"),
        Field("attempt", _N, "which attempt of the request this was"),
        Field("status", _S, "ok, error, cancelled, unknown"),
        Field("error_type", _S, "class of the error"),
        Field("error_message", _S, "text of the error"),
        Field("status_code", _N, "HTTP status"),
        Field("finish_reason", _S, "why the answer ended"),
        Field("user", _S, "who asked"),
        Field("session", _S, "conversation"),
        Field("trace", _S, "trace the call belongs to"),
        Field("feature", _S, "part of the application"),
        Field("prompt_version", _S, "version of the prompt template"),
        Field("quality_score", _N, "quality in [0, 1]", SCORE_UNITS),
        Field("prompt", _X, "what was asked"),
        Field("output", _X, "what was answered"),
        Field("expected", _X, "reference answer"),
        Field("context", _X, "material the answer should rest on"),
        Field("system", _X, "system prompt, where it is logged apart"),
        Field("schema", _X, "what the answer's JSON must keep: a schema, a response_format, required keys"),
    )
}

USAGE: Final = tuple(field.name for field in _USAGE)
NUMBERS: Final = tuple(f.name for f in FIELDS.values() if f.kind is Kind.NUMBER)
NAMES: Final = tuple(f.name for f in FIELDS.values() if f.kind is Kind.NAME)
TEXTS: Final = tuple(f.name for f in FIELDS.values() if f.kind is Kind.TEXT)
TAG_PREFIX: Final = "tag."
