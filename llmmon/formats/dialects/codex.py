"""Codex CLI's session files: the model, the usage and the errors of a turn stand on different lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, Step, bind, marks
from llmmon.formats.dialects.bodies import object_in
from llmmon.formats.mapping import CALL_COPY, CALL_KEY, value_at
from llmmon.formats.values import name

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
    """What earlier lines said: the session, the model, and the totals counted so far.

    The file of a fork or a sub-agent may begin with a copy of its parent's events, stamped anew. A copy has the
    parent's totals, and the oldest session's header stands last before it.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._root: Any = None  # the session that copied events are of
        self._lineage: set[Any] = set()
        self._provider: Any = None
        self._folder: Any = None
        self._spawner: Any = None  # the session whose sub-agent this one is
        self._model: Any = None
        self._totals: Object = {}
        self._failures = 0  # since the totals changed

    def __call__(self, found: Object) -> list[Row]:
        payload = object_in(found, "payload")
        match found.get("type"):
            case "session_meta":
                self._began(payload)
            case "turn_context":
                self._model = payload.get("model") or self._model
            case "event_msg" if payload.get("type") == "token_count":
                return self._counted(found, object_in(payload, "info"))
            case "event_msg" if isinstance(kind := payload.get("type"), str) and kind in _FAILURES:
                self._failures += 1
                row = self._row(found, kind, self._failures)
                return [row | {"outcome": _FAILURES[kind], "error_message": _message(payload)}]
        return []

    def _began(self, payload: Object) -> None:
        mine = name(payload.get("id"))
        parent = name(payload.get("forked_from_id"))
        if mine in self._lineage:
            self._root = parent or mine
        else:
            self._session, self._provider = mine, payload.get("model_provider")
            self._folder = payload.get("cwd")
            self._spawner = _spawner(payload) or name(payload.get("parent_thread_id"))
            self._root = parent or mine
            self._lineage = {mine, parent, name(payload.get("parent_thread_id")), _spawner(payload)} - {None}
        self._lineage |= {parent} - {None}
        self._totals = {}

    def _counted(self, found: Object, info: Object) -> list[Row]:
        totals = _numbers(object_in(info, "total_token_usage"))
        if totals and totals == self._totals:
            return []  # said again
        usage = _numbers(object_in(info, "last_token_usage"))
        if not usage:
            usage = {key: count - self._totals.get(key, 0) for key, count in totals.items()}
        self._totals, self._failures = totals or self._totals, 0
        counts = {slot: usage[key] for key, slot in _COUNTS.items() if key in usage}
        row = self._row(found, *sorted(usage.items())) | counts | {"success": True}
        return [row] if counts else []

    def _row(self, found: Object, *what: Any) -> Row:
        row = {
            "end": found.get("timestamp"),
            "model": self._model,
            "provider": self._provider,
            "session": self._session,
            "folder": self._folder,
            "parent_session": self._spawner,
        }
        if self._root is not None and self._totals:
            row[CALL_KEY] = repr((self._root, sorted(self._totals.items()), what))
            row[CALL_COPY] = len(self._lineage) > 1
        return row


_LASTING: Final = frozenset({"exec_command_end", "mcp_tool_call_end", "patch_apply_end"})


class _Steps:
    """The tool calls of a session file: requests and outputs as they went to the model, and how programs ended.

    A fork repeats its parent's steps under their own ids, so they count once.
    """

    def __init__(self) -> None:
        self._session: Any = None

    def __call__(self, found: Object) -> Iterator[Step]:
        payload = object_in(found, "payload")
        kind, place = payload.get("type"), {"session": self._session}
        match found.get("type"):
            case "session_meta" if self._session is None:
                self._session = name(payload.get("id"))
            case "compacted":
                yield Step(kind="compaction", id=found.get("timestamp"), start=found.get("timestamp"), **place)
            case "response_item" if kind in ("function_call", "custom_tool_call", "local_shell_call"):
                yield Step(
                    id=payload.get("call_id") or payload.get("id"),
                    tool=payload.get("name") or "local_shell",
                    server=payload.get("namespace"),
                    start=found.get("timestamp"),
                    arguments=payload.get("arguments", payload.get("input", payload.get("action"))),
                    **place,
                )
            case "response_item" if kind in ("function_call_output", "custom_tool_call_output"):
                output = payload.get("output", "")
                failed = output.get("success") if isinstance(output, dict) else None
                yield Step(
                    id=payload.get("call_id"),
                    end=found.get("timestamp"),
                    result=_content(output),
                    failed=failed is False or None,
                    **place,
                )
            case "event_msg" if kind in _LASTING:
                yield _ended(payload, found.get("timestamp"), place)


def _content(output: Any) -> Any:
    return output.get("content", output) if isinstance(output, dict) else output


def _ended(payload: Object, moment: Any, place: Row) -> Step:
    """How a program, an MCP tool or a patch ended, and how long it took."""
    invocation, result = object_in(payload, "invocation"), payload.get("result")
    code, success = payload.get("exit_code"), payload.get("success")
    failed = code != 0 if type(code) is int else success is False if isinstance(success, bool) else None
    if isinstance(result, dict):
        failed = "Err" in result or object_in(result, "Ok").get("is_error") is True
    return Step(
        id=payload.get("call_id"),
        server=invocation.get("server"),
        end=moment,
        failed=failed,
        latency_us=_length(payload.get("duration")),
        **place,
    )


def _length(duration: Any) -> float | None:
    """Microseconds of `{"secs": 1, "nanos": 5}`."""
    if not isinstance(duration, dict):
        return None
    seconds, nanos = duration.get("secs"), duration.get("nanos")
    return seconds * 1e6 + nanos / 1e3 if type(seconds) is int and type(nanos) is int else None


def _spawner(payload: Object) -> Any:
    """The session whose sub-agent this one is."""
    return name(value_at(payload, ("source", "subagent", "thread_spawn", "parent_thread_id")))


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
    repeats=True,
    steps=_Steps,
    lacks="no latency of single calls; times are when the answer was there",
)
# what `codex exec --json` prints: the usage of a whole turn
CODEX_EXEC: Final = Dialect(
    name="codex_exec",
    title="Codex's printed events",
    marks=marks(
        "type=turn.completed usage",
        "type=turn.started",
        "type=thread.started thread_id",
        "type=turn.failed error",
        "type=item.started|item.updated|item.completed item",
    ),
    only=marks("type=turn.completed|turn.failed")[0],
    bindings=bind(
        prompt_tokens="usage.input_tokens",
        cached_tokens="usage.cached_input_tokens",
        cache_write_tokens="usage.cache_write_input_tokens",
        completion_tokens="usage.output_tokens",
        reasoning_tokens="usage.reasoning_output_tokens",
        error="error",
        provider="type:*=openai",
    ),
    lacks="no time, no model; a row is a whole turn",
)
