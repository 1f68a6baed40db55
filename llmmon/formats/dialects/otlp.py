"""OTLP/JSON lines, as the OpenTelemetry collector's file exporter writes them: many spans a line."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.genai import Span, add_event, call_of, is_call, nested, settle

_FAILED: Final = (2, "2", "STATUS_CODE_ERROR")


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        return nested(itemgetter("trace"), _spans(found))

    return calls


def _spans(found: Object) -> Iterator[Span]:
    for resource in _objects(found.get("resourceSpans")):
        about = resource.get("resource")
        shared = _attributes(about.get("attributes")) if isinstance(about, dict) else {}
        for scope in _objects(resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")):
            for span in _objects(scope.get("spans")):
                attributes = _attributes(span.get("attributes"))
                row = _row(span, attributes, shared) if is_call(attributes) else None
                yield span.get("spanId"), span.get("parentSpanId"), row


def _row(span: Object, attributes: dict[str, Any], shared: dict[str, Any]) -> Row:
    row = call_of(attributes)
    row["start:ns"] = _whole(span.get("startTimeUnixNano"))
    row["end:ns"] = _whole(span.get("endTimeUnixNano"))
    row["trace"] = span.get("traceId")
    row["request_id@9"] = span.get("spanId")
    for event in _objects(span.get("events")):
        add_event(row, event.get("name"), _whole(event.get("timeUnixNano")), _attributes(event.get("attributes")))
    status = span.get("status")
    code, message = (status.get("code"), status.get("message")) if isinstance(status, dict) else (None, None)
    settle(row, failed=isinstance(code, (int, str)) and code in _FAILED, message=message)
    row["tags"] = (attributes, shared)
    return row


def _objects(found: Any) -> list[Object]:
    return [each for each in found if type(each) is dict] if type(found) is list else []


def _whole(nanoseconds: Any) -> Any:
    """Nanoseconds come as texts, so that no parser rounds them."""
    return (
        int(nanoseconds)
        if type(nanoseconds) is str and nanoseconds.isdecimal() and nanoseconds.isascii()
        else nanoseconds
    )


def _attributes(listed: Any, depth: int = 4) -> dict[str, Any]:
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
        return _attributes(value.get("values"), depth - 1)
    values = _objects(value.get("values"))
    return [
        plain if kind in _PLAIN else _nested(kind, plain, depth - 1) for each in values for kind, plain in each.items()
    ]


OTLP: Final = Dialect(
    name="otlp",
    title="OpenTelemetry spans (OTLP/JSON)",
    marks=marks("resourceSpans"),
    open=_open,
    nests=True,
)
OTLP_OTHER: Final = Dialect(
    name="otlp_other",
    title="OpenTelemetry logs or metrics (OTLP/JSON)",
    marks=marks("resourceLogs", "resourceMetrics"),
    open=lambda: lambda _: [],
    lacks="no spans, so no calls: export traces",
)
