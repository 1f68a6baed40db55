"""Output files of OpenAI's Batch API: a reply or an error a line."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_row, object_in


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        response = object_in(found, "response")
        body = response.get("body")
        row = body_row(body)
        row.pop("latency_part:ms", None)  # a batch waits for hours
        failed = found.get("error") or (body.get("error") if isinstance(body, dict) else None)
        row |= {"status_code": response.get("status_code"), "service_tier": "batch"}
        row["request_id"] = response.get("request_id") or found.get("id")
        row["success"] = failed is None
        if failed is not None:
            row["error"] = failed
        return [row | {"tags": {"custom_id": found.get("custom_id")}}]

    return calls


OPENAI_BATCH: Final = Dialect(
    name="openai_batch",
    title="OpenAI Batch output",
    marks=marks("custom_id response error"),
    open=_open,
    lacks="no latency (a batch has none); times are when the reply was made",
)
