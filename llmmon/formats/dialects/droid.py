"""Droid's settings of a session (`*.settings.json`), with the tokens of the whole session."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

DROID: Final = Dialect(
    name="droid",
    title="Droid sessions",
    marks=marks("tokenUsage providerLock", "tokenUsage providerLockTimestamp"),
    bindings=bind(
        start="providerLockTimestamp",
        model="model",
        provider="providerLock",
        prompt_tokens="tokenUsage.inputTokens:exclusive",
        cached_tokens="tokenUsage.cacheReadTokens",
        cache_write_tokens="tokenUsage.cacheCreationTokens",
        completion_tokens="tokenUsage.outputTokens:exclusive",
        reasoning_tokens="tokenUsage.thinkingTokens",
        success="tokenUsage.outputTokens:present",
    ),
    lacks="one sum for each session, which counts as one call; no latency",
)
