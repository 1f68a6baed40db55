"""Amp's threads: one JSON document each, with what every answer took."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of
from llmmon.formats.mapping import CALL_KEY

_USAGE: Final = bind(
    end="timestamp",
    model="model",
    prompt_tokens="inputTokens:exclusive",
    completion_tokens="outputTokens",
    cached_tokens="cacheReadInputTokens",
    cache_write_tokens="cacheCreationInputTokens",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        thread, listed = found.get("id"), found.get("messages")
        messages = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [
            row_of(_USAGE, usage)
            | {"session": thread, "output": message.get("content"), "success": True}
            | {CALL_KEY: f"{thread}:{message.get('messageId', place)}"}
            for place, message in enumerate(messages)
            if message.get("role") == "assistant" and (usage := object_in(message, "usage"))
        ]

    return calls


AMP: Final = Dialect(
    name="amp",
    title="Amp threads",
    marks=marks("id created messages v", "id created messages usageLedger"),
    proof=lambda found: isinstance(found["messages"], list),
    open=_open,
    nests=True,
    lacks="no latency",
)
