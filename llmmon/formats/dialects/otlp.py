"""OTLP/JSON lines, as the OpenTelemetry collector's file exporter writes them: many spans a line."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, marks
from llmmon.formats.dialects.bodies import object_in
from llmmon.formats.dialects.genai import Span, add_event, call_of, is_call, nested, settle, spoken, tool_step

_FAILED: Final = (2, "2", "STATUS_CODE_ERROR")


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        return nested(itemgetter("trace"), _spans(found))

    return calls


def _spans(found: Object) -> Iterator[Span]:
    for resource in objects_of(found.get("resourceSpans")):
        about = resource.get("resource")
        shared = attributes_of(about.get("attributes")) if isinstance(about, dict) else {}
        for scope in objects_of(resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")):
            for span in objects_of(scope.get("spans")):
                attributes = attributes_of(span.get("attributes"))
                row = _row(span, attributes, shared) if is_call(attributes) else None
                yield span.get("spanId"), span.get("parentSpanId"), row


def _steps(found: Object) -> Iterator[Step]:
    """The spans of tools, and the tool calls in the messages of calls."""
    for resource in objects_of(found.get("resourceSpans")):
        for scope in objects_of(resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")):
            for span in objects_of(scope.get("spans")):
                attributes = attributes_of(span.get("attributes"))
                status = object_in(span, "status").get("code")
                step = tool_step(
                    attributes,
                    start=whole(span.get("startTimeUnixNano")),
                    end=whole(span.get("endTimeUnixNano")),
                    failed=isinstance(status, (int, str)) and status in _FAILED,
                    trace=span.get("traceId"),
                    span=span.get("spanId"),
                    named=span.get("name"),
                )
                if step is not None:
                    yield step
                elif is_call(attributes):
                    yield from spoken(attributes, _row(span, attributes, {}))


def _row(span: Object, attributes: dict[str, Any], shared: dict[str, Any]) -> Row:
    row = call_of(attributes)
    row["start:ns"] = whole(span.get("startTimeUnixNano"))
    row["end:ns"] = whole(span.get("endTimeUnixNano"))
    row["trace"] = span.get("traceId")
    row["span"] = row["request_id@9"] = span.get("spanId")
    for event in objects_of(span.get("events")):
        add_event(row, event.get("name"), whole(event.get("timeUnixNano")), attributes_of(event.get("attributes")))
    status = span.get("status")
    code, message = (status.get("code"), status.get("message")) if isinstance(status, dict) else (None, None)
    settle(row, failed=isinstance(code, (int, str)) and code in _FAILED, message=message)
    row["tags"] = (attributes, shared)
    return row


def objects_of(found: Any) -> list[Object]:
    """The objects in a list, none where it is no list."""
    return [each for each in found if type(each) is dict] if type(found) is list else []


def whole(nanoseconds: Any) -> Any:
    """Nanoseconds come as texts, so that no parser rounds them."""
    return (
        int(nanoseconds)
        if type(nanoseconds) is str and nanoseconds.isdecimal() and nanoseconds.isascii()
        else nanoseconds
    )


def attributes_of(listed: Any, depth: int = 4) -> dict[str, Any]:
    """Attributes by name; the list of them is used up."""
    found: dict[str, Any] = {}
    for item in listed if type(listed) is list else ():
        try:
            kind, value = item["value"].popitem()  # there is but one, and nobody else looks at it
            found[item["key"]] = value if kind in _PLAIN else _nested(kind, value, depth)
        except (TypeError, KeyError, AttributeError):
            continue  # no attribute
    return found


_PLAIN: Final = frozenset({"stringValue", "intValue", "doubleValue", "boolValue"})


def _nested(kind: str, value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or not depth:
        return None
    if kind == "kvlistValue":
        return attributes_of(value.get("values"), depth - 1)
    values = objects_of(value.get("values"))
    return [
        plain if kind in _PLAIN else _nested(kind, plain, depth - 1) for each in values for kind, plain in each.items()
    ]


OTLP: Final = Dialect(
    name="otlp",
    title="OpenTelemetry spans (OTLP/JSON)",
    marks=marks("resourceSpans"),
    open=_open,
    steps=lambda: _steps,
    nests=True,
)
