"""Sessions of the Kimi CLI (`wire.jsonl`): the usage that it reports after each message."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

_USAGE: Final = "message.payload.token_usage"

KIMI: Final = Dialect(
    name="kimi",
    title="Kimi CLI sessions",
    marks=marks("timestamp message/type message/payload", "type=metadata protocol_version"),
    only=marks("message/type=StatusUpdate message/payload/token_usage/output")[0],
    bindings=bind(
        call_key="message.payload.message_id",
        request_id="message.payload.message_id",
        end="timestamp:s",
        prompt_tokens=f"{_USAGE}.input_other:exclusive",
        cached_tokens=f"{_USAGE}.input_cache_read",
        cache_write_tokens=f"{_USAGE}.input_cache_creation",
        completion_tokens=f"{_USAGE}.output",
        total_tokens=f"{_USAGE}.total",
        success="message.type:present",
    ),
    nests=True,
    lacks="no model (it stands in config.json), no latency",
)
