"""Completeness: cut off before the end, or empty. Exact where the finish reason is logged."""

from __future__ import annotations

from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.endings import cut_strength
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Finding
from llmmon.quality.scorers.texts import Batch

_CUT_REASONS: Final = frozenset(
    {
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_length",
        "model_length",
        "model_context_window_exceeded",
        "incomplete",
    }
)
_ENDED_REASONS: Final = frozenset(
    {"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "finished"}
)
_TOOL_REASONS: Final = frozenset({"tool_calls", "tool_use", "function_call", "tool_call"})


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Finding]]:  # noqa: ARG001  # the one interface
    """truncated and empty of each output; `detail` says whether the finish reason told."""
    rows = zip(
        batch.outputs,
        batch.column("finish_reasons"),
        batch.numbers("reasoning_tokens"),
        strict=True,
    )
    found = [_judge(text, (reason or "").lower(), thought) for text, reason, thought in rows]
    return {"truncated": [row[0] for row in found], "empty": [row[1] for row in found]}


def _judge(text: str, reason: str, thought: float | None) -> tuple[Finding, Finding]:
    if not text or text.isspace():
        return UNKNOWN if reason not in _CUT_REASONS else Finding(1.0, (), "finish_reason"), _empty(reason, thought)
    if reason in _CUT_REASONS:
        return Finding(1.0, ((max(0, len(text) - 1), len(text)),), "finish_reason"), CLEAN
    if reason in _ENDED_REASONS or reason in _TOOL_REASONS:
        return Finding(0.0, (), "finish_reason"), CLEAN
    strength = cut_strength(text)
    end = len(text.rstrip())
    return Finding(strength, ((end - 1, end),) if strength >= 0.5 else ()), CLEAN


def _empty(reason: str, thought: float | None) -> Finding:
    if reason in _TOOL_REASONS:
        return CLEAN  # the answer is the call
    return Finding(1.0, (), "after reasoning" if thought and thought > 0 else "")
