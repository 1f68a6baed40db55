"""What a program records: calls and samples. One line times a call and reads the reply of the usual clients.

    with collector.call(model="gpt-4o") as call:
        call.reply(client.chat.completions.create(...))

Replies of OpenAI (chat, Responses), Anthropic, Gemini and LiteLLM are read, as objects or as dicts, and streams of
their pieces. Nothing of their texts is kept.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Protocol, Self, TypeVar
from uuid import uuid4

from llmmon.text.times import Clock, elapsed_ms, utc_now


class MetricType(Enum):
    """Kinds of LLM metric."""

    LATENCY = "latency"
    TOKENS = "tokens"
    COST = "cost"
    ERROR = "error"
    QUALITY = "quality"
    THROUGHPUT = "throughput"


@dataclass(frozen=True, slots=True)
class LLMMetric:
    """One sample of a metric."""

    name: str
    value: float
    metric_type: MetricType
    timestamp: datetime = field(default_factory=utc_now)
    tags: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object that llmmon reads back as a metric sample."""
        return {
            "name": self.name,
            "value": self.value,
            "type": self.metric_type.value,
            "timestamp": (self.timestamp if self.timestamp.tzinfo else self.timestamp.astimezone()).isoformat(),
            "tags": dict(self.tags),
        }


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """One call, as a program records it. None is unknown; it is never counted as 0."""

    request_id: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None = None
    cost_usd: float | None = None
    success: bool = True
    error_type: str = ""
    timestamp: datetime = field(default_factory=utc_now)
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish_reason: str | None = None
    user: str | None = None
    session: str | None = None
    feature: str | None = None


Function = TypeVar("Function", bound=Callable[..., Any])


class Recorder(Protocol):
    """Whatever takes recorded calls: a `MetricsCollector`, a `JsonLinesWriter`."""

    def record_request(self, metrics: RequestMetrics, /) -> None:
        """Record one call."""
        ...


# field of a call -> where replies hold it; the first that is there counts
_USAGE: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt_tokens": ("usage.prompt_tokens", "usage.input_tokens", "usage_metadata.prompt_token_count"),
    "completion_tokens": ("usage.completion_tokens", "usage.output_tokens", "usage_metadata.candidates_token_count"),
    "total_tokens": ("usage.total_tokens", "usage_metadata.total_token_count"),
    "cached_tokens": (
        "usage.prompt_tokens_details.cached_tokens",
        "usage.input_tokens_details.cached_tokens",
        "usage.cache_read_input_tokens",
        "usage_metadata.cached_content_token_count",
    ),
    "cache_write_tokens": ("usage.cache_creation_input_tokens",),
    "reasoning_tokens": (
        "usage.completion_tokens_details.reasoning_tokens",
        "usage.output_tokens_details.reasoning_tokens",
        "usage_metadata.thoughts_token_count",
    ),
}
_MODEL: Final = ("model", "model_version")
_FINISH: Final = ("choices.0.finish_reason", "stop_reason", "candidates.0.finish_reason", "status")
_ID: Final = ("id", "response_id")


class RecordedCall:
    """One call while it lasts; use as `with` or `async with`. What raises inside is recorded as a failed call."""

    def __init__(self, recorder: Recorder, clock: Clock = utc_now, **known: Any) -> None:
        """`known` are fields of `RequestMetrics`, such as model or user; raises `TypeError` for others."""
        self._recorder = recorder
        self._fields = {"request_id": str(uuid4()), "model": "", **dict.fromkeys(_NEEDED), **known}
        RequestMetrics(**self._fields)  # names that are no fields are refused here, not at the end
        self._clock = clock
        self._first_ms: float | None = None

    def __enter__(self) -> Self:
        self._fields["timestamp"] = self._fields.get("timestamp") or self._clock()
        self._started_ms = elapsed_ms()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        took_ms = elapsed_ms() - self._started_ms
        if self._fields.get("latency_ms") is None:
            self._fields["latency_ms"] = took_ms
        if kind is not None:
            self._fields |= {"success": False, "error_type": self._fields.get("error_type") or kind.__name__}
        if self._fields.get("time_to_first_token_ms") is None and self._first_ms is not None:
            self._fields["time_to_first_token_ms"] = self._first_ms - self._started_ms
        self._recorder.record_request(RequestMetrics(**self._fields))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.__exit__(kind, error, trace)

    def set(self, **known: Any) -> None:
        """Set fields of the call, such as cost_usd or user."""
        RequestMetrics(**{**self._fields, **known})
        self._fields |= known

    def first_token(self) -> None:
        """Note that the first token has come; pieces of a stream do so by themselves."""
        if self._first_ms is None:
            self._first_ms = elapsed_ms()

    def reply(self, reply: Any) -> Any:
        """Read a reply, or one piece of a streamed one; returns it."""
        self._fields |= fields_of_reply(reply, self._fields)
        return reply

    def stream(self, pieces: Any) -> Any:
        """Pass the pieces of a stream on, reading each; async iterators too. Ask OpenAI for `include_usage`."""
        return self._async_stream(pieces) if hasattr(pieces, "__aiter__") else self._stream(pieces)

    def _stream(self, pieces: Any) -> Iterator[Any]:
        for piece in pieces:
            self.first_token()
            yield self.reply(piece)

    async def _async_stream(self, pieces: Any) -> AsyncIterator[Any]:
        async for piece in pieces:
            self.first_token()
            yield self.reply(piece)


_NEEDED: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "latency_ms")


def recorded(recorder: Recorder, **known: Any) -> Callable[[Function], Function]:
    """Make a decorator for functions that return a reply, coroutine functions too: each run is one recorded call."""

    def decorate(function: Function) -> Function:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                async with RecordedCall(recorder, **known) as call:
                    return call.reply(await function(*args, **kwargs))

            return waited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with RecordedCall(recorder, **known) as call:
                return call.reply(function(*args, **kwargs))

        return called  # type: ignore[return-value]

    return decorate


def fields_of_reply(reply: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a call that a reply (or a piece of one) holds, with what is `known` from pieces before it."""
    inner = _first(reply, ("message", "response"))  # Anthropic's message_start, OpenAI's response.completed
    parts = [reply] if inner is None else [reply, inner]
    found: dict[str, Any] = {}
    for part in parts:
        for name, paths in _USAGE.items():
            if isinstance(value := _first(part, paths), (int, float)) and not isinstance(value, bool):
                found[name] = int(value)
        for name, paths in (("model", _MODEL), ("request_id", _ID)):
            if isinstance(value := _first(part, paths), str) and value:
                found[name] = value
        if (value := _first(part, ("delta.stop_reason", *_FINISH))) is not None:
            found["finish_reason"] = str(getattr(value, "value", value)).lower()
    if _first(reply, ("usage.cache_read_input_tokens",)) is not None or _is_anthropic(parts):
        _with_cache(found)
    both = [found.get(name, known.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    thoughts = found.get("reasoning_tokens") if _first(reply, ("usage_metadata",)) is not None else None
    if thoughts and found.get("completion_tokens") is not None:  # Gemini counts thoughts beside the answer
        found["completion_tokens"] += thoughts
    elif "total_tokens" not in found and None not in both:
        found["total_tokens"] = sum(count or 0 for count in both)
    return found


def _is_anthropic(parts: list[Any]) -> bool:
    return any(_first(part, ("usage.cache_creation_input_tokens",)) is not None for part in parts)


def _with_cache(found: dict[str, Any]) -> None:
    """Anthropic counts cache reads and writes beside the input; here they are part of the prompt."""
    if found.get("prompt_tokens") is not None:
        found["prompt_tokens"] += (found.get("cached_tokens") or 0) + (found.get("cache_write_tokens") or 0)


def _first(reply: Any, paths: tuple[str, ...]) -> Any:
    for path in paths:
        value = reply
        for step in _steps(path):
            value = _step(value, *step)
            if value is None:
                break
        if value is not None:
            return value
    return None


@functools.cache
def _steps(path: str) -> tuple[tuple[str, str, int], ...]:
    """Each part of a path, also in camel case, and as an index (-1: it is none)."""
    found = []
    for name in path.split("."):
        head, *words = name.split("_")
        found.append((name, head + "".join(word.title() for word in words), int(name) if name.isdigit() else -1))
    return tuple(found)


def _step(value: Any, name: str, camel: str, index: int) -> Any:
    if index >= 0:
        return value[index] if isinstance(value, (list, tuple)) and len(value) > index else None
    if isinstance(value, Mapping):
        return value.get(name, value.get(camel))
    return getattr(value, name, None)
