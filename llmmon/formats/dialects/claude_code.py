"""Claude Code's session files: a line for each block of an answer, each with the usage so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, below, bind, marks
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
    subagent=("agentId", "isSidechain:true=sidechain,*="),
    folder="cwd",
)

_ASKED: Final = frozenset({"tool_use", "mcp_tool_use", "server_tool_use"})
_GAVE: Final = ("tool_result", "mcp_tool_result", "web_search_tool_result", "code_execution_tool_result")
_LASTED: Final = ("durationMs", "totalDurationMs")


def _steps(found: Object) -> Iterator[Step]:
    """What an agent did: `tool_use` blocks of answers, `tool_result` blocks of what follows, compactions."""
    message = found.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    place: dict[str, Any] = {"session": found.get("sessionId"), "subagent": _agent(found)}
    if found.get("subtype") == "compact_boundary":
        yield Step(kind="compaction", id=found.get("uuid"), start=found.get("timestamp"), **place)
    for block in content if isinstance(content, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if kind in _ASKED:
            yield Step(
                id=block.get("id"),
                tool=block.get("name"),
                server=block.get("server_name"),
                call=object_in(found, "message").get("id"),
                start=found.get("timestamp"),
                arguments=block.get("input"),
                **place,
            )
        elif kind in _GAVE:
            failed = block.get("is_error")
            yield Step(
                id=block.get("tool_use_id"),
                end=found.get("timestamp"),
                result=block.get("content", ""),
                failed=failed if isinstance(failed, bool) else None,
                latency_us=_lasted(found.get("toolUseResult")),
                **place,
            )


def _agent(found: Object) -> Any:
    return found.get("agentId") or ("sidechain" if found.get("isSidechain") is True else None)


def _lasted(result: Any) -> float | None:
    lengths = [result.get(key) for key in _LASTED] if isinstance(result, dict) else []
    return next((length * 1000.0 for length in lengths if isinstance(length, (int, float))), None)


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
    steps=lambda: _steps,
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
