"""OpenCode: messages (one a file), exported sessions, and the events of `opencode run --format json`."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
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
    **_TOKENS,
)
_ONLY: Final = marks("role=assistant tokens")[0]

OPENCODE: Final = Dialect(
    name="opencode",
    title="OpenCode messages",
    marks=marks("id sessionID role time"),
    only=_ONLY,
    bindings=_MESSAGE,
    nests=True,
)


def _open_export() -> Feed:
    def calls(found: Object) -> list[Row]:
        listed = found.get("messages")
        infos = (
            [object_in(each, "info") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        )
        return [row_of(_MESSAGE, info) for info in infos if passes(_ONLY, info)]

    return calls


OPENCODE_EXPORT: Final = Dialect(
    name="opencode_export",
    title="OpenCode sessions as exported",
    marks=marks("info messages"),
    proof=lambda found: isinstance(found["info"], dict) and "version" in found["info"],
    open=_open_export,
    nests=True,
)
# parts count what their message counts
OPENCODE_PART: Final = Dialect(
    name="opencode_part",
    title="OpenCode parts of messages",
    marks=marks("id sessionID messageID type"),
    only=marks("type=no-part-is-a-call")[0],
    bindings=bind(request_id="id"),
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
    lacks="no model, no latency",
)
