"""Claude Code's session files: a line for each block of an answer, each with the usage so far."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, below, bind, marks
from llmmon.formats.dialects.anthropic import USAGE
from llmmon.formats.dialects.bodies import object_in

_SHARED: Final = bind(
    # a resumed session and a sub-agent's file repeat an answer, and so does one that is logged without its request
    call_key=("message.id", "requestId", "uuid"),
    request_id=("message.id", "requestId", "uuid"),
    end="timestamp",
    provider="type:*=anthropic",
    session="sessionId",
    feature="isSidechain:true=sidechain,*=main",
)

CLAUDE_CODE: Final = Dialect(
    name="claude_code",
    title="Claude Code sessions",
    marks=marks(
        "sessionId uuid type",
        "summary leafUuid type=summary",
        "type=queue-operation sessionId",
        "type=file-history-snapshot messageId",
    ),
    # what the program itself writes in the place of a model's answer is no call
    only=marks("type=assistant message/usage message/model!=<synthetic>")[0],
    bindings=(
        *_SHARED,
        *bind(
            model="message.model",
            finish_reason="message.stop_reason",
            cost="costUSD:usd",
            output="message.content",
            success="type:present",
        ),
        *below("message", USAGE),
    ),
    repeats=True,
    lacks="no latency; times are when the answer was written",
)


def _is_failure(found: Object) -> bool:
    return found["isApiErrorMessage"] is True


def _open_failures() -> Feed:
    def calls(found: Object) -> list[Row]:
        message = object_in(found, "message")
        content = message.get("content")
        row = {
            "request_id": next((it for it in (message.get("id"), found.get("uuid")) if isinstance(it, str)), None),
            "end": found.get("timestamp"),
            "provider": "anthropic",
            "session": found.get("sessionId"),
            "feature": "sidechain" if found.get("isSidechain") is True else "main",
            "failed": True,
            "error": found.get("error"),
            "error_message": content if isinstance(content, str) else _text(content),
            "status_code": found.get("apiErrorStatus"),
            "tags": found,
        }
        return [row]

    return calls


def _text(content: Any) -> Any:
    first = content[0] if isinstance(content, list) and content else None
    return first.get("text") if isinstance(first, dict) else None


CLAUDE_CODE_ERROR: Final = Dialect(
    name="claude_code_error",
    title="Claude Code errors",
    marks=marks("sessionId uuid type=assistant message isApiErrorMessage"),
    proof=_is_failure,
    open=_open_failures,
    repeats=True,
    lacks="no model, no tokens",
)
