"""Tool calls and their results as messages tell of them, in the shapes of OpenAI, Anthropic, Gemini, OpenTelemetry,
LangChain and home-made logs; and what in a result shows that the tool failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, Final

import orjson

from llmmon.formats.aliases import fold
from llmmon.formats.dialect import Object, Step
from llmmon.formats.mapping import embedded

_DEEPEST: Final = 8
# under these a model's answer may stand
_ANSWERS: Final = frozenset(
    (
        "choices message messages content parts output outputs candidates generations kwargs delta response body "
        "result completion item steps additionalkwargs responsebody value data event payload llm call"
    ).split()
)
# under these what was asked stands
_ASKED: Final = ("messages", "input", "contents", "prompt", "inputs", "history", "input_messages")
_AROUND: Final = ("request", "request_body", "requestBody", "body", "payload", "kwargs", "data", "llm", "call", "event")
_CALLS: Final = frozenset(
    {"tool_use", "server_tool_use", "mcp_tool_use", "function_call", "tool_call", "mcp_call"} | {"custom_tool_call"}
)
_RESULTS: Final = frozenset(
    {"tool_result", "mcp_tool_result", "function_call_output", "custom_tool_call_output", "tool_call_response", "tool"}
)
_ANSWERED_BY: Final = frozenset({"assistant", "model", "ai", "aimessage"})


def spoken_steps(found: Object, around: Mapping[str, Any]) -> Iterator[Step]:
    """The tool calls in an answer, and the results at the end of the prompt that it is an answer to.

    `around` has the slots of the call itself: session, trace, request_id, start, end, latency (microseconds).
    """
    start, end = around.get("start"), around.get("end")
    place: dict[str, Any] = {key: around.get(key) for key in ("session", "trace", "subagent")}
    asked = _asked(found)
    ordinal = _count_unnamed(asked) if asked is not None else None
    if asked is not None:
        yield from _results(asked, place, start if start is not None else end, ordinal)
    for call in _calls(found, _DEEPEST, answer=True):
        if call["id"] is None and ordinal is not None:
            call["id"] = f"#{ordinal}"
            ordinal += 1
        yield Step(**call, **place, call=around.get("request_id"), start=end if end is not None else start, spoken=True)


def _asked(found: Object) -> list[Any] | None:
    """The messages that were sent to the model."""
    for holder in (found, *(inner for key in _AROUND if isinstance(inner := _opened(found.get(key)), dict))):
        for key in _ASKED:
            value = _opened(holder.get(key))
            if isinstance(value, dict):
                value = _opened(value.get("messages") or value.get("contents") or value.get("input"))
            if isinstance(value, list) and value:
                if len(value) == 1 and isinstance(value[0], list):
                    return value[0]
                return value
    return None


def _opened(value: Any) -> Any:
    return embedded(value) if isinstance(value, str) else value


def _calls(found: Any, depth: int, *, answer: bool) -> Iterator[dict[str, Any]]:
    """The tool calls in an answer: what each asks for."""
    if isinstance(found, str):
        found = embedded(found) if '"' in found else None
    if isinstance(found, list):
        for each in found:
            if isinstance(each, (dict, list)) and depth:
                yield from _calls(each, depth - 1, answer=answer)
        return
    if not isinstance(found, dict):
        return
    kind = found.get("type")
    if isinstance(kind, str) and kind in _CALLS and (call := _call(found)) is not None:
        yield call
        return
    if str(found.get("role") or "").lower() in _NOT_ANSWERS:
        return
    listed = found.get("tool_calls") or found.get("toolCalls")
    if isinstance(listed, list) and listed:
        yield from (call for each in listed if isinstance(each, dict) and (call := _call(each)) is not None)
        return
    for key in ("functionCall", "function_call"):
        if isinstance(found.get(key), dict) and (call := _call(found[key])) is not None:
            yield call
            return
    for key, value in found.items():
        if (depth and isinstance(value, (dict, list)) and fold(key) in _ANSWERS and key not in _PROMPTS) or (
            depth and isinstance(value, str) and value[:1] in _OPENING and fold(key) in _ANSWERS and key not in _PROMPTS
        ):
            yield from _calls(value, depth - 1, answer=answer)


_OPENING: Final = ("{", "[")
_PROMPTS: Final = frozenset({"messages", "contents", "input", "inputs", "prompt", "history"})
_NOT_ANSWERS: Final = frozenset("user human system developer tool function".split())
_GIVEN: Final = ("arguments", "args", "input", "parameters", "params", "partialJson")
_GAVE: Final = ("result", "output", "response", "observation", "return_value", "returned")


def _call(found: Object) -> dict[str, Any] | None:
    """One tool call as it is written: its id, its tool, its arguments, and its result where that stands beside it."""
    function = found.get("function")
    inner = function if isinstance(function, dict) else found
    tool = (
        inner.get("name") or found.get("name") or found.get("tool_name") or found.get("toolName") or found.get("tool")
    )
    if not isinstance(tool, str):
        return None
    call: dict[str, Any] = {
        "id": found.get("call_id") or found.get("id") or found.get("tool_call_id") or found.get("toolCallId"),
        "tool": tool,
        "server": found.get("server_label") or found.get("server_name") or found.get("server"),
        "arguments": _first(inner, _GIVEN),
    }
    gave = _first(found, _GAVE)
    if gave is not None:
        call["result"] = gave
    if "error" in found or "status" in found or "is_error" in found or "success" in found or "ok" in found:
        call["failed"] = said_failed(found)
        call["error"] = _error_type(found.get("error"))
        if gave is None and found.get("error"):
            call["result"] = found["error"]
    for key, value in found.items():
        if fold(key) in _LENGTHS and type(value) in (int, float):
            call["latency_us"] = float(value) * _LENGTHS[fold(key)]
    return call


_LENGTHS: Final = {
    **dict.fromkeys(("durationms", "latencyms", "elapsedms", "tookms", "timems", "duration", "latency"), 1e3),
    **dict.fromkeys(("durations", "latencys", "elapseds", "seconds", "durationseconds", "elapsed", "took"), 1e6),
}


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _count_unnamed(asked: list[Any]) -> int:
    """How many tool calls without an id the prompt has."""
    number = 0
    for message in asked:
        parts = message.get("parts") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            call = (part.get("functionCall") or part.get("function_call")) if isinstance(part, dict) else None
            number += isinstance(call, dict) and call.get("id") is None
    return number


def _results(asked: list[Any], place: Mapping[str, Any], moment: Any, ordinal: int | None) -> Iterator[Step]:
    """The results of tools at the end of the messages, after the last answer; nearest the end last."""
    found: list[dict[str, Any]] = []
    for message in reversed(asked):
        if not isinstance(message, dict):
            break
        kwargs = message.get("kwargs")
        inner = kwargs if isinstance(kwargs, dict) else message
        role = str(inner.get("role") or inner.get("type") or message.get("type") or "").lower()
        if role in _ANSWERED_BY or role in _CALLS or role == "reasoning":
            break
        found[:0] = _results_in(inner, role)
    unnamed = sum(each["id"] is None for each in found)
    at = None if ordinal is None else ordinal - unnamed
    for each in found:
        if each["id"] is None and at is not None:
            each["id"] = f"#{at}"
            at += 1
        if each["id"] is not None:
            yield Step(**each, **place, end=moment, spoken=True)


def _results_in(message: Object, role: str) -> list[dict[str, Any]]:
    """The results that one message holds."""
    if role in _RESULTS or role == "function":
        return [_result(message)]
    parts = message.get("content") if isinstance(message.get("content"), list) else message.get("parts")
    found = []
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        response = part.get("functionResponse") or part.get("function_response")
        if isinstance(response, dict):
            found.append({"id": response.get("id"), "result": response.get("response")})
        elif part.get("type") in _RESULTS:
            found.append(_result(part))
    return found


def _result(found: Object) -> dict[str, Any]:
    if isinstance(parts := found.get("parts"), list) and parts and isinstance(parts[0], dict):
        found = {**found, **parts[0]}
    identity = found.get("tool_use_id") or found.get("tool_call_id") or found.get("call_id") or found.get("id")
    value = next((found[key] for key in ("content", "output", "result", "response") if found.get(key) is not None), "")
    failed = found.get("is_error")
    if failed is None and found.get("status") in ("error", "success"):  # LangChain
        failed = found["status"] == "error"
    return {"id": identity, "result": value, "failed": failed if isinstance(failed, bool) else None}


_TOOL_KEYS: Final = ("tool_name", "toolName", "tool", "function_name", "functionName", "tool_call")
_EVENTS: Final = ("type", "event", "kind", "event_type", "span_type", "operation")


def home_made_tool(found: Object, around: Mapping[str, Any]) -> Step | None:
    """A tool call of a log of the user's own: a line that names a tool and no model."""
    holder = found
    tool = _first(found, _TOOL_KEYS)
    if isinstance(tool, dict):
        holder, tool = {**found, **tool}, tool.get("name") or tool.get("tool")
    said = next((str(found[key]).lower() for key in _EVENTS if isinstance(found.get(key), str)), "")
    if tool is None and said.startswith(("tool", "function")) and isinstance(found.get("name"), str):
        tool = found["name"]
    identity = _first(found, ("tool_call_id", "toolCallId", "tool_use_id", "call_id", "callId"))
    if not isinstance(tool, str) and not (identity is not None and said.startswith(("tool", "function"))):
        return None
    if any(isinstance(found.get(key), str) and found[key] for key in ("model", "model_name")):
        return None
    call = _call({**holder, "name": tool if isinstance(tool, str) else "?"}) or {}
    call |= {"id": identity, "tool": tool if isinstance(tool, str) else None}
    if call["arguments"] is None and call["tool"] is not None:
        call["arguments"] = holder.get("query") or holder.get("command")
    over = any(word in said for word in ("result", "end", "finish", "complete", "output", "response"))
    start, end = around.get("start"), around.get("end")
    if over and identity is not None and start is not None:
        start, end = None, start
    place: dict[str, Any] = {key: around.get(key) for key in ("session", "trace", "subagent")}
    latency = call.pop("latency_us", None)
    if latency is None and not over:
        latency = around.get("latency")
    return Step(**call, **place, call=found.get("parent_id"), start=start, end=end, latency_us=latency)


_FAILED_WORDS: Final = frozenset({"error", "failed", "failure", "fail", "cancelled", "timeout", "exception"})
_FAILED_TEXT: Final = re.compile(
    r"\s{0,8}(?:<tool_use_error>|Error:|ERROR:|Traceback \(most recent call last\)|Exit code:? [1-9]|"
    r"Process exited with code [1-9]|Error executing tool)"
)
_EXITED: Final = re.compile(r"(?:^|\n)(?:Process exited with code|Exit code:|exit code:?) ?(-?[1-9]\d{0,4})(?:\n|$)")
_HEAD: Final = 400  # characters of a text in which an exit code is looked for
_CODES: Final = ("exit_code", "exitCode", "returncode", "return_code", "exit_status", "exit")
_HOLDERS: Final = ("metadata", "structuredContent", "structured_content")


def said_failed(found: Mapping[str, Any]) -> bool | None:
    """What a record says of its own outcome: an error flag, a status word; None where it says nothing."""
    for key in ("is_error", "isError", "failed"):
        if isinstance(found.get(key), bool):
            return bool(found[key])
    for key in ("success", "ok", "succeeded"):
        if found.get(key) in (True, False) and found.get(key) is not None:
            return not found[key]
    status = found.get("status")
    if isinstance(status, str):
        return status.lower() in _FAILED_WORDS
    return True if found.get("error") else None


def failed_inside(result: Any) -> bool:
    """Whether a result shows a failure of its own: an error object or flag, an exit code, an error as its text."""
    if isinstance(result, list):
        texts = [part for part in result if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return any(failed_inside(part["text"]) for part in texts[:1])
    if isinstance(result, str):
        inner = embedded(result) if result[:1] == "{" else None
        if isinstance(inner, dict):
            return failed_inside(inner)
        return _FAILED_TEXT.match(result) is not None or _EXITED.search(result[:_HEAD]) is not None
    return _object_failed(result) if isinstance(result, dict) else False


def _object_failed(result: Mapping[str, Any]) -> bool:
    if result.get("error") not in _NOTHING or (isinstance(result.get("errors"), list) and result["errors"]):
        return True
    if any(result.get(key) is True for key in ("is_error", "isError")):
        return True
    if any(result.get(key) in (False, 0) and result.get(key) is not None for key in ("success", "ok", "succeeded")):
        return True
    if isinstance(status := result.get("status"), str) and status.lower() in _FAILED_WORDS:
        return True
    exits = [result[key] for key in _CODES if type(result.get(key)) is int]
    if exits:
        return any(code != 0 for code in exits)
    if type(code := result.get("status_code", result.get("statusCode"))) is int and code >= 400:
        return True
    inner = [result[key] for key in _HOLDERS if isinstance(result.get(key), dict)]
    if any(_object_failed(each) for each in inner):
        return True
    text = result.get("output", result.get("content"))
    return isinstance(text, (str, list)) and failed_inside(text)


_NOTHING: Final = (None, False, "", 0)


def text_of(result: Any) -> str:
    """What a result puts into the context: its texts, else its JSON."""
    if isinstance(result, str):
        return result
    if isinstance(result, list) and result and all(isinstance(part, dict) for part in result):
        texts = [part["text"] for part in result if isinstance(part.get("text"), str)]
        if len(texts) == len(result):
            return "\n".join(texts)
    try:
        return orjson.dumps(result).decode()
    except (TypeError, orjson.JSONEncodeError):
        return str(result)


def _error_type(error: Any) -> str | None:
    if isinstance(error, dict):
        named = error.get("type") or error.get("code") or error.get("name")
        return named if isinstance(named, str) else None
    return None


_TOOLS: Final = ("tools", "functions")
_SYSTEM: Final = ("system", "system_instruction", "systemInstruction", "instructions", "system_prompt")


def first_difference(before: Object, after: Object) -> tuple[str, int] | None:
    """The first part of a prompt (tools, system prompt, messages) that differs from an earlier one, and at which
    character of it, from 1; None where it begins with all of the earlier one, or no prompt is logged.
    """
    earlier, later = list(_parts(before)), list(_parts(after))
    for at, (label, text) in enumerate(earlier):
        if at >= len(later):
            return label, 1
        if later[at] != (label, text):
            other = later[at][1] if later[at][0] == label else ""
            return label if other else later[at][0], _alike(text, other) + 1
    return None


def _parts(found: Object) -> Iterator[tuple[str, str]]:
    """What a prompt begins with, in the order in which vendors cache it, each with its text."""
    holders = [found, *(inner for key in _AROUND if isinstance(inner := _opened(found.get(key)), dict))]
    for label, keys in (("the tools", _TOOLS), ("the system prompt", _SYSTEM)):
        value = next((holder[key] for holder in holders for key in keys if holder.get(key)), None)
        if value is not None:
            yield label, text_of(value)
    for number, message in enumerate(_asked(found) or (), 1):
        role = message.get("role") if isinstance(message, dict) else None
        yield f"message {number} ({role or 'unknown'})", text_of(message)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
