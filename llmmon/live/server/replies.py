"""Schemas of the replies, and how the OpenAPI description refers to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Response

from llmmon.live.server.intake import EVIDENCE, Call, MetricRequest
from llmmon.live.server.settings import Error

Severity = Literal["info", "warning", "error", "critical"]


class MetricsRecorded(msgspec.Struct, omit_defaults=True):
    """`recorded`: the samples are on the disk. `anomalies`: how many begin with one of them. `alerts`: how many fire
    now on their metrics. `duplicates`: how many had been recorded before.
    """

    recorded: bool
    anomalies: int
    alerts: int
    duplicates: int = 0


class RequestsRecorded(msgspec.Struct, omit_defaults=True):
    """The calls are on the disk; `texts_dropped` texts were not recorded (`--keep-text`), nor were `duplicates` calls
    that had been recorded before.
    """

    recorded: bool
    accepted: int
    texts_dropped: int
    duplicates: int = 0


class PartialSuccess(msgspec.Struct, omit_defaults=True):
    """How many spans or log records were rejected, and why the first of them was."""

    rejectedSpans: str = ""  # noqa: N815 - the names of OTLP
    rejectedLogRecords: str = ""  # noqa: N815
    errorMessage: str = ""  # noqa: N815


class OtlpReply(msgspec.Struct, omit_defaults=True):
    """The calls are on the disk; empty where none was rejected."""

    partialSuccess: PartialSuccess | None = None  # noqa: N815 - the name of OTLP


class Summary(msgspec.Struct):
    """The figures of a window; null where nothing is known."""

    latency_avg_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    tokens_total: int | None
    cost_total_usd: float | None
    error_count: int | None
    request_count: int
    quality_avg: float | None


class DashboardData(msgspec.Struct):
    """The last hour; latencies in milliseconds, cost in US dollars."""

    latency_avg: float | None
    latency_p95: float | None
    tokens_total: int | None
    cost_total: float | None
    error_rate: float | None
    quality_avg: float | None
    active_alerts: int


class AlertRow(msgspec.Struct):
    """One episode of an alert."""

    alert_id: str
    title: str
    severity: Severity
    metric: str
    value: float | None
    timestamp: str
    acknowledged: bool
    resolved: bool


SeverityName = Literal["low", "medium", "high", "critical"]


class AnomalyRow(msgspec.Struct):
    """One series that was out of the ordinary, and its role (lead or symptom) in an incident; a metric sample has
    neither.
    """

    metric: str
    value: float | None
    expected_range: list[float | None]
    severity: SeverityName
    timestamp: str
    description: str
    incident_id: str | None = None
    role: Literal["lead", "symptom"] | None = None


class IncidentRow(msgspec.Struct):
    """One incident, as in the JSON of `llmmon anomalies`; `end` is null while it lasts."""

    id: str
    severity: SeverityName
    status: Literal["open", "new level", "over", "accepted"]
    metric_name: str
    group: dict[str, str | None]
    start: str
    end: str | None
    description: str
    usual: float | None
    during: float | None
    calls: int
    cause: str
    causes: list[dict[str, Any]]
    symptoms: list[dict[str, Any]]
    examples: list[dict[str, Any]]


class RuleRow(msgspec.Struct):
    """One rule that is evaluated; `added` ones can be deleted."""

    name: str
    metric_name: str
    condition: str
    threshold: float
    severity: Severity
    aggregation: str
    window_minutes: float
    added: bool


class Acknowledged(msgspec.Struct):
    """The alert is marked as seen."""

    acknowledged: bool


class Resolved(msgspec.Struct):
    """The alert is resolved until its condition has cleared."""

    resolved: bool


class Accepted(msgspec.Struct):
    """The level of the incident is the baseline now."""

    accepted: bool


class SilenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A silence, as `llmmon alerts silence` makes it: what it matches (`*` and `?` are wildcards), from when (a time;
    default now), for how long, why, and who asks for it.
    """

    matchers: Annotated[dict[str, str], msgspec.Meta(min_length=1, max_length=20)]
    duration: str = "2h"
    start: str = ""
    why: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    by: Annotated[str, msgspec.Meta(max_length=200)] = ""


class SilenceRow(msgspec.Struct):
    """One silence that is not over."""

    silence_id: str
    matchers: dict[str, str]
    start: str
    until: str
    why: str
    by: str


class Silenced(msgspec.Struct):
    """The silence, and how many open alerts it matches now."""

    silence: SilenceRow
    covers: int


class Added(msgspec.Struct):
    """The rule is evaluated from now on."""

    added: bool


class Deleted(msgspec.Struct):
    """The rule is evaluated no more."""

    deleted: bool


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Whether everything works, and what does not."""

    ready: bool
    troubles: list[str]


class AlertRuleRequest(msgspec.Struct):
    """A rule, with any other key that `[[rules]]` of the configuration knows, such as window and aggregation."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern="^[^/]+$")]
    metric_name: str
    threshold: float
    condition: Literal["gt", "ge", "lt", "le", "eq", "ne"] = "gt"
    severity: Severity = "error"


REF: Final = "#/components/schemas/{name}"
_TYPES: Final[tuple[Any, ...]] = (
    *(
        Call,
        MetricRequest,
        AlertRuleRequest,
        Error,
        MetricsRecorded,
        RequestsRecorded,
        PartialSuccess,
        OtlpReply,
        Summary,
        DashboardData,
        AlertRow,
        AnomalyRow,
    ),
    *(Accepted, SilenceRequest, SilenceRow, Silenced),
    *(RuleRow, Acknowledged, Resolved, Added, Deleted, Health, Readiness),
)
_WHY: Final = {
    400: "no JSON, or cut off",
    401: "the token is missing or wrong",
    403: "another site's page, or a host name that is not ours",
    404: "there is none",
    408: "the body did not arrive in time",
    409: "a rule of the configuration has this name, or there are too many",
    413: "too large",
    415: "not JSON",
    422: "not as it must be; items says where",
    429: "too much waits; Retry-After says when to come again",
    503: "cannot be done now",
}
POSTED: Final = (400, 408, 413, 415, 422, 429, 503)


def schemas() -> dict[str, Any]:
    """The schemas of everything that goes in or out."""
    found = msgspec.json.schema_components(_TYPES, ref_template=REF)[1]
    known = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in EVIDENCE]
    return found | {"Call": {**found["Call"], "anyOf": known}}


def described(kind: Any, *codes: int, media: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint: what it replies, and how it may refuse."""
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=REF)
    error = {"application/json": {"schema": {"$ref": REF.format(name="Error")}}}
    known: dict[int | str, dict[str, Any]] = {200: {"description": "done", "content": {media: {"schema": schema}}}}
    return known | {code: {"description": _WHY[code], "content": error} for code in (401, 403, *codes)}


def takes(kind: Any, *, many: bool = True) -> dict[str, Any]:
    """The body of an endpoint: one or, as an array or one a line, many."""
    shapes = msgspec.json.schema_components([kind | list[kind] if many else kind], ref_template=REF)[0]
    content: Mapping[str, Any] = {"application/json": {"schema": shapes[0]}}
    return {"requestBody": {"required": True, "content": content}}


def takes_otlp(key: str) -> dict[str, Any]:
    """The body of an OTLP endpoint, as JSON or protobuf."""
    schema = {"type": "object", "properties": {key: {"type": "array", "items": {"type": "object"}}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {"application/json": {"schema": schema}, "application/x-protobuf": binary}
    return {"requestBody": {"required": True, "content": content}}


def reply(found: Any, status: int = 200) -> Response:
    """A reply as JSON."""
    return Response(msgspec.json.encode(found), status, media_type="application/json")
