"""Claude Code's session files: a line for each block of an answer, each with the usage so far."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.anthropic import USAGE
from llmmon.formats.dialects.bodies import object_in, row_of


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        message = object_in(found, "message")
        if found.get("type") != "assistant" or not isinstance(message.get("usage"), dict):
            return []
        failed = found.get("isApiErrorMessage") is True
        if message.get("model") == "<synthetic>" and not failed:
            return []  # written by the program, not by a model
        return [_row(found, message) if not failed else _failure(found, message)]

    return calls


def _row(found: Object, message: Object) -> Row:
    return {
        **_shared(found, message),
        **row_of(USAGE, message),
        "model": message.get("model"),
        "finish_reason": message.get("stop_reason"),
        "cost:usd": found.get("costUSD"),
        "output": message.get("content"),
        "success": True,
    }


def _failure(found: Object, message: Object) -> Row:
    return {
        **_shared(found, message),
        "failed": True,
        "error": found.get("error"),
        "error_message": message.get("content") if isinstance(message.get("content"), str) else _text(message),
        "status_code": found.get("apiErrorStatus"),
    }


def _text(message: Object) -> Any:
    content = message.get("content")
    first = content[0] if isinstance(content, list) and content else None
    return first.get("text") if isinstance(first, dict) else None


def _shared(found: Object, message: Object) -> Row:
    identity, request = message.get("id"), found.get("requestId")
    return {
        "request_id": f"{identity}:{request}" if identity and request else identity,  # gateways leave requestId out
        "end": found.get("timestamp"),
        "provider": "anthropic",
        "session": found.get("sessionId"),
        "feature": "sidechain" if found.get("isSidechain") is True else "main",
        "tags": found,
    }


CLAUDE_CODE: Final = Dialect(
    name="claude_code",
    title="Claude Code sessions",
    marks=marks(
        "sessionId uuid type",
        "summary leafUuid type=summary",
        "type=queue-operation sessionId",
        "type=file-history-snapshot messageId",
    ),
    open=_open,
    repeats=True,
    lacks="no latency; times are when the answer was written",
)
