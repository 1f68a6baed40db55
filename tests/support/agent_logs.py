"""Made-up sessions of agents in the format of each system that logs them, with the truth about them.

Loops, failures and compactions are planted; every figure of the truth is counted while a session is made, not read
back from what was written.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 6, 1, 8, tzinfo=UTC)
CLAUDE, GPT, GEMINI = "claude-sonnet-4-5-20250929", "gpt-4.1", "gemini-2.5-pro"
TOOLS = ("Bash", "Read", "Edit", "Grep", "mcp__github__search_issues", "mcp__db__query")
WORDS = "fix the login test of our service and read what is written in that file before you change a line".split()


@dataclass
class ToolUse:
    """One tool call; `failure` is "", "reported", "object" (an error object), "exit" (an exit code)."""

    id: str
    tool: str
    arguments: dict[str, Any]
    result: str
    seconds: float
    failure: str = ""
    loop: int = 0  # which repetition of a planted loop it is, from 1

    @property
    def server(self) -> str | None:
        return self.tool.split("__")[1] if self.tool.startswith("mcp__") else None


@dataclass
class Turn:
    """One call of a model, and the tools that its answer asks for."""

    id: str
    at: datetime
    seconds: float
    prompt: int
    cached: int
    write: int
    completion: int
    tools: list[ToolUse] = field(default_factory=list)
    compacted: bool = False  # the context was compacted before it
    missed: str = ""  # why it read less from the cache than the turn before left there: "expired" or "prefix"
    missed_tokens: int = 0


@dataclass
class Session:
    """A conversation of an agent."""

    id: str
    user: str
    folder: str
    turns: list[Turn] = field(default_factory=list)

    @property
    def tools(self) -> list[ToolUse]:
        return [tool for turn in self.turns for tool in turn.tools]

    @property
    def looped(self) -> list[ToolUse]:
        """The tool calls of loops that came to three times or more."""
        groups: dict[tuple[str, str], list[ToolUse]] = {}
        for tool in self.tools:
            groups.setdefault((tool.tool, json.dumps(tool.arguments, sort_keys=True)), []).append(tool)
        return [tool for group in groups.values() if len(group) >= 3 for tool in group]


def sessions(
    count: int = 12, seed: int = 7, turns: tuple[int, int] = (4, 30), words: int = 900, misses: float = 0.05
) -> list[Session]:
    """Sessions with planted loops, failures, compactions, and causes of missed caches; `words` is how long results are.

    A turn reads from the cache what the one before left there, unless five minutes went by (`expired`) or what it sends
    begins otherwise (`prefix`); then it writes all of it again.
    """
    rnd = random.Random(seed)  # noqa: S311 - made-up sessions, no secrets
    made = []
    for number in range(count):
        identity = f"{rnd.getrandbits(64):016x}-{number:04d}"
        session = Session(identity, f"user-{number % 4}", f"/home/me/app-{number % 3}")
        at = START + timedelta(minutes=7 * number)
        context, cached, missed = rnd.randint(4_000, 12_000), 0, ""
        loops = _Loops(rnd, words)
        for turn in range(rnd.randint(*turns)):
            compacted = context > 120_000
            if compacted:
                context, cached, missed = rnd.randint(8_000, 14_000), 0, ""
            kept = {"": cached, "expired": 0, "prefix": min(cached, 1_500)}[missed]
            lost = cached - kept
            new = Turn(
                f"msg_{number}_{turn}_{rnd.getrandbits(40):010x}", at, round(rnd.uniform(1, 9), 3), context, kept,
                context - kept, rnd.randint(20, 900), loops.tools(), compacted, missed if lost else "", lost,
            )  # fmt: skip
            session.turns.append(new)
            cached = context
            context += new.completion + sum(len(said(tool)) // 4 for tool in new.tools) + rnd.randint(9, 900)
            missed = rnd.choices(("", "expired", "prefix"), (1 - 2 * misses, misses, misses))[0]
            pause = rnd.uniform(320, 3000) if missed == "expired" else rnd.uniform(0.2, 40)
            at = after(new, len(new.tools)) + timedelta(seconds=pause)
        made.append(session)
    return made


class _Loops:
    """The tools that turns ask for; now and then one is asked for again and again."""

    def __init__(self, rnd: random.Random, words: int) -> None:
        self._rnd = rnd
        self._words = words
        self._looped: ToolUse | None = None
        self._left = 0

    def tools(self) -> list[ToolUse]:
        return [self._next() for _ in range(self._rnd.choice((0, 1, 1, 1, 2)))]

    def _next(self) -> ToolUse:
        tool = _tool(self._rnd, self._words)
        if self._looped is not None and self._left:
            self._left -= 1
            arguments = dict(reversed(self._looped.arguments.items()))
            tool = replace(tool, tool=self._looped.tool, arguments=arguments, loop=self._looped.loop + 1)
        elif self._rnd.random() < 0.06:
            self._left, tool.loop = self._rnd.randint(2, 4), 1
        self._looped = tool if tool.loop else self._looped
        return tool


def _tool(rnd: random.Random, words: int) -> ToolUse:
    tool = rnd.choice(TOOLS)
    arguments = {"target": f"{rnd.choice(WORDS)}-{rnd.getrandbits(32):08x}", "depth": rnd.randint(1, 5)}
    failure = rnd.choices(("", "reported", "object", "exit"), (84, 8, 4, 4))[0]
    text = " ".join(rnd.choice(WORDS) for _ in range(rnd.randint(5, words)))
    return ToolUse(f"toolu_{rnd.getrandbits(80):020x}", tool, arguments, text, round(rnd.uniform(0.05, 4), 3), failure)


def said(tool: ToolUse) -> str:
    """The result of a tool as a text."""
    match tool.failure:
        case "object":
            return json.dumps({"error": {"code": "not_found", "message": tool.result}})
        case "exit":
            return json.dumps({"output": tool.result, "metadata": {"exit_code": 2, "duration_seconds": tool.seconds}})
        case _:
            return tool.result


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def after(turn: Turn, until: int | None = None) -> datetime:
    """When a turn's answer was there, or its first `until` tools were done."""
    tools = turn.tools[:until] if until is not None else []
    return turn.at + timedelta(seconds=turn.seconds + sum(tool.seconds for tool in tools))


Lines = Iterator[dict[str, Any]]


def claude_code(session: Session) -> Lines:
    base = {"isSidechain": False, "cwd": session.folder, "sessionId": session.id, "version": "2.1.63"}
    for turn in session.turns:
        if turn.compacted:
            meta = {"trigger": "auto", "preTokens": 120_000}
            yield base | {"type": "system", "subtype": "compact_boundary", "uuid": f"c-{turn.id}",
                          "timestamp": iso(turn.at), "compactMetadata": meta}  # fmt: skip
        usage = {"input_tokens": 0, "cache_creation_input_tokens": turn.write, "cache_read_input_tokens": turn.cached,
                 "output_tokens": turn.completion, "service_tier": "standard"}  # fmt: skip
        blocks: list[dict[str, Any]] = [{"type": "text", "text": "I look."}]
        blocks += [{"type": "tool_use", "id": t.id, "name": t.tool, "input": t.arguments} for t in turn.tools]
        for number, block in enumerate(blocks):
            last = number == len(blocks) - 1
            message = {"id": turn.id, "type": "message", "role": "assistant", "model": CLAUDE, "content": [block],
                       "stop_reason": ("tool_use" if turn.tools else "end_turn") if last else None,
                       "usage": usage if last else usage | {"output_tokens": 2}}  # fmt: skip
            yield base | {"type": "assistant", "uuid": f"{turn.id}-{number}", "requestId": f"req_{turn.id}",
                          "timestamp": iso(after(turn)), "message": message}  # fmt: skip
        for number, tool in enumerate(turn.tools):
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": tool.id, "content": said(tool)}
            if tool.failure == "reported":
                result["is_error"] = True
            yield base | {"type": "user", "uuid": f"{turn.id}-r{number}", "timestamp": iso(after(turn, number + 1)),
                          "message": {"role": "user", "content": [result]}}  # fmt: skip


def codex(session: Session) -> Lines:
    meta = {"id": session.id, "cwd": session.folder, "cli_version": "0.128.0", "model_provider": "openai"}
    yield {"timestamp": iso(session.turns[0].at), "type": "session_meta", "payload": meta}
    yield {"timestamp": iso(session.turns[0].at), "type": "turn_context", "payload": {"model": GPT}}
    total = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    for turn in session.turns:
        if turn.compacted:
            yield {"timestamp": iso(turn.at), "type": "compacted", "payload": {"message": "what came before"}}
        for tool in turn.tools:
            asked = {"type": "function_call", "name": tool.tool, "call_id": tool.id,
                     "arguments": json.dumps(tool.arguments)}  # fmt: skip
            yield {"timestamp": iso(after(turn)), "type": "response_item", "payload": asked}
        used = {"input_tokens": turn.prompt, "cached_input_tokens": turn.cached, "output_tokens": turn.completion,
                "total_tokens": turn.prompt + turn.completion}  # fmt: skip
        total = {key: total[key] + used[key] for key in total}
        info = {"total_token_usage": dict(total), "last_token_usage": used}
        yield {"timestamp": iso(after(turn)), "type": "event_msg", "payload": {"type": "token_count", "info": info}}
        for number, tool in enumerate(turn.tools):
            output: Any = said(tool)
            if tool.failure == "reported":
                output = {"content": output, "success": False}
            gave = {"type": "function_call_output", "call_id": tool.id, "output": output}
            yield {"timestamp": iso(after(turn, number + 1)), "type": "response_item", "payload": gave}


def gemini_cli(session: Session) -> Lines:
    yield {
        "sessionId": session.id,
        "projectHash": session.folder,
        "startTime": iso(session.turns[0].at),
        "kind": "main",
    }
    for turn in session.turns:
        calls = []
        for number, tool in enumerate(turn.tools):
            key = "error" if tool.failure == "reported" else "output"
            response = {"functionResponse": {"id": tool.id, "name": tool.tool, "response": {key: said(tool)}}}
            calls.append({"id": tool.id, "name": tool.tool, "args": tool.arguments, "result": [response],
                          "status": "error" if tool.failure == "reported" else "success",
                          "timestamp": iso(after(turn, number + 1))})  # fmt: skip
        tokens = {"input": turn.prompt, "output": turn.completion, "cached": turn.cached, "thoughts": 0, "tool": 0,
                  "total": turn.prompt + turn.completion}  # fmt: skip
        message = {"id": turn.id, "timestamp": iso(after(turn)), "type": "gemini", "content": "", "model": GEMINI,
                   "tokens": tokens}  # fmt: skip
        yield message
        if calls:
            yield message | {"toolCalls": calls}


def opencode(session: Session) -> Lines:
    messages = []
    for turn in session.turns:
        created = round(turn.at.timestamp() * 1000)
        info: dict[str, Any] = {"id": turn.id, "sessionID": session.id, "role": "assistant", "modelID": CLAUDE,
                "mode": "build",
                "providerID": "anthropic", "cost": 0, "path": {"cwd": session.folder, "root": session.folder},
                "time": {"created": created, "completed": created + round(turn.seconds * 1000)},
                "tokens": {"input": 0, "output": turn.completion, "reasoning": 0,
                           "cache": {"read": turn.cached, "write": turn.write}}}  # fmt: skip
        info |= {"summary": True} if turn.compacted else {}
        parts = []
        for number, tool in enumerate(turn.tools):
            start = round(after(turn, number).timestamp() * 1000)
            end = start + round(tool.seconds * 1000)
            failed = tool.failure == "reported"
            state = {"status": "error" if failed else "completed", "input": tool.arguments,
                     "error" if failed else "output": tool.result if tool.failure == "exit" else said(tool),
                     "time": {"start": start, "end": end}}  # fmt: skip
            if tool.failure == "exit":
                state["metadata"] = {"exit": 2}
            parts.append({"id": f"prt-{tool.id}", "sessionID": session.id, "messageID": turn.id, "type": "tool",
                          "callID": tool.id, "tool": tool.tool, "state": state})  # fmt: skip
        messages.append({"info": info, "parts": parts})
    yield {"info": {"id": session.id, "version": "1.0.0", "directory": session.folder}, "messages": messages}


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def otlp(session: Session) -> Lines:
    spans = []
    for turn in session.turns:
        start = round(turn.at.timestamp() * 1e9)
        about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": GPT,
                 "gen_ai.usage.input_tokens": turn.prompt, "gen_ai.usage.output_tokens": turn.completion,
                 "gen_ai.usage.cache_read.input_tokens": turn.cached, "gen_ai.conversation.id": session.id,
                 "gen_ai.response.id": turn.id, "user.id": session.user}  # fmt: skip
        spans.append(_span(f"{session.id[:16]}", turn.id, start, round(turn.seconds * 1e9), about))
        for number, tool in enumerate(turn.tools):
            begun = round(after(turn, number).timestamp() * 1e9)
            about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool.tool,
                     "gen_ai.tool.call.id": tool.id, "gen_ai.tool.call.arguments": json.dumps(tool.arguments),
                     "gen_ai.tool.call.result": said(tool), "gen_ai.conversation.id": session.id}  # fmt: skip
            if tool.failure == "reported":
                about["error.type"] = "ToolError"
            spans.append(_span(session.id[:16], tool.id, begun, round(tool.seconds * 1e9), about))
    for first in range(0, len(spans), 9):
        yield {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": spans[first : first + 9]}]}]}


def _span(trace: str, span: str, start: int, length: int, about: dict[str, Any]) -> dict[str, Any]:
    return {"traceId": trace, "spanId": span, "name": about["gen_ai.operation.name"],
            "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + length),
            "attributes": [attribute(key, value) for key, value in about.items()], "status": {}}  # fmt: skip


def _wrapped(session: Session, turn: Turn, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": iso(turn.at), "session_id": session.id, "user": session.user, "request": request,
            "response": response, "duration_ms": turn.seconds * 1000}  # fmt: skip


def openai(session: Session) -> Lines:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You help."}, {"role": "user", "content": "go"}]
    for turn in session.turns:
        asked = [{"id": t.id, "type": "function", "function": {"name": t.tool, "arguments": json.dumps(t.arguments)}}
                 for t in turn.tools]  # fmt: skip
        answer = {"role": "assistant", "content": None if asked else "done", **({"tool_calls": asked} if asked else {})}
        usage = {"prompt_tokens": turn.prompt, "completion_tokens": turn.completion,
                 "total_tokens": turn.prompt + turn.completion,
                 "prompt_tokens_details": {"cached_tokens": turn.cached}}  # fmt: skip
        choice = {"index": 0, "message": answer, "finish_reason": "tool_calls" if asked else "stop"}
        response = {"id": turn.id, "object": "chat.completion", "created": round(turn.at.timestamp()), "model": GPT,
                    "choices": [choice], "usage": usage}  # fmt: skip
        yield _wrapped(session, turn, {"model": GPT, "messages": list(messages)}, response)
        messages.append(answer)
        messages += [{"role": "tool", "tool_call_id": t.id, "content": _flagged(t)} for t in turn.tools]
        if not asked:
            messages.append({"role": "user", "content": "and now?"})


def _flagged(tool: ToolUse) -> str:
    """A result in a format that has no flag for errors: the tool says it itself."""
    return json.dumps({"success": False, "message": tool.result}) if tool.failure == "reported" else said(tool)


def anthropic(session: Session) -> Lines:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for turn in session.turns:
        content: list[dict[str, Any]] = [{"type": "text", "text": "I look."}]
        content += [{"type": "tool_use", "id": t.id, "name": t.tool, "input": t.arguments} for t in turn.tools]
        usage = {"input_tokens": 0, "cache_creation_input_tokens": turn.write, "cache_read_input_tokens": turn.cached,
                 "output_tokens": turn.completion}  # fmt: skip
        response = {"id": turn.id, "type": "message", "role": "assistant", "model": CLAUDE, "content": content,
                    "stop_reason": "tool_use" if turn.tools else "end_turn", "usage": usage}  # fmt: skip
        yield _wrapped(session, turn, {"model": CLAUDE, "messages": list(messages)}, response)
        messages.append({"role": "assistant", "content": content})
        gave = [{"type": "tool_result", "tool_use_id": t.id, "content": said(t),
                 **({"is_error": True} if t.failure == "reported" else {})} for t in turn.tools]  # fmt: skip
        messages.append({"role": "user", "content": gave or "and now?"})


def gemini(session: Session) -> Lines:
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "go"}]}]
    for turn in session.turns:
        parts: list[dict[str, Any]] = [{"functionCall": {"name": t.tool, "args": t.arguments}} for t in turn.tools]
        content = {"role": "model", "parts": parts or [{"text": "done"}]}
        usage = {"promptTokenCount": turn.prompt, "candidatesTokenCount": turn.completion,
                 "cachedContentTokenCount": turn.cached, "totalTokenCount": turn.prompt + turn.completion}  # fmt: skip
        response = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage,
                    "modelVersion": GEMINI, "responseId": turn.id}  # fmt: skip
        yield _wrapped(session, turn, {"contents": list(contents)}, response)
        contents.append(content)
        gave = [{"functionResponse": {"name": t.tool, "response": _response(t)}} for t in turn.tools]
        contents.append({"role": "user", "parts": gave or [{"text": "and now?"}]})


def _response(tool: ToolUse) -> dict[str, Any]:
    return {"error": tool.result} if tool.failure == "reported" else {"output": said(tool)}


def langfuse(session: Session) -> Lines:
    for turn in session.turns:
        base = {"traceId": f"tr-{session.id}", "sessionId": session.id, "userId": session.user, "level": "DEFAULT"}
        usage = {"input": turn.prompt - turn.cached, "input_cached_tokens": turn.cached, "output": turn.completion,
                 "total": turn.prompt + turn.completion}  # fmt: skip
        yield base | {"id": turn.id, "type": "GENERATION", "name": "agent", "model": GPT, "startTime": iso(turn.at),
                      "endTime": iso(after(turn)), "usageDetails": usage, "input": [],
                      "output": {"content": "ok"}}  # fmt: skip
        for number, tool in enumerate(turn.tools):
            yield base | {"id": tool.id, "type": "TOOL", "name": tool.tool, "startTime": iso(after(turn, number)),
                          "endTime": iso(after(turn, number + 1)), "input": tool.arguments, "output": said(tool),
                          "level": "ERROR" if tool.failure == "reported" else "DEFAULT"}  # fmt: skip


def langsmith(session: Session) -> Lines:
    for turn in session.turns:
        extra = {"metadata": {"thread_id": session.id, "user_id": session.user, "ls_model_name": GPT}}
        base = {"trace_id": f"tr-{session.id}", "dotted_order": "x", "extra": extra}
        yield base | {"id": turn.id, "run_type": "llm", "name": "ChatOpenAI", "start_time": iso(turn.at),
                      "end_time": iso(after(turn)), "status": "success", "prompt_tokens": turn.prompt,
                      "completion_tokens": turn.completion, "total_tokens": turn.prompt + turn.completion,
                      "prompt_token_details": {"cache_read": turn.cached}, "inputs": {"messages": []},
                      "outputs": {"generations": [[{"text": "ok"}]]}}  # fmt: skip
        for number, tool in enumerate(turn.tools):
            failed = tool.failure == "reported"
            yield base | {"id": tool.id, "run_type": "tool", "name": tool.tool, "start_time": iso(after(turn, number)),
                          "end_time": iso(after(turn, number + 1)), "inputs": {"input": json.dumps(tool.arguments)},
                          "outputs": {"output": said(tool)}, "status": "error" if failed else "success",
                          "error": tool.result if failed else None}  # fmt: skip


def home_made(session: Session) -> Lines:
    for turn in session.turns:
        yield {"ts": iso(turn.at), "session_id": session.id, "user": session.user, "model": GPT,
               "prompt_tokens": turn.prompt, "cached_tokens": turn.cached, "completion_tokens": turn.completion,
               "latency_ms": turn.seconds * 1000, "request_id": turn.id, "status": "ok"}  # fmt: skip
        for number, tool in enumerate(turn.tools):
            yield {"ts": iso(after(turn, number)), "session_id": session.id, "event": "tool", "tool": tool.tool,
                   "args": tool.arguments, "result": said(tool), "duration_ms": tool.seconds * 1000,
                   "ok": tool.failure != "reported"}  # fmt: skip


FORMATS: dict[str, Callable[[Session], Lines]] = {
    one.__name__: one
    for one in (
        claude_code,
        codex,
        gemini_cli,
        opencode,
        otlp,
        openai,
        anthropic,
        gemini,
        langfuse,
        langsmith,
        home_made,
    )
}
ONE_FILE = frozenset({"otlp", "openai", "anthropic", "gemini", "langfuse", "langsmith", "home_made"})


def write(folder: Path, name: str, made: list[Session]) -> Path:
    """Sessions as files of a format: one each where that is so, else one log of all in the order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [(session, line) for session in made for line in FORMATS[name](session)]
    for number, session in enumerate(made if name not in ONE_FILE else [None]):
        file = folder / (f"{name}-{number:04d}.jsonl" if session is not None else f"{name}.jsonl")
        mine = [line for owner, line in lines if session is None or owner is session]
        file.write_text("".join(json.dumps(line) + "\n" for line in mine))
    return folder
