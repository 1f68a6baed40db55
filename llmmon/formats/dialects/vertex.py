"""Vertex AI's request-response log, of Gemini and of others' models."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_row, object_in


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        response = object_in(found, "full_response")
        model = found.get("model")
        row: Row = {
            **body_row(response),
            "request_id": found.get("request_id"),
            "model_requested": model.rpartition("/")[2] if isinstance(model, str) else None,
            "provider": "vertex_ai",
            "operation": found.get("api_method"),
            "end": found.get("logging_time"),
            "latency:ms": object_in(found, "metadata").get("request_latency"),
            "prompt": object_in(found, "full_request").get("contents"),
        }
        if (error := response.get("error")) is not None:
            code = error.get("code") if isinstance(error, dict) else None
            row |= {"error": error, "status_code": code}
        # the log is written some time after the end, so the logged latency is the better one
        if "start" in row and row["latency:ms"] is not None:
            del row["end"]
        return [row]

    return calls


VERTEX: Final = Dialect(
    name="vertex",
    title="Vertex AI request-response log",
    marks=marks("logging_time full_request full_response"),
    open=_open,
)
