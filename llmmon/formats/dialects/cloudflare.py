"""Cloudflare AI Gateway: log rows of its API, and Logpush."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import body_row, object_in

CLOUDFLARE: Final = Dialect(
    name="cloudflare",
    title="Cloudflare AI Gateway logs",
    marks=marks("tokens_in tokens_out duration created_at status_code"),
    bindings=bind(
        request_id="id",
        start="created_at",
        latency="duration:ms",
        model="model",
        provider="provider",
        operation=("model_type", "request_type"),
        prompt_tokens="tokens_in",
        completion_tokens="tokens_out",
        cost="cost:usd",
        cache_hit="cached",
        success="success",
        status_code="status_code",
        user="metadata.user",
        prompt="request",
        output="response",
    ),
    naive="UTC",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        asked = object_in(found, "RequestBody")
        row = body_row(found.get("ResponseBody")) | {
            "model_requested": found.get("Model"),
            "provider": found.get("Provider"),
            "operation": found.get("Endpoint"),
            "cache_hit": found.get("Cached"),
            "status_code": found.get("StatusCode"),
            "outcome": found.get("StatusCode"),
            "user": object_in(found, "Metadata").get("user"),
            "prompt": asked.get("messages"),
            "tags": (object_in(found, "Metadata"), found),
        }
        return [row]

    return calls


CLOUDFLARE_LOGPUSH: Final = Dialect(
    name="cloudflare_logpush",
    title="Cloudflare AI Gateway Logpush",
    marks=marks("Gateway Provider StatusCode ResponseBody"),
    open=_open,
    lacks="no latency; bodies that are still encrypted hold back tokens, times and texts: decrypt them first",
)
