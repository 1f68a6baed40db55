"""What one LLM call is: the table of its fields, whatever dialect it was logged in.

Numbers are kept as integers in small units (microseconds, nano-dollars), held in float64 with NaN for
missing: sums of them are exact, so that any order of adding gives the same total.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

AGGREGATIONS: Final = (
    "avg",
    "sum",
    "min",
    "max",
    "p50",
    "p90",
    "p95",
    "p99",
    "count",
    "rate",
)


class FieldKind(StrEnum):
    """How a field is held in `Columns`."""

    TIME = "time"  # int64 microseconds since the epoch, UTC
    NUMBER = "number"  # float64, integral in units of 1/scale, NaN for missing
    NAME = "name"  # interned text: codes into a list of values, -1 for missing
    TEXT = "text"  # long text, read only where a command asks for it


class Field(msgspec.Struct, frozen=True):
    """One field of a call; a stored number is the public one times `scale`."""

    name: str
    kind: FieldKind
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


def _time(name: str, text: str) -> Field:
    return Field(name, FieldKind.TIME, text)


def _number(name: str, text: str, *, scale: int = 1) -> Field:
    return Field(name, FieldKind.NUMBER, text, scale)


def _name(name: str, text: str) -> Field:
    return Field(name, FieldKind.NAME, text)


def _text(name: str, text: str) -> Field:
    return Field(name, FieldKind.TEXT, text)


# usage that some models bill apart; the names are those of the price list's units
_USAGE: Final = (
    _number("input_audio_tokens", "prompt tokens of audio"),
    _number("input_image_tokens", "prompt tokens of images and documents"),
    _number("input_video_tokens", "prompt tokens of video"),
    _number("input_tool_tokens", "prompt tokens that tools of the provider added"),
    _number("cache_audio_read_tokens", "audio tokens among the cached ones"),
    _number("cache_image_read_tokens", "image tokens among the cached ones"),
    _number("cache_video_read_tokens", "video tokens among the cached ones"),
    _number("output_audio_tokens", "completion tokens of audio"),
    _number("output_image_tokens", "completion tokens of images"),
    _number("output_video_tokens", "completion tokens of video"),
    _number("output_citation_tokens", "completion tokens of cited sources"),
    _number("web_searches", "web searches that the provider ran"),
    _number("social_searches", "searches of a social network that the provider ran"),
    _number("storage_searches", "searches of stored files that the provider ran"),
    _number("code_executions", "code that the provider ran"),
    _number("rerank_searches", "search units of reranking"),
    _number("audio_seconds", "seconds of audio, in or out", scale=1000),
    _number("input_audio_seconds", "seconds of audio that were transcribed", scale=1000),
    _number("output_audio_seconds", "seconds of audio that were made", scale=1000),
    _number("input_document_pages", "pages of documents that were read"),
    _number("input_annotated_document_pages", "those of the pages that were annotated"),
    _number("input_characters", "characters of the input, where they are billed"),
    _number("input_text_messages", "text messages, where they are billed"),
    # what another model did for the one that answers
    _number("advisor_input_tokens", "prompt tokens of an advisor, without cached ones"),
    _number("advisor_cached_tokens", "prompt tokens that an advisor read from the cache"),
    _number("advisor_cache_write_tokens", "prompt tokens that an advisor wrote to the cache"),
    _number("advisor_output_tokens", "completion tokens of an advisor"),
)

# what the headers of an answer say
_LIMITS: Final = (
    _number("limit_requests", "requests a minute that the provider allows"),
    _number("limit_tokens", "tokens a minute that the provider allows"),
    _number("limit_input_tokens", "input tokens a minute that the provider allows"),
    _number("limit_output_tokens", "output tokens a minute that the provider allows"),
)

FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        _name("request_id", "identifier of the call"),
        _time("timestamp", "when the call started"),
        _name("model", "model that answered"),
        _name("model_requested", "model that was asked for"),
        _name("provider", "who served it"),
        _name("operation", "chat, completion, embedding, ..."),
        _number("prompt_tokens", "input tokens, cache reads and writes included"),
        _number("completion_tokens", "output tokens, reasoning included"),
        _number("total_tokens", "prompt and completion tokens"),
        _number("cached_tokens", "prompt tokens read from the provider's cache"),
        _number("cache_write_tokens", "prompt tokens written to the provider's cache"),
        _number("cache_write_1h_tokens", "the part of the cache writes kept for an hour"),
        _number("reasoning_tokens", "completion tokens spent on reasoning"),
        *_USAGE,
        _number("latency_ms", "start to end", scale=MICROSECONDS),
        _number("time_to_first_token_ms", "start to the first token", scale=MICROSECONDS),
        _number("cost_usd", "cost of the call", scale=NANO_DOLLARS),
        _name("service_tier", "default, flex, priority, batch"),
        _name("advisor_model", "model that was asked for advice within the call"),
        _name("speed", "standard, or fast where that has a price of its own"),
        _number("cache_hit", "1 if a gateway answered from its own cache"),
        _number("attempt", "which attempt of the request this was"),
        _name("status", "ok, error, cancelled, unknown"),
        _name("error_type", "class of the error"),
        _name("error_message", "text of the error"),
        _number("status_code", "HTTP status"),
        _name("finish_reason", "why the answer ended"),
        _name("user", "who asked"),
        _name("session", "conversation"),
        _name("trace", "trace the call belongs to"),
        _name("span", "span of the trace that is the call"),
        _name("subagent", "sub-agent of the session that made the call"),
        _name("parent_session", "session whose sub-agent this session is"),
        _name("folder", "folder of the project that an agent works in"),
        _name("feature", "part of the application"),
        _name("prompt_version", "version of the prompt template"),
        *_LIMITS,
        _number("quality_score", "quality in [0, 1]", scale=SCORE_UNITS),
        _text("prompt", "what was asked"),
        _text("output", "what was answered"),
        _text("expected", "reference answer"),
        _text("context", "material the answer should rest on"),
        _text("system", "system prompt, where it is logged apart"),
        _text("schema", "what the answer's JSON must keep: a schema, a response_format, required keys"),
    )
}

USAGE: Final = tuple(field.name for field in _USAGE)
LIMITS: Final = tuple(field.name for field in _LIMITS)
NUMBERS: Final = tuple(f.name for f in FIELDS.values() if f.kind is FieldKind.NUMBER)
NAMES: Final = tuple(f.name for f in FIELDS.values() if f.kind is FieldKind.NAME)
TEXTS: Final = tuple(f.name for f in FIELDS.values() if f.kind is FieldKind.TEXT)
TAG_PREFIX: Final = "tag."
# tags in which logs and gateways keep a hash of the request
HASH_TAGS: Final = (
    *("prompt_hash", "request_hash", "input_hash", "messages_hash", "body_hash", "prompt_sha256", "cache_key"),
)
