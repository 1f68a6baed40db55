"""Spans as tracing systems keep them: Jaeger, Zipkin, Logfire, and OpenTelemetry's JavaScript SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, marks
from llmmon.formats.dialects.bodies import object_in
from llmmon.formats.dialects.genai import Attributes, call_of, is_call, nested, settle, spoken, tool_step
from llmmon.formats.dialects.otlp import objects_of
from llmmon.formats.dialects.spans import placed


def _true(value: Any) -> bool:
    return value is True or value == "true" or (isinstance(value, str) and value.upper() == "ERROR")


def _called(attributes: Attributes, times: Row, *, failed: bool, message: Any) -> Row | None:
    if not is_call(attributes):
        return None
    row = call_of(attributes) | times
    settle(row, failed=failed, message=message)
    return row


def _tags(listed: Any) -> dict[str, Any]:
    return {tag["key"]: tag.get("value") for tag in objects_of(listed) if isinstance(tag.get("key"), str)}


def _jaeger_span(span: Object, processes: Object) -> tuple[Any, Any, Row | None]:
    attributes = _tags(span.get("tags"))
    around = [each for each in objects_of(span.get("references")) if each.get("refType") == "CHILD_OF"]
    parent = around[0].get("spanID") if around else span.get("parentSpanID")
    identity = span.get("spanID")
    row = _called(
        attributes,
        {"start:us": span.get("startTime"), "latency:us": span.get("duration")},
        failed=_true(attributes.get("error")) or _true(attributes.get("otel.status_code")),
        message=attributes.get("otel.status_description"),
    )
    if row is not None:
        process = span.get("process") or processes.get(str(span.get("processID")))
        named = process if isinstance(process, dict) else {}
        row |= placed(span.get("traceID"), identity, parent)
        row["tags"] = (attributes, _tags(named.get("tags")), {"service": named.get("serviceName")})
    return identity, parent, row


def _open_jaeger() -> Feed:
    def calls(found: Object) -> list[Row]:
        spans = objects_of(found.get("spans")) if "spans" in found else [found]
        processes = object_in(found, "processes")
        return nested(lambda row: row.get("trace"), [_jaeger_span(span, processes) for span in spans])

    return calls


def _open_zipkin() -> Feed:
    def calls(span: Object) -> list[Row]:
        attributes = object_in(span, "tags")
        times = {"start:us": span.get("timestamp"), "latency:us": span.get("duration")}
        error = attributes.get("error")
        row = _called(attributes, times, failed=bool(error) and error != "false", message=error)
        if row is None:
            return []
        service = {"service": object_in(span, "localEndpoint").get("serviceName")}
        return [
            row | placed(span.get("traceId"), span.get("id"), span.get("parentId")) | {"tags": (attributes, service)}
        ]

    return calls


def _open_logfire() -> Feed:
    def calls(span: Object) -> list[Row]:
        attributes = object_in(span, "attributes")
        times = {
            "start": span.get("start_timestamp"),
            "end": span.get("end_timestamp"),
            "latency:s": span.get("duration"),
        }
        failed = _true(span.get("is_exception")) or _true(span.get("otel_status_code"))
        message = span.get("exception_message") or span.get("otel_status_message")
        row = _called(attributes, times, failed=failed, message=message)
        if row is None:
            return []
        row |= placed(span.get("trace_id"), span.get("span_id"), span.get("parent_span_id"))
        row.setdefault("error_type@1", span.get("exception_type"))
        return [row | {"tags": (attributes, {"service": span.get("service_name")})}]

    return calls


def _open_javascript() -> Feed:
    def calls(span: Object) -> list[Row]:
        attributes, status = object_in(span, "attributes"), object_in(span, "status")
        times = {"start:us": span.get("timestamp"), "latency:us": span.get("duration")}
        row = _called(attributes, times, failed=status.get("code") == 2, message=status.get("message"))
        if row is None:
            return []
        parent = span.get("parentId") or object_in(span, "parentSpanContext").get("spanId")
        return [row | placed(span.get("traceId"), span.get("id"), parent) | {"tags": attributes}]

    return calls


def _jaeger_steps(found: Object) -> Iterator[Step]:
    for span in objects_of(found.get("spans")) if "spans" in found else [found]:
        attributes = _tags(span.get("tags"))
        start, lasted = span.get("startTime"), span.get("duration")
        failed = _true(attributes.get("error")) or _true(attributes.get("otel.status_code"))
        yield from _steps(attributes, start, lasted, span.get("traceID"), span.get("spanID"), span, failed=failed)


def _zipkin_steps(span: Object) -> Iterator[Step]:
    attributes = object_in(span, "tags")
    error = attributes.get("error")
    failed = bool(error) and error != "false"
    times = span.get("timestamp"), span.get("duration")
    return _steps(attributes, *times, span.get("traceId"), span.get("id"), span, failed=failed)


def _logfire_steps(span: Object) -> Iterator[Step]:
    attributes = object_in(span, "attributes")
    failed = _true(span.get("is_exception")) or _true(span.get("otel_status_code"))
    about = {"name": span.get("span_name"), "end": span.get("end_timestamp")}
    start = span.get("start_timestamp")
    return _steps(attributes, start, None, span.get("trace_id"), span.get("span_id"), about, failed=failed)


def _javascript_steps(span: Object) -> Iterator[Step]:
    failed = object_in(span, "status").get("code") == 2
    where: tuple[Any, Any, Object] = (span.get("traceId"), span.get("id"), span)
    times = span.get("timestamp"), span.get("duration")
    return _steps(object_in(span, "attributes"), *times, *where, failed=failed)


def _steps(
    attributes: Attributes, start: Any, lasted: Any, trace: Any, span: Any, about: Object, *, failed: bool
) -> Iterator[Step]:
    """A tool's span, or the tool calls in the messages of a call's; starts and lengths are microseconds."""
    known = type(start) in (int, float) and type(lasted) in (int, float)
    end = start + lasted if known else about.get("end")
    named = about.get("name") or about.get("operationName")
    step = tool_step(attributes, start=start, end=end, failed=failed, trace=trace, span=span, named=named)
    if step is not None:
        yield step
    elif is_call(attributes):
        yield from spoken(attributes, call_of(attributes) | {"trace": trace, "start": start, "end": end})


JAEGER: Final = Dialect(
    name="jaeger",
    title="Jaeger traces",
    marks=marks("traceID spans processes", "traceID spanID operationName tags"),
    open=_open_jaeger,
    steps=lambda: _jaeger_steps,
    nests=True,
)
ZIPKIN: Final = Dialect(
    name="zipkin",
    title="Zipkin spans",
    marks=marks("traceId id timestamp duration tags"),
    proof=lambda found: isinstance(found["tags"], dict),
    open=_open_zipkin,
    steps=lambda: _zipkin_steps,
    nests=True,
)
LOGFIRE: Final = Dialect(
    name="logfire",
    title="Logfire rows",
    marks=marks("start_timestamp span_name trace_id span_id attributes"),
    open=_open_logfire,
    steps=lambda: _logfire_steps,
    nests=True,
)
OTEL_JAVASCRIPT: Final = Dialect(
    name="otel_javascript",
    title="OpenTelemetry JavaScript spans",
    marks=marks("traceId id timestamp duration attributes status"),
    open=_open_javascript,
    steps=lambda: _javascript_steps,
    nests=True,
)
