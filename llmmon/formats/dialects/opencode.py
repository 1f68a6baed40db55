"""OpenCode: messages (one a file), exported sessions, and the events of `opencode run --format json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of
from llmmon.formats.mapping import passes

# the cache is beside the input, reasoning beside the output
_TOKENS: Final = {
    "prompt_tokens": "tokens.input:exclusive",
    "completion_tokens": "tokens.output:exclusive",
    "reasoning_tokens": "tokens.reasoning",
    "cached_tokens": "tokens.cache.read",
    "cache_write_tokens": "tokens.cache.write",
}
_MESSAGE: Final = bind(
    call_key="id",
    request_id="id",
    start="time.created:ms",
    end="time.completed:ms",
    model="modelID",
    provider="providerID",
    cost="cost:usd_if_any",  # 0 where a subscription pays
    finish_reason="finish",
    error="error",
    session="sessionID",
    feature="mode",
    folder=("path.root", "path.cwd"),
    **_TOKENS,
)
_ONLY: Final = marks("role=assistant tokens")[0]


def _part_steps(part: Object) -> Iterator[Step]:
    """A part of a message: a tool with what it was given and gave, or a compaction."""
    place: dict[str, Any] = {"session": part.get("sessionID"), "call": part.get("messageID")}
    if part.get("type") == "compaction":
        yield Step(kind="compaction", id=part.get("id"), **place)
    if part.get("type") != "tool":
        return
    state = object_in(part, "state")
    times, status = object_in(state, "time"), state.get("status")
    over = status in ("completed", "error")
    exited = object_in(state, "metadata").get("exit")
    yield Step(
        id=part.get("callID") or part.get("id"),
        tool=part.get("tool"),
        start=times.get("start"),
        end=times.get("end"),
        arguments=state.get("input"),
        result=_given(state, exited) if over else None,
        failed=status == "error" if over else None,
        **place,
    )


def _given(state: Object, exited: Any) -> Any:
    """What a tool gave, with the exit code of a program that failed."""
    gave = state.get("output", state.get("error", ""))
    return {"output": gave, "exit_code": exited} if type(exited) is int and exited else gave


def _message_steps(info: Object) -> Iterator[Step]:
    """The message that sums up what came before."""
    if info.get("summary") is True and info.get("role") == "assistant":
        started = object_in(info, "time").get("created")
        yield Step(kind="compaction", id=info.get("id"), session=info.get("sessionID"), start=started)


def _export_steps(found: Object) -> Iterator[Step]:
    listed = found.get("messages")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            info, parts = object_in(each, "info"), each.get("parts")
            yield from _message_steps(info)
            shared = {"sessionID": info.get("sessionID"), "messageID": info.get("id")}
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict) and part.get("type") == "tool":
                    yield from _part_steps(shared | part)


OPENCODE: Final = Dialect(
    name="opencode",
    title="OpenCode messages",
    marks=marks("id sessionID role time"),
    only=_ONLY,
    bindings=_MESSAGE,
    nests=True,
    steps=lambda: _message_steps,
)


def _open_export() -> Feed:
    def calls(found: Object) -> list[Row]:
        listed = found.get("messages")
        infos = (
            [object_in(each, "info") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        )
        session = object_in(found, "info")
        shared: Row = {"folder@9": session.get("directory"), "parent_session": session.get("parentID")}
        return [row_of(_MESSAGE, info) | shared for info in infos if passes(_ONLY, info)]

    return calls


OPENCODE_EXPORT: Final = Dialect(
    name="opencode_export",
    title="OpenCode sessions as exported",
    marks=marks("info messages"),
    proof=lambda found: isinstance(found["info"], dict) and "version" in found["info"],
    open=_open_export,
    nests=True,
    steps=lambda: _export_steps,
)
# parts count what their message counts
OPENCODE_PART: Final = Dialect(
    name="opencode_part",
    title="OpenCode parts of messages",
    marks=marks("id sessionID messageID type"),
    only=marks("type=no-part-is-a-call")[0],
    bindings=bind(request_id="id"),
    steps=lambda: _part_steps,
    lacks="no calls of their own: their messages count them",
)
OPENCODE_EVENT: Final = Dialect(
    name="opencode_event",
    title="OpenCode's printed events",
    marks=marks("type timestamp sessionID part"),
    only=marks("type=step_finish part/tokens")[0],
    bindings=bind(
        request_id="part.id",
        end="timestamp:ms",
        cost="part.cost:usd_if_any",
        finish_reason="part.reason",
        session="sessionID",
        success="type:present",
        **{slot: f"part.{path}" for slot, path in _TOKENS.items()},
    ),
    steps=lambda: lambda found: _part_steps({"sessionID": found.get("sessionID"), **object_in(found, "part")}),
    lacks="no model, no latency",
)
