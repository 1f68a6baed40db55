"""Take OTLP exports (traces, log records), as JSON or protobuf, down to what the log keeps of them.

A line of the log is one export in OTLP/JSON, read by the dialects that read files of it. Kept are the attributes that
those dialects read, labels of known namespaces, and numbers; texts only with `--keep-text`. Exports without any call
or tool call leave no line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from llmmon.errors import missing_extra
from llmmon.formats.dialects.genai import READ_ATTRIBUTES, is_call, tool_step
from llmmon.formats.dialects.otlp import objects_of, whole
from llmmon.formats.dialects.otlp_logs import EVENT_NAMES
from llmmon.formats.dialects.otlp_logs import READ_ATTRIBUTES as READ_OF_EVENTS
from llmmon.live.server.settings import RefusedError

Object = dict[str, Any]
Signal = Literal["traces", "logs"]

PROTOBUF: Final = "application/x-protobuf"
_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_READ: Final = READ_ATTRIBUTES | READ_OF_EVENTS
# namespaces whose texts are labels, by the semantic conventions or by their library's own
_LABELS: Final = (
    *("service.", "deployment.", "gen_ai.request.", "gen_ai.agent.", "user.", "enduser.", "session.", "server."),
    *("traceloop.association.properties.", "tag.", "tags.", "llmmon.", "error.", "ai.telemetry.functionId"),
)
_NOT_OF_RESOURCES: Final = ("process.",)  # command lines hold what is secret
_LONGEST_KEY, _LONGEST_LABEL, _LONGEST_ID = 200, 1000, 64
_LONGEST_MESSAGE: Final = 10_000
_MOST_VALUES: Final = 16  # of an array, such as finish reasons
_SCALARS: Final[dict[str, Any]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": (int, str),
    "doubleValue": (int, float, str),
}
_AHEAD_NS: Final = 3600 * 10**9
_EVENTS_OF_SPANS: Final = frozenset({"exception", "First Token Stream Event"})


class Export(msgspec.Struct):
    """What is kept of one export: its resources as OTLP/JSON, and what was rejected."""

    signal: Signal
    resources: list[Object]
    calls: list[Object] = []  # the spans or records among them that are calls or tool calls
    identities: list[bytes] = []  # of these, in their order
    rejected: int = 0
    reason: str = ""  # of the first that was rejected

    def line(self, new: Iterable[bool]) -> bytes:
        """The line of the log with the calls that are new; empty where none is."""
        dropped = {id(call) for call, is_new in zip(self.calls, new, strict=True) if not is_new}
        if len(dropped) == len(self.calls):
            return b""
        outer, inner, _, listed = _NAMES[self.signal]
        if dropped:
            for resource in self.resources:
                for scope in resource[inner]:
                    scope[listed] = [item for item in scope[listed] if id(item) not in dropped]
        return msgspec.json.encode({outer: self.resources}) + b"\n"


def is_protobuf(content_type: str) -> bool:
    """Whether a body is said to be protobuf."""
    return content_type.partition(";")[0].strip().lower() in {PROTOBUF, "application/protobuf"}


# signal -> key of the resources, of the scopes in one, of that in earlier versions, of the items in a scope
_NAMES: Final[dict[Signal, tuple[str, str, str, str]]] = {
    "traces": ("resourceSpans", "scopeSpans", "instrumentationLibrarySpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "instrumentationLibraryLogs", "logRecords"),
}
_OUTER: Final = frozenset({"resourceSpans", "resourceLogs", "resourceMetrics"})


def export_of(body: bytes, signal: Signal, *, protobuf: bool, now_ns: int, keep_text: bool = False) -> Export:
    """Reduce an export to what is kept of it; raises `RefusedError` 400 where it is none."""
    found = _of_protobuf(body, signal) if protobuf else _of_json(body)
    outer, inner, earlier, listed = _NAMES[signal]
    if others := found.keys() & (_OUTER - {outer}):
        hint = "traces go to /v1/traces, logs to /v1/logs; metrics are not taken"
        raise RefusedError(400, f"the body has {min(others)}, not {outer}", hint=hint)
    listed_resources = found.get(outer, [])
    if len(objects_of(listed_resources)) != len(listed_resources if isinstance(listed_resources, list) else "?"):
        raise RefusedError(400, f"{outer} is not a list of objects")
    export = Export(signal, [])
    keep = _Reduction(keep_text)
    for resource in objects_of(listed_resources):
        scopes = []
        about = resource.get("resource")
        shared = keep.of_resource(about.get("attributes")) if isinstance(about, dict) else []
        for scope in objects_of(resource.get(inner) or resource.get(earlier)):
            items = list(_items(objects_of(scope.get(listed)), signal, keep, export, now_ns))
            if items:
                scopes.append({listed: items})
        if scopes:
            export.resources.append({"resource": {"attributes": shared}, inner: scopes})
    if signal == "traces":
        _without_others(export)
    return export


def _without_others(export: Export) -> None:
    """Leave out spans that are neither calls nor around one."""
    spans = [span for resource in export.resources for scope in resource["scopeSpans"] for span in scope["spans"]]
    around = {span.get("spanId"): span.get("parentSpanId") for span in spans}
    wanted: set[Any] = set()
    for call in export.calls:
        outer = call.get("parentSpanId")
        while outer and outer in around and outer not in wanted:
            wanted.add(outer)
            outer = around[outer]
    called = {id(call) for call in export.calls}
    for resource in export.resources:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [one for one in scope["spans"] if id(one) in called or one.get("spanId") in wanted]


def _items(listed: Iterable[Object], signal: Signal, keep: _Reduction, export: Export, now_ns: int) -> Iterator[Object]:
    for item in listed:
        item_kept, is_wanted = keep.span(item) if signal == "traces" else keep.record(item)
        if is_wanted:
            if fault := _time_fault(item_kept, now_ns):
                export.rejected += 1
                export.reason = export.reason or fault
                continue
            export.calls.append(item_kept)
            export.identities.append(_identity(item_kept, signal))
        elif signal == "logs":
            continue  # spans that are no calls link those that are; records do not
        yield item_kept


def _identity(item: Object, signal: Signal) -> bytes:
    """Names a span by its ids, a record (or a span without ids) by what it holds."""
    if signal == "traces" and item.get("spanId"):
        named = f"{item.get('traceId', '')}:{item['spanId']}".encode()
    else:
        named = msgspec.json.encode(item)
    return hashlib.blake2b(named, digest_size=16, person=signal.encode()).digest()


def _time_fault(item: Object, now_ns: int) -> str:
    start = whole(item.get("startTimeUnixNano") or item.get("timeUnixNano") or item.get("observedTimeUnixNano"))
    if not isinstance(start, int) or start <= 0:
        return "a call has no time"
    return "a call lies more than an hour ahead" if start > now_ns + _AHEAD_NS else ""


class _Reduction:
    """Leaves out what is not kept."""

    def __init__(self, keep_text: bool) -> None:
        self._keep_text = keep_text

    def span(self, span: Object) -> tuple[Object, bool]:
        """What is kept of a span, and whether it is a call or a tool call."""
        attributes = self._kept(span.get("attributes"), self._is_kept)
        plain = _plain(attributes)
        wanted = is_call(plain) or _is_tool(plain)
        found = {key: span[key] for key in ("traceId", "spanId", "parentSpanId") if _is_id(span.get(key))}
        found |= {key: span[key] for key in ("startTimeUnixNano", "endTimeUnixNano") if _is_number(span.get(key))}
        if not wanted:
            return found, False  # it may be around calls
        if isinstance(span.get("name"), str):
            found["name"] = span["name"][:_LONGEST_LABEL]
        if attributes:
            found["attributes"] = attributes
        if events := list(self._events(span.get("events"))):
            found["events"] = events
        if status := _status(span.get("status")):
            found["status"] = status
        return found, True

    def _events(self, events: Any) -> Iterator[Object]:
        for event in objects_of(events):
            if event.get("name") in _EVENTS_OF_SPANS or self._keep_text:
                yield {
                    "name": str(event.get("name"))[:_LONGEST_LABEL],
                    "timeUnixNano": event["timeUnixNano"] if _is_number(event.get("timeUnixNano")) else 0,
                    "attributes": self._kept(event.get("attributes"), self._is_kept),
                }

    def record(self, record: Object) -> tuple[Object, bool]:
        """What is kept of a log record, and whether it may be a call: an event of an agent or of GenAI."""
        attributes = self._kept(record.get("attributes"), self._is_kept)
        plain = _plain(attributes)
        body = record.get("body")
        said = body.get("stringValue") if isinstance(body, dict) else None
        names = [name for name in (record.get("eventName"), plain.get("event.name"), said) if isinstance(name, str)]
        found: Object = {"attributes": attributes}
        found |= {key: record[key] for key in ("timeUnixNano", "observedTimeUnixNano") if _is_number(record.get(key))}
        if _is_id(record.get("traceId")):
            found["traceId"] = record["traceId"]
        if isinstance(record.get("eventName"), str):
            found["eventName"] = record["eventName"][:_LONGEST_LABEL]
        if said in EVENT_NAMES or (self._keep_text and said is not None):
            found["body"] = {"stringValue": said}
        return found, is_call(plain) or any(name in EVENT_NAMES for name in names)

    def of_resource(self, attributes: Any) -> list[Object]:
        """The attributes of a resource: labels, but for those of its process."""
        return self._kept(attributes, lambda key: not key.startswith(_NOT_OF_RESOURCES))

    def _is_kept(self, key: str) -> bool:
        return self._keep_text or key in _READ or key.startswith(_LABELS)

    def _kept(self, attributes: Any, is_kept: Any) -> list[Object]:
        found = []
        for item in objects_of(attributes):
            key, value = item.get("key"), item.get("value")
            if not isinstance(key, str) or not isinstance(value, dict) or len(value) != 1 or len(key) > _LONGEST_KEY:
                continue
            ((kind, held),) = value.items()
            if (_is_number(held) or is_kept(key)) and (kept := self._value(key, kind, held)) is not None:
                found.append({"key": key, "value": {kind: kept}})
        return found

    def _value(self, key: str, kind: str, held: Any) -> Any:
        if self._keep_text:
            return held
        if kind in _SCALARS and isinstance(held, _SCALARS[kind]):
            longest = _LONGEST_MESSAGE if key.endswith("message") else _LONGEST_LABEL
            return held[:longest] if isinstance(held, str) else held
        if kind == "arrayValue" and isinstance(held, dict) and not key.startswith("gen_ai.request."):
            values = [each for each in objects_of(held.get("values")) if isinstance(each.get("stringValue"), str)]
            return {"values": [{"stringValue": each["stringValue"][:_LONGEST_ID]} for each in values[:_MOST_VALUES]]}
        return None


def _plain(attributes: Iterable[Object]) -> dict[str, Any]:
    """Attributes by name, without using up the list."""
    return {item["key"]: next(iter(item["value"].values())) for item in attributes}


def _is_tool(plain: Mapping[str, Any]) -> bool:
    return tool_step(plain, start=None, end=None, failed=False, trace="", span="") is not None


def _is_id(found: Any) -> bool:
    return isinstance(found, str) and len(found) <= _LONGEST_ID


def _is_number(found: Any) -> bool:
    """Whether this is a number, or digits as OTLP/JSON writes large ones."""
    return isinstance(whole(found), (int, float))


def _status(status: Any) -> Object:
    if not isinstance(status, dict):
        return {}
    found: Object = {"code": status["code"]} if isinstance(status.get("code"), (int, str)) else {}
    if isinstance(status.get("message"), str) and status["message"]:
        found["message"] = status["message"][:_LONGEST_MESSAGE]
    return found


def _of_json(body: bytes) -> Object:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except _MALFORMED as error:
        raise RefusedError(400, f"the body is not OTLP/JSON: {error}") from None


def _of_protobuf(body: bytes, signal: Signal) -> Object:
    """The export as OTLP/JSON has it; raises `RefusedError`, `UsageError` where the extra is missing."""
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ModuleNotFoundError:
        hint = f"{missing_extra('serve', 'protobuf').hint}, or OTEL_EXPORTER_OTLP_PROTOCOL=http/json"
        raise RefusedError(415, "protobuf needs a package that is not installed", hint=hint) from None
    message: Any = ExportTraceServiceRequest() if signal == "traces" else ExportLogsServiceRequest()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise RefusedError(400, "the body is not OTLP in protobuf") from None
    if signal == "traces":
        return {"resourceSpans": [_resource(one, "scopeSpans", "spans", _span) for one in message.resource_spans]}
    return {"resourceLogs": [_resource(one, "scopeLogs", "logRecords", _record) for one in message.resource_logs]}


def _resource(found: Any, inner: str, listed: str, of: Any) -> Object:
    scopes = found.scope_spans if inner == "scopeSpans" else found.scope_logs
    items = [scope.spans if inner == "scopeSpans" else scope.log_records for scope in scopes]
    return {
        "resource": {"attributes": _attributes(found.resource.attributes)},
        inner: [{listed: [of(one) for one in each]} for each in items],
    }


def _span(span: Any) -> Object:
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "name": span.name,
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "endTimeUnixNano": str(span.end_time_unix_nano),
        "attributes": _attributes(span.attributes),
        "events": [
            {"name": one.name, "timeUnixNano": str(one.time_unix_nano), "attributes": _attributes(one.attributes)}
            for one in span.events
        ],
        "status": {"code": span.status.code, "message": span.status.message},
    }


def _record(record: Any) -> Object:
    found = {
        "timeUnixNano": str(record.time_unix_nano),
        "observedTimeUnixNano": str(record.observed_time_unix_nano),
        "attributes": _attributes(record.attributes),
        "body": _any_value(record.body, 1) or {},
        "eventName": record.event_name,
        "traceId": record.trace_id.hex(),
    }
    return {key: value for key, value in found.items() if value not in ("", "0")}


def _attributes(found: Any, depth: int = 4) -> list[Object]:
    return [{"key": one.key, "value": value} for one in found if (value := _any_value(one.value, depth)) is not None]


def _any_value(found: Any, depth: int) -> Object | None:
    match found.WhichOneof("value"):
        case "string_value":
            return {"stringValue": found.string_value}
        case "int_value":
            return {"intValue": found.int_value}
        case "double_value":
            return {"doubleValue": found.double_value}
        case "bool_value":
            return {"boolValue": found.bool_value}
        case "array_value" if depth:
            values = (_any_value(one, depth - 1) for one in found.array_value.values)
            return {"arrayValue": {"values": [one for one in values if one is not None]}}
        case "kvlist_value" if depth:
            return {"kvlistValue": {"values": _attributes(found.kvlist_value.values, depth - 1)}}
    return None


def partial_success(export: Export, *, protobuf: bool) -> bytes:
    """The reply of OTLP: empty where everything was taken, otherwise how much was rejected and why."""
    rejected = "rejectedSpans" if export.signal == "traces" else "rejectedLogRecords"
    if not protobuf:
        partial = {"partialSuccess": {rejected: str(export.rejected), "errorMessage": export.reason}}
        return msgspec.json.encode(partial if export.rejected else {})
    if not export.rejected:
        return b""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess

    # of logs, the message has the same fields under the same numbers
    inner = ExportTracePartialSuccess(rejected_spans=export.rejected, error_message=export.reason)
    return _field(1, inner.SerializeToString())


def status_message(error: str) -> bytes:
    """An error as `google.rpc.Status` in protobuf, of which clients show the message."""
    return _field(2, error.encode())


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited field of protobuf."""
    size, left = bytearray(), len(data)
    while left > 127:
        size.append(left & 127 | 128)
        left >>= 7
    return bytes([number << 3 | 2]) + bytes(size) + bytes([left]) + data
