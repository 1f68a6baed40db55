"""What `claude -p --output-format json` and `stream-json` print, and the messages of Anthropic's agent SDK.

A result sums up the calls of a run; where they are there, it is no call.
"""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, bind, marks
from llmmon.formats.dialects.anthropic import USAGE
from llmmon.formats.dialects.bodies import object_in, row_of
from llmmon.formats.mapping import CALL_KEY
from llmmon.formats.values import name

_BY_MODEL: Final = bind(
    prompt_tokens="inputTokens:exclusive",
    completion_tokens="outputTokens",
    cached_tokens="cacheReadInputTokens",
    cache_write_tokens="cacheCreationInputTokens",
    web_searches="webSearchRequests",
    cost="costUSD:usd",
)


class _Run:
    """The calls of the sessions since their last result."""

    def __init__(self) -> None:
        self._calls: dict[Any, dict[Any, Row]] = {}

    def __call__(self, found: Object) -> list[Row]:
        session, message = found.get("session_id"), object_in(found, "message")
        if not isinstance(session, str):
            return []
        if found.get("type") == "result":
            known = self._calls.pop(session, {})
            return _completed(found, list(known.values())) if known else _results(found)
        if found.get("type") != "assistant" or not isinstance(message.get("usage"), dict):
            return []
        identity = name(message.get("id"))
        row: Row = {
            **row_of(USAGE, message),
            "request_id": identity,
            CALL_KEY: identity,
            "model": message.get("model"),
            "provider": "anthropic",
            "session": session,
            "finish_reason": message.get("stop_reason"),
            "output": message.get("content"),
            "success": True,
        }
        self._calls.setdefault(session, {})[identity] = row
        return [dict(row)]


def _completed(found: Object, calls: list[Row]) -> list[Row]:
    """The last call again, with the answer's tokens that the calls, logged when they began, do not have yet."""
    whole = object_in(found, "usage").get("output_tokens")
    logged = sum(count for row in calls if type(count := row.get("completion_tokens")) is int)
    if type(whole) is not int or whole <= logged or type(last := calls[-1].get("completion_tokens")) is not int:
        return []
    return [calls[-1] | {"completion_tokens": last + whole - logged}]


def _results(found: Object) -> list[Row]:
    shared: Row = {
        "provider": "anthropic",
        "session": found.get("session_id"),
        "failed": found.get("is_error") is True,
        "error_type": found.get("subtype") if found.get("is_error") is True else None,
        "output": found.get("result"),
    }
    models = [(model, used) for model, used in object_in(found, "modelUsage").items() if isinstance(used, dict)]
    if len(models) == 1:
        shared["latency:ms"] = found.get("duration_api_ms")
    rows = [{**shared, **row_of(_BY_MODEL, used), "model": model} for model, used in models]
    if not rows:
        latency, cost = found.get("duration_api_ms"), found.get("total_cost_usd")
        rows = [{**shared, **row_of(USAGE, found), "latency:ms": latency, "cost:usd": cost}]
    return [row | {CALL_KEY: f"{found.get('uuid') or ''}:{row.get('model')}"} for row in rows]


CLAUDE_CLI: Final = Dialect(
    name="claude_cli",
    title="Claude Code's printed messages",
    marks=marks(
        "session_id type=assistant|user message",
        "session_id type=system|result subtype",
        "session_id type=stream_event event",
    ),
    open=_Run,
    splittable=False,
    repeats=True,
    lacks="no time; latency only where nothing but the result is there",
)
