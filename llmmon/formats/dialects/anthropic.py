"""Anthropic's messages as they are, whole or as the events of a stream."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, bind, marks
from llmmon.formats.mapping import CALL_KEY, Binding, admit, value_at

# every step of a reply is billed, but the sums beside the steps leave those of compaction out;
# an advisor is another model
_ADVISOR: Final = "usage.iterations.[type=advisor_message]"
_STEPS: Final = "usage.iterations.[type!=advisor_message]"
# cache reads and writes are not in input_tokens
USAGE: Final[tuple[Binding, ...]] = bind(
    prompt_tokens=(f"{_STEPS}.input_tokens:exclusive", "usage.input_tokens:exclusive"),
    completion_tokens=(f"{_STEPS}.output_tokens", "usage.output_tokens"),
    cached_tokens=(f"{_STEPS}.cache_read_input_tokens", "usage.cache_read_input_tokens"),
    cache_write_tokens=(f"{_STEPS}.cache_creation_input_tokens", "usage.cache_creation_input_tokens"),
    cache_write_1h_tokens=(
        f"{_STEPS}.cache_creation.ephemeral_1h_input_tokens",
        "usage.cache_creation.ephemeral_1h_input_tokens",
    ),
    reasoning_tokens="usage.output_tokens_details.thinking_tokens",
    web_searches="usage.server_tool_use.web_search_requests",
    advisor_model=f"{_ADVISOR}.model",
    advisor_input_tokens=f"{_ADVISOR}.input_tokens",
    advisor_cached_tokens=f"{_ADVISOR}.cache_read_input_tokens",
    advisor_cache_write_tokens=f"{_ADVISOR}.cache_creation_input_tokens",
    advisor_output_tokens=f"{_ADVISOR}.output_tokens",
    service_tier="usage.service_tier",
    speed="usage.speed",
)
ANTHROPIC_MESSAGE: Final = Dialect(
    name="anthropic",
    title="Anthropic messages",
    marks=marks("type=message stop_reason"),
    bindings=(*bind(request_id="id", model="model", finish_reason="stop_reason", output="content"), *USAGE),
    lacks="no time, no latency",
)


class _Stream:
    """The message that the last start began: usage stands there and, with the whole answer, in the later deltas."""

    def __init__(self) -> None:
        self._message: Object = {}
        self._usage: Object = {}
        self._texts: list[str] = []
        self._start: Any = None

    def __call__(self, found: Object) -> list[Row]:
        match found.get("type"):
            case "message_start":
                self._message, self._texts = _object(found, "message"), []
                self._start = found.get("timestamp")  # where the log around the event has one
                self._usage = _object(self._message, "usage")
                return [self._row({})]
            case "content_block_delta":
                text = _object(found, "delta").get("text")
                self._texts += [text] if isinstance(text, str) else []
            case "message_delta" if self._message:
                known = {key: value for key, value in _object(found, "usage").items() if value is not None}
                self._usage = {**self._usage, **known}
                return [self._row(_object(found, "delta")) | {"end": found.get("timestamp")}]
        return []

    def _row(self, delta: Object) -> Row:
        message = {**self._message, "usage": self._usage}
        text = "".join(self._texts)
        row: Row = {} if not text else {"output": text}
        for binding in USAGE:
            key = f"{binding.slot}@{binding.rank}:{binding.unit}"
            if (value := admit(binding, value_at(message, binding.path))) is not None:
                row[key] = value
        identity = message.get("id")
        shared = {"request_id": identity, CALL_KEY: identity, "model": message.get("model"), "success": True}
        return row | shared | {"finish_reason": delta.get("stop_reason"), "start": self._start}


def _object(found: Object, key: str) -> Object:
    inner = found.get(key)
    return inner if isinstance(inner, dict) else {}


ANTHROPIC_EVENT: Final = Dialect(
    name="anthropic_event",
    title="Anthropic messages as events",
    marks=marks(
        "type=message_start message",
        "type=message_delta delta usage",
        "type=content_block_start index content_block",
        "type=content_block_delta index delta",
        "type=content_block_stop index",
        "type=message_stop|ping",
    ),
    open=_Stream,
    splittable=False,
    repeats=True,
    lacks="no time, no latency",
)
