"""Sessions of pi and of agents made of it (OpenClaw, oh-my-pi): a line for each message."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of
from llmmon.formats.mapping import CALL_KEY

_MESSAGE: Final = bind(
    model="model",
    provider="provider",
    prompt_tokens="usage.input:exclusive",
    completion_tokens="usage.output",
    cached_tokens="usage.cacheRead",
    cache_write_tokens="usage.cacheWrite",
    reasoning_tokens="usage.reasoning",
    total_tokens="usage.totalTokens",
    cost="usage.cost.total:usd",
    latency="duration:ms",
    ttft="ttft:ms",
    finish_reason="stopReason",
    output="content",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        message = object_in(found, "message")
        if message.get("role") != "assistant" or not isinstance(message.get("usage"), dict):
            return []
        failed = message.get("stopReason") in ("error", "aborted")
        said = {"outcome": message["stopReason"], "error_message": message.get("errorMessage")} if failed else {}
        row = row_of(_MESSAGE, message) | ({**said} if failed else {"success": True})
        moment = found.get("timestamp") or message.get("timestamp")
        # a branch of a session begins with a copy of its entries
        return [row | {"request_id": found.get("id"), "end": moment, CALL_KEY: f"{found.get('id')}:{moment}"}]

    return calls


PI: Final = Dialect(
    name="pi",
    title="pi sessions",
    marks=marks(
        "type=message message id timestamp",
        "type=session id timestamp cwd",
        "type=model_change|thinking_level_change|compaction|branch_summary|custom|custom_message|label id timestamp",
    ),
    open=_open,
    nests=True,
    lacks="no latency but in some versions; times are when the answer was there",
)
