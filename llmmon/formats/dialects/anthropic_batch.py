"""Results of Anthropic's message batches."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_row, object_in

_OUTCOMES: Final = {"succeeded": "ok", "errored": "error", "expired": "expired", "canceled": "canceled"}


def _is_result(found: Object) -> bool:
    result = found["result"]
    return isinstance(result, dict) and result.get("type") in tuple(_OUTCOMES)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        result = object_in(found, "result")
        kind = result.get("type")
        row = body_row(result.get("message")) | {"service_tier": "batch", "provider": "anthropic"}
        row["outcome"] = _OUTCOMES.get(kind, kind) if isinstance(kind, str) else kind
        if kind == "errored":
            row["error"] = result.get("error")
        elif kind == "expired":
            row["error_type"] = "batch_expired"
        return [row | {"tags": {"custom_id": found.get("custom_id")}}]

    return calls


ANTHROPIC_BATCH: Final = Dialect(
    name="anthropic_batch",
    title="Anthropic batch results",
    marks=marks("custom_id result"),
    proof=_is_result,
    open=_open,
    lacks="no time, no latency",
)
