"""OpenTelemetry exports are recorded: as an SDK sends them, as JSON, packed, sent again, and in part."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from tests.conftest import Run
from tests.support.mounted_service import Mounted, mounted
from tests.support.server_process import served

TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mounted]:
    with mounted(tmp_path) as running:
        yield running


def span(number: int, *, at: float | None = None, parent: str = "", **attributes: Any) -> dict[str, Any]:
    """A span of one call, as OTLP/JSON has it."""
    start = int((time.time() - 60 if at is None else at) * 1e9)
    held = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": parent,
        "name": "chat gpt-4o",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 250_000_000),
        "attributes": [{"key": key, "value": _value(value)} for key, value in {**held, **attributes}.items()],
    }


def _value(value: Any) -> dict[str, Any]:
    return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def test_the_exporter_of_the_sdk_can_point_at_it(tmp_path: Path, run: Run) -> None:
    with served(tmp_path) as server:
        _export_from_sdk(server.url)
        figures = server.get("/v1/metrics/summary")
    assert (figures["request_count"], figures["error_count"], figures["tokens_total"]) == (2, 1, 240)
    assert "my secret" not in server.log.read_text()
    by_service = run("summarize", str(server.log), "--by", "tag.service.name", "-f", "json").json["data"]["groups"]
    assert [(group["key"], group["request_count"]) for group in by_service] == [({"tag.service.name": "shop"}, 2)]


def _export_from_sdk(url: str) -> None:
    exporting = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    sender = exporting.OTLPSpanExporter(f"{url}/v1/traces", compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(sender))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("POST /chat"):
        for failed in (False, True):
            with tracer.start_as_current_span("chat gpt-4o") as one:
                one.set_attribute("gen_ai.request.model", "gpt-4o")
                one.set_attribute("gen_ai.usage.input_tokens", 100)
                one.set_attribute("gen_ai.usage.output_tokens", 20)
                one.set_attribute("gen_ai.input.messages", "my secret")
                one.set_attribute("gen_ai.response.finish_reasons", ["stop"])
                if failed:
                    one.set_status(Status(StatusCode.ERROR, "overloaded"))
    provider.shutdown()


def test_json_is_read_as_a_file_of_it_is_and_holds_no_texts(server: Mounted, tmp_path: Path, run: Run) -> None:
    body = export(
        span(1, **{"user.id": "ada", "gen_ai.prompt.0.content": "my secret", "my.note": "my secret", "retries": 2}),
        {**span(2, **{**TOOL, "input.value": "my secret"}), "traceId": f"{1:032x}"},
    )
    reply = server.post("/v1/traces", body)
    assert (reply.status_code, reply.json()) == (200, {})
    assert "my secret" not in server.log.read_text()
    (tmp_path / "file.jsonl").write_text(json.dumps(body) + "\n")
    kept = run("requests", str(server.log), "-f", "jsonl")
    direct = run("requests", "file.jsonl", "-f", "jsonl")
    assert '"user":"ada"' in kept.stdout.replace(" ", "")
    assert _calls_of(kept.stdout) == _calls_of(direct.stdout)
    assert run("tools", str(server.log), "-f", "json").json["data"]["totals"]["calls"] == 1


def _calls_of(lines: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in json.loads(line).items() if key != "file"} for line in lines.splitlines()]


@pytest.mark.parametrize("packed", [False, True])
def test_protobuf_is_taken_packed_or_not_and_sent_again_counts_once(server: Mounted, packed: bool) -> None:
    message = ExportTraceServiceRequest()
    one = message.resource_spans.add().scope_spans.add().spans.add()
    one.trace_id, one.span_id, one.name = b"\x01" * 16, b"\x02" * 8, "chat"
    one.start_time_unix_nano = int((time.time() - 5) * 1e9)
    one.end_time_unix_nano = one.start_time_unix_nano + 10**9
    for key, value in (("gen_ai.request.model", "gpt-4o"), ("gen_ai.usage.input_tokens", 7)):
        held = one.attributes.add(key=key).value
        if isinstance(value, str):
            held.string_value = value
        else:
            held.int_value = value
    body = message.SerializeToString()
    headers = {**PROTOBUF, "content-encoding": "gzip"} if packed else PROTOBUF
    for _ in range(3):
        reply = server.client.post("/v1/traces", content=gzip.compress(body) if packed else body, headers=headers)
        assert (reply.status_code, reply.content) == (200, b"")
        assert reply.headers["content-type"] == "application/x-protobuf"
    figures = server.get("/v1/metrics/summary")
    assert (figures["request_count"], figures["latency_avg_ms"]) == (1, 1000.0)
    assert server.log.read_text().count("resourceSpans") == 1


def test_what_cannot_be_is_rejected_in_part_and_the_rest_is_recorded(server: Mounted) -> None:
    body = export(span(1), span(2, at=time.time() + 86400), span(3, at=0))
    reply = server.post("/v1/traces", body)
    assert reply.status_code == 200
    assert reply.json() == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "a call lies more than an hour ahead"}
    }
    assert server.get("/v1/metrics/summary")["request_count"] == 1
    message = ExportTraceServiceRequest()
    one = message.resource_spans.add().scope_spans.add().spans.add()
    one.attributes.add(key="gen_ai.request.model").value.string_value = "m"
    reply = server.client.post("/v1/traces", content=message.SerializeToString(), headers=PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(reply.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "a call has no time")


def test_spans_that_are_no_calls_leave_no_line(server: Mounted) -> None:
    reply = server.post("/v1/traces", export({**span(1), "attributes": []}))
    assert (reply.status_code, reply.json()) == (200, {})
    assert server.log.read_text() == ""


def test_a_call_within_a_call_counts_once_even_when_it_comes_first(server: Mounted, run: Run) -> None:
    inner = {**span(2, parent=f"{3:016x}"), "traceId": f"{1:032x}"}
    between = {**span(3, parent=f"{1:016x}"), "traceId": f"{1:032x}", "attributes": []}
    assert server.post("/v1/traces", export(inner, between)).status_code == 200
    assert server.get("/v1/metrics/summary")["request_count"] == 1
    assert server.post("/v1/traces", export(span(1))).status_code == 200
    assert server.get("/v1/metrics/summary")["request_count"] == 1
    assert run("summarize", str(server.log), "-f", "json").json["data"]["totals"]["request_count"] == 1


def test_events_of_coding_agents_are_calls(server: Mounted) -> None:
    message = ExportLogsServiceRequest()
    resource = message.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "claude-code"
    records = resource.scope_logs.add().log_records
    for name in ("claude_code.api_request", "claude_code.user_prompt"):
        record = records.add(time_unix_nano=int(time.time() * 1e9))
        record.body.string_value = name
        for key, value in (("model", "claude-sonnet-4-5"), ("prompt", "my secret")):
            record.attributes.add(key=key).value.string_value = value
        for key, number in (("input_tokens", 12), ("output_tokens", 3), ("duration_ms", 900)):
            record.attributes.add(key=key).value.int_value = number
    for _ in range(2):
        assert server.client.post("/v1/logs", content=message.SerializeToString(), headers=PROTOBUF).status_code == 200
    figures = server.get("/v1/metrics/summary")
    assert (figures["request_count"], figures["tokens_total"], figures["latency_avg_ms"]) == (1, 15, 900.0)
    assert "my secret" not in server.log.read_text()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"resourceLogs": []}', {}, 400),
        (b'{"resourceMetrics": []}', {}, 400),
        (b'{"resourceSpans": [3]}', {}, 400),
        (b"{}", {}, 200),
        (b"[" * 100_000, {}, 400),
        (b'{"resourceSpans": ' + b"[" * 100_000, {}, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": 3}, 4]}], "resource": 1}]}', {}, 200),
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"", PROTOBUF, 200),
        (b"x" * (9 << 20), PROTOBUF, 413),
        (gzip.compress(b"\0" * (20 << 20)), {**PROTOBUF, "content-encoding": "gzip"}, 413),
        (b"a=b", {"content-type": "text/plain"}, 415),
    ],
)
def test_bodies_that_are_no_export_are_refused(
    server: Mounted, body: bytes, headers: dict[str, str], status: int
) -> None:
    reply = server.post("/v1/traces", body, **headers)
    assert reply.status_code == status, reply.text
    assert server.log.read_text() == ""


def test_texts_are_recorded_where_that_is_asked_for(tmp_path: Path) -> None:
    with mounted(tmp_path, keep_text=True) as server:
        server.post("/v1/traces", export(span(1, **{"gen_ai.prompt.0.content": "my question"})))
        assert "my question" in server.log.read_text()
