"""aider's analytics log."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

# `cost` is the message's, `total_cost` the session's so far
AIDER: Final = Dialect(
    name="aider",
    title="aider analytics",
    marks=marks("event properties time user_id"),
    only=marks("event=message_send|message_send_exception")[0],
    bindings=bind(
        end="time:s",
        model="properties.main_model",
        prompt_tokens="properties.prompt_tokens",
        completion_tokens="properties.completion_tokens",
        total_tokens="properties.total_tokens",
        cost="properties.cost:usd",
        error="properties.exception",
        user="user_id",
        feature="properties.edit_format",
    ),
    lacks="no latency; times are when the answer was there",
)
