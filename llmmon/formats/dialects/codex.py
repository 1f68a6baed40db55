"""Codex CLI's session files: the model, the usage and the errors of a turn stand on different lines."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, marks
from llmmon.formats.dialects.bodies import object_in

_COUNTS: Final = {
    "input_tokens": "prompt_tokens",
    "cached_input_tokens": "cached_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "output_tokens": "completion_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
    "total_tokens": "total_tokens",
}
_FAILURES: Final = {"error": "error", "stream_error": "error", "turn_aborted": "cancelled"}
_TYPES: Final = "session_meta|turn_context|event_msg|response_item|compacted"


class _Session:
    """What earlier lines said: the session, the model, and the totals counted so far."""

    def __init__(self) -> None:
        self._session: Any = None
        self._provider: Any = None
        self._model: Any = None
        self._totals: Object = {}

    def __call__(self, found: Object) -> list[Row]:
        payload = object_in(found, "payload")
        match found.get("type"):
            case "session_meta":
                self._session, self._provider = payload.get("id"), payload.get("model_provider")
                self._totals = {}
            case "turn_context":
                self._model = payload.get("model") or self._model
            case "event_msg" if payload.get("type") == "token_count":
                return self._counted(found, object_in(payload, "info"))
            case "event_msg" if isinstance(kind := payload.get("type"), str) and kind in _FAILURES:
                return [self._row(found) | {"outcome": _FAILURES[kind], "error_message": _message(payload)}]
        return []

    def _counted(self, found: Object, info: Object) -> list[Row]:
        totals = _numbers(object_in(info, "total_token_usage"))
        if totals and totals == self._totals:
            return []  # said again
        usage = _numbers(object_in(info, "last_token_usage"))
        if not usage:
            usage = {key: count - self._totals.get(key, 0) for key, count in totals.items()}
        self._totals = totals or self._totals
        counts = {slot: usage[key] for key, slot in _COUNTS.items() if key in usage}
        return [self._row(found) | counts | {"success": True}] if counts else []

    def _row(self, found: Object) -> Row:
        return {
            "end": found.get("timestamp"),
            "model": self._model,
            "provider": self._provider,
            "session": self._session,
        }


def _numbers(usage: Object) -> Object:
    return {key: count for key, count in usage.items() if type(count) in (int, float)}


def _message(payload: Object) -> Any:
    return payload.get("message") or payload.get("reason")


CODEX: Final = Dialect(
    name="codex",
    title="Codex CLI sessions",
    marks=marks(f"timestamp payload type={_TYPES}"),
    open=_Session,
    splittable=False,
    lacks="no latency of single calls; times are when the answer was there",
)
