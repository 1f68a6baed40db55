"""Completeness: cut off before the end, or empty. Exact where the finish reason is logged."""

from __future__ import annotations

from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.endings import cut_strength
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Signal
from llmmon.quality.scorers.texts import Batch

_CUT_REASONS: Final = frozenset(
    """length max_tokens max_output_tokens max_length model_length max_tokens_reached max_completion_tokens token_limit
    token_limit_reached length_limit model_context_window_exceeded context_length_exceeded incomplete error_limit
    max_new_tokens""".split()
)
_ENDED_REASONS: Final = frozenset(
    """stop end_turn stop_sequence eos eos_token eos_found complete completed finished finish stop_word stop_criteria
    done endoftext natural end_of_turn stop_criteria_met""".split()
)
_TOOL_REASONS: Final = frozenset(
    "tool_calls tool_use function_call tool_call tool_calls_required pause_turn malformed_function_call".split()
)


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """truncated and empty of each output; `detail` is set where the finish reason decided."""
    rows = zip(
        batch.outputs,
        batch.column("finish_reasons"),
        batch.numbers("reasoning_tokens"),
        batch.numbers("completion_tokens"),
        strict=True,
    )
    found = [_signals(text, plain_reason(reason), thought, tokens) for text, reason, thought, tokens in rows]
    return {"truncated": [row[0] for row in found], "empty": [row[1] for row in found]}


def plain_reason(reason: str | None) -> str:
    """A finish reason as vendors' APIs name it, without the enum's name and spaces: `FinishReason.MAX_TOKENS`.

    >>> plain_reason("FinishReason.MAX_TOKENS"), plain_reason("FINISH_REASON_STOP")
    ('max_tokens', 'stop')
    """
    last = (reason or "").rsplit(".", 1)[-1].strip().lower().replace("-", "_").replace(" ", "_")
    return last.removeprefix("finish_reason_")


def _signals(text: str, reason: str, thought: float | None, tokens: float | None) -> tuple[Signal, Signal]:
    if not text or text.isspace():
        return UNKNOWN if reason not in _CUT_REASONS else Signal(1.0, (), "finish_reason"), _empty(reason, thought)
    if reason in _CUT_REASONS:
        return Signal(1.0, ((max(0, len(text) - 1), len(text)),), "finish_reason"), CLEAN
    if reason in _ENDED_REASONS or reason in _TOOL_REASONS:
        return Signal(0.0, (), "finish_reason"), CLEAN
    strength = cut_strength(text, tokens)
    end = len(text.rstrip())
    return Signal(strength, ((end - 1, end),) if strength >= 0.5 else ()), CLEAN


def _empty(reason: str, thought: float | None) -> Signal:
    if reason in _TOOL_REASONS:
        return CLEAN  # the answer is the call
    return Signal(1.0, (), "after reasoning" if thought and thought > 0 else "")
