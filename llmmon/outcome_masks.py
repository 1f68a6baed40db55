"""Yes-or-no questions about calls, as 1, 0 or NaN per call (NaN: the log cannot tell)."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.columns import Columns, FloatArray, Names
from llmmon.record import Status

# finish reasons as the providers spell them, in lower case
TRUNCATED: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "max_completion_tokens", "token_limit"}
    | {"model_context_window_exceeded", "incomplete", "length_limit"}
)
REFUSED: Final = frozenset(
    {"content_filter", "content_filtered", "refusal", "safety", "guardrail_intervened", "blocklist", "recitation"}
    | {"prohibited_content", "spii", "image_safety"}
)


def _by_value(names: Names, wanted: frozenset[str]) -> FloatArray:
    table = np.array([float(value.lower() in wanted) for value in names.values] + [np.nan])
    answers: FloatArray = table[names.codes]
    return answers


def errors(columns: Columns) -> FloatArray | None:
    """1 for a failed call, 0 for any other whose outcome is known; shape (calls,)."""
    status = columns.names.get("status")
    if status is None:
        return None
    table = np.array([_as_error(value) for value in status.values] + [np.nan])
    answers: FloatArray = table[status.codes]
    return answers


def _as_error(status: str) -> float:
    return np.nan if status == Status.UNKNOWN else float(status == Status.ERROR)


def truncations(columns: Columns) -> FloatArray | None:
    """1 where the answer was cut off at a limit; shape (calls,)."""
    reasons = columns.names.get("finish_reason")
    return None if reasons is None else _by_value(reasons, TRUNCATED)


def refusals(columns: Columns) -> FloatArray | None:
    """1 where the finish reason says that the answer was withheld; shape (calls,)."""
    reasons = columns.names.get("finish_reason")
    return None if reasons is None else _by_value(reasons, REFUSED)


def empty_answers(columns: Columns) -> FloatArray | None:
    """1 where a successful call gave no output token; shape (calls,)."""
    tokens, failed = columns.numbers.get("completion_tokens"), errors(columns)
    if tokens is None or failed is None:
        return None
    return np.where((failed == 0) & ~np.isnan(tokens), (tokens == 0).astype(np.float64), np.nan)
