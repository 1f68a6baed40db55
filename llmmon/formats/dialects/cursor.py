"""Cursor's export of usage events (CSV): one row a call; cache reads and writes stand apart from the input."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind
from llmmon.formats.mapping import Test

_NEW, _WRITTEN = "Input (w/o Cache Write)", "Input (w/ Cache Write)"

CURSOR: Final = Dialect(
    name="cursor",
    title="Cursor usage export",
    marks=((Test("Date"), Test("Model"), Test(_NEW), Test(_WRITTEN)),),
    bindings=bind(
        start="Date",
        model="Model",
        user="User",
        session="Cloud Agent ID",
        prompt_tokens=f"{_NEW}:exclusive",
        cache_write_tokens=_WRITTEN,
        cached_tokens="Cache Read",
        completion_tokens="Output Tokens",
        total_tokens="Total Tokens",
        cost="Cost:usd",  # words such as `Included` are no amount
        outcome="Kind",
    ),
    tags_at=((),),
    naive="UTC",
    lacks="no latency",
)
