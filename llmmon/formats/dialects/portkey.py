"""Portkey's log export; its users choose the columns, so any may be missing."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_of, body_row, object_in


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        asked = _part(found, "request")
        row = body_row(_part(found, "response"))
        for key in ("start:s", "cost:usd", "latency_part:ms"):
            row.pop(key, None)  # Portkey's own are the better ones
        row |= {
            "request_id": found.get("id"),
            "start": found.get("created_at"),
            "latency:ms": found.get("response_time"),
            "model@1": found.get("ai_model"),
            "model_requested": asked.get("model"),
            "provider": found.get("ai_org"),
            "prompt_tokens": found.get("req_units"),
            "completion_tokens": found.get("res_units"),
            "total_tokens": found.get("total_units"),
            "cost:cents": found.get("cost"),
            "success": found.get("is_success"),
            "status_code": found.get("response_status_code"),
            "attempt": found.get("retry_success_count"),
            "cache_hit": _hit(found.get("cache_status")),
            "user": object_in(found, "metadata").get("_user"),
            "session": object_in(found, "metadata").get("_session"),
            "trace": found.get("trace_id"),
            "prompt_version": found.get("prompt_slug"),
            "prompt": asked.get("messages"),
            "tags": (object_in(found, "metadata"), found),
        }
        return [row]

    return calls


def _part(found: Object, name: str) -> Object:
    """`request` or `response`: an object (JSON in a text), a column of its own for the body, or one inside."""
    whole = body_of(found.get(name)) or body_of(found.get(f"{name}.body")) or {}
    return body_of(whole.get("body")) or whole


def _hit(status: Any) -> Any:
    return status.strip().lower() in ("hit", "semantic hit") if isinstance(status, str) else None


PORTKEY: Final = Dialect(
    name="portkey",
    title="Portkey logs",
    marks=marks("req_units res_units", "ai_org ai_model"),
    open=_open,
    naive="UTC",
)
