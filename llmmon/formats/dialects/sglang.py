"""SGLang: its request log and its per-request metrics file."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

SGLANG: Final = Dialect(
    name="sglang",
    title="SGLang request log",
    marks=marks("rid obj event=request.finished|request.received"),
    only=marks("event=request.finished")[0],
    bindings=bind(
        request_id="rid",
        start="out.meta_info.request_received_ts:s",
        end=("out.meta_info.request_finished_ts:s", "timestamp"),
        latency="out.meta_info.e2e_latency:s",
        prompt_tokens="out.meta_info.prompt_tokens",
        completion_tokens="out.meta_info.completion_tokens",
        cached_tokens="out.meta_info.cached_tokens",
        finish_reason="out.meta_info.finish_reason.type",
        outcome="out.meta_info.finish_reason.type",
        status_code="out.meta_info.finish_reason.status_code",
        error_message="out.meta_info.finish_reason.message",
        prompt="obj.text",
        output="out.text",
    ),
    lacks="no model name; times without a zone are the server's own (--naive-tz)",
)
SGLANG_METRICS: Final = Dialect(
    name="sglang_metrics",
    title="SGLang request metrics",
    marks=marks("request_parameters e2e_latency"),
    bindings=bind(
        request_id=("id", "request_parameters.rid"),
        start="request_received_ts:s",
        end="request_finished_ts:s",
        first_output_at=("prefill_finished_ts:s", "response_sent_to_client_ts:s"),
        latency="e2e_latency:s",
        prompt_tokens="prompt_tokens",
        completion_tokens="completion_tokens",
        cached_tokens="cached_tokens",
        finish_reason="finish_reason.type",
        outcome="finish_reason.type",
        error_message="finish_reason.message",
    ),
    lacks="no model name",
)
