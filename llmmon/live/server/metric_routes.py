"""Endpoints of calls and metrics: record them (on the disk before the reply), and read figures, incidents, health."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Header, Query, Request, Response

from llmmon import __version__
from llmmon.alerting.actions import accepted_incidents
from llmmon.anomaly.incidents import Accepted
from llmmon.anomaly.report import AnomalyReport, IncidentReport
from llmmon.live.server.follower import FIGURES, LONGEST_MINUTES, only
from llmmon.live.server.health import own_families
from llmmon.live.server.intake import CALLS, SAMPLES, Call, MetricRequest, Shape, Taken, taken
from llmmon.live.server.jobs import Done, compute_totals, find_incidents, write_page
from llmmon.live.server.otlp import PROTOBUF, Signal, export_of, is_protobuf, partial_success, status_message
from llmmon.live.server.replies import (
    POSTED,
    AnomalyRow,
    DashboardData,
    IncidentRow,
    MetricsRecorded,
    OtlpReply,
    RequestsRecorded,
    SeverityName,
    Summary,
    described,
    reply,
    takes,
    takes_otlp,
)
from llmmon.live.server.service import Service, clock
from llmmon.live.server.settings import RefusedError
from llmmon.metrics.definitions import ALIASES
from llmmon.output.export.prometheus import FORMATS, Moment, families, sample_families
from llmmon.output.report_page import empty_page
from llmmon.output.views.anomalies import incident_data
from llmmon.reports.overview import ReportPlan
from llmmon.text.times import HOUR_US, MINUTE_US, iso, to_us

Key = Annotated[
    str,
    Header(max_length=200, description="names the request: sent again with the same key and body, it records nothing"),
]
_YEAR_MINUTES: Final = 366 * 1440
_HOURS: Final = (24, 168, 366 * 24)  # windows in which incidents are looked for; the shortest that covers
_PAGE_S: Final = 60
_TYPES: Final = {
    "prometheus": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

Minutes = Annotated[int, Query(ge=1, le=_YEAR_MINUTES, description="length of the window up to now")]
Hours = Annotated[int, Query(ge=1, le=_HOURS[-1], description="how far back incidents are listed")]


def reading_router(service: Service) -> APIRouter:
    """Make the endpoints that read."""
    routes = APIRouter()

    @routes.get("/v1/metrics/summary", responses=described(Summary, 422, 429, 503))
    async def get_summary(window_minutes: Minutes = 60) -> Response:
        """The figures of the last minutes."""
        return reply(only(await _figures(service, window_minutes), Summary.__struct_fields__))

    @routes.get("/v1/dashboard", responses=described(DashboardData, 503))
    async def get_dashboard() -> Response:
        """The figures of the last hour, and how many alerts fire."""
        figures = await _figures(service, 60)
        return reply(_dashboard(figures, len(await asyncio.to_thread(service.firing))))

    @routes.get("/v1/anomalies", responses=described(list[AnomalyRow], 422, 429, 503))
    async def get_anomalies(hours: Hours = 24) -> Response:
        """What was out of the ordinary in the last hours, newest last: series of calls (looked for at most once a
        minute), and metric samples.
        """
        since_us = clock() - hours * HOUR_US
        done = await _found(service, hours)
        rows = _sampled_anomalies(service, since_us)
        rows += [] if done.nothing else _anomalies(done.value.anomalies, since_us)
        return reply(sorted(rows, key=lambda row: row.timestamp))

    @routes.get("/v1/incidents", responses=described(list[IncidentRow], 422, 429, 503))
    async def get_incidents(hours: Hours = 24) -> Response:
        """The incidents of the last hours, open ones first, then the newest; looked for at most once a minute."""
        done = await _found(service, hours)
        return reply([] if done.nothing else _incidents(done.value.incidents, clock() - hours * HOUR_US))

    @routes.get("/metrics", responses=described(str, 503, media="text/plain"))
    async def prometheus_metrics(request: Request) -> Response:
        """Everything since the start for Prometheus, as OpenMetrics where that is accepted."""
        kind = "openmetrics" if "application/openmetrics-text" in request.headers.get("accept", "") else "prometheus"
        await service.fresh()
        return Response(await asyncio.to_thread(_exposed, service, kind), headers={"content-type": _TYPES[kind]})

    @routes.get("/", responses=described(str, 429, 503, media="text/html"))
    async def page() -> Response:
        """The report of the last day as a page that shows what is new in place."""
        accepted = await asyncio.to_thread(_accepted, service)
        slos, state = service.plan.check.slos, service.plan.state
        plan = ReportPlan("llmmon serve", __version__, slos=slos, state=state, accepted=accepted)
        done = await service.jobs.ask("page", partial(write_page, plan=plan, window_us=24 * HOUR_US, live_s=_PAGE_S))
        return Response(empty_page(clock(), _PAGE_S) if done.nothing else done.value, media_type="text/html")

    return routes


async def _figures(service: Service, minutes: int) -> dict[str, Any]:
    if minutes <= LONGEST_MINUTES:
        follower = await service.fresh()
        return await asyncio.to_thread(follower.figures, minutes)
    done = await service.jobs.ask(f"figures of {minutes}m", partial(compute_totals, window_us=minutes * MINUTE_US))
    if done.nothing:
        return {name: 0 if name in {"request_count", "error_count"} else None for name in FIGURES}
    return dict(done.value)


def _dashboard(figures: dict[str, Any], firing: int) -> DashboardData:
    return DashboardData(
        latency_avg=figures["latency_avg_ms"],
        latency_p95=figures["latency_p95_ms"],
        tokens_total=figures["tokens_total"],
        cost_total=figures["cost_total_usd"],
        error_rate=figures["error_rate"],
        quality_avg=figures["quality_avg"],
        active_alerts=firing,
    )


async def _found(service: Service, hours: int) -> Done:
    longest = next(one for one in _HOURS if hours <= one)
    accepted = await asyncio.to_thread(_accepted, service)
    work = partial(find_incidents, window_us=longest * HOUR_US, accepted=accepted)
    return await service.jobs.ask(f"incidents of {longest}h", work)


def _accepted(service: Service) -> Accepted:
    """The new levels that people took as the baseline."""
    before_us = max((rule.accepted_before_us for rule in service.plan.check.rules), default=0)
    return Accepted(accepted_incidents(service.plan.state), before_us)


def _incidents(found: Sequence[IncidentReport], since_us: int) -> list[IncidentRow]:
    rows = [incident_data(one) for one in found if one.end_us is None or one.end_us >= since_us]
    return [IncidentRow(**{name: row[name] for name in IncidentRow.__struct_fields__}) for row in rows]


def _sampled_anomalies(service: Service, since_us: int) -> list[AnomalyRow]:
    """The anomalies that began with a posted sample."""
    return [
        AnomalyRow(
            metric=one.metric_name,
            value=one.value,
            expected_range=[bound if math.isfinite(bound) else None for bound in one.expected_range],
            severity=one.severity.value,
            timestamp=iso(to_us(one.timestamp)) or "",
            description=one.description,
        )
        for one in service.anomalies()
        if to_us(one.timestamp) >= since_us
    ]


def _anomalies(found: Sequence[AnomalyReport], since_us: int) -> list[AnomalyRow]:
    return [
        AnomalyRow(
            metric=row.metric_name,
            value=row.value,
            expected_range=[row.low, row.high],
            severity=cast("SeverityName", row.severity),
            timestamp=iso(row.timestamp_us) or "",
            description=row.description,
            incident_id=row.incident_id,
            role=cast("Literal['lead', 'symptom']", row.role),
        )
        for row in found
        if row.end_us is None or row.end_us >= since_us
    ]


def _exposed(service: Service, kind: str) -> str:
    counted = service.follower.counted()
    own = own_families(service)
    shown = families(counted.tally, Moment(None, counted.rejected))
    shown += sample_families(counted.samples, [*shown, *own])
    return FORMATS[kind]([*shown, *own])


_FEW: Final = 200_000  # bytes that are decoded without letting others go first
_FEW_SAMPLES: Final = 100


def recording_router(service: Service) -> APIRouter:
    """Make the endpoints that record."""
    routes = APIRouter()

    @routes.post("/v1/requests", responses=described(RequestsRecorded, *POSTED), openapi_extra=takes(Call))
    async def record_requests(request: Request, idempotency_key: Key = "") -> Response:
        """Record calls: one, an array, or one a line (application/x-ndjson). All of them or none."""
        found, new = await _take(service, request, CALLS, idempotency_key)
        service.count("requests", len(new), len(found.items) - len(new))
        return reply(RequestsRecorded(True, len(new), found.texts_dropped, len(found.items) - len(new)))

    @routes.post("/v1/metrics", responses=described(MetricsRecorded, *POSTED), openapi_extra=takes(MetricRequest))
    async def record_metrics(request: Request, idempotency_key: Key = "") -> Response:
        """Record metric samples: one, an array, or one a line. All of them or none."""
        found, new = await _take(service, request, SAMPLES, idempotency_key)
        service.count("samples", len(new), len(found.items) - len(new))
        anomalies = service.judge(new) if len(new) <= _FEW_SAMPLES else await asyncio.to_thread(service.judge, new)
        alerts = await asyncio.to_thread(_alerts, service, found.items)
        return reply(MetricsRecorded(True, anomalies, alerts, len(found.items) - len(new)))

    return routes


async def _take(service: Service, request: Request, shape: Shape, key: str) -> tuple[Taken, list[Any]]:
    """Record what is new of a body; what was sent, and what was new."""
    body, lines = await service.bodies.receive(request)
    settled = partial(
        taken, body, shape, lines=lines, keep_text=service.plan.keep_text, by_id=service.plan.query.dedup, key=key
    )
    found = settled() if len(body) <= _FEW else await asyncio.to_thread(settled)
    with service.delivered.claim(found.identities) as claim:
        if any(claim.new):
            await service.writer.record(found.lines(claim.new))
        await claim.settle_twins()
    return found, list(compress(found.items, claim.new))


def otlp_router(service: Service) -> APIRouter:
    """Make the endpoints that OpenTelemetry exporters send to."""
    routes = APIRouter()

    @routes.post("/v1/traces", responses=described(OtlpReply, *POSTED), openapi_extra=takes_otlp("resourceSpans"))
    async def record_traces(request: Request) -> Response:
        """Record the calls and tool calls among spans (OTLP/HTTP, JSON or protobuf)."""
        return await _take_export(service, request, "traces")

    @routes.post("/v1/logs", responses=described(OtlpReply, *POSTED), openapi_extra=takes_otlp("resourceLogs"))
    async def record_logs(request: Request) -> Response:
        """Record the calls among log records, such as events of coding agents (OTLP/HTTP, JSON or protobuf)."""
        return await _take_export(service, request, "logs")

    return routes


async def _take_export(service: Service, request: Request, signal: Signal) -> Response:
    protobuf = is_protobuf(request.headers.get("content-type", ""))
    media = PROTOBUF if protobuf else "application/json"
    try:
        body, _ = await service.bodies.receive(request, protobuf=protobuf)
        reduced = partial(
            export_of, body, signal, protobuf=protobuf, now_ns=clock() * 1000, keep_text=service.plan.keep_text
        )
        export = reduced() if len(body) <= _FEW else await asyncio.to_thread(reduced)
        with service.delivered.claim(export.identities) as claim:
            if line := export.line(claim.new):
                await service.writer.record(line)
            await claim.settle_twins()
    except RefusedError as error:
        if not protobuf:
            raise
        return Response(status_message(str(error)), error.status, headers=error.headers, media_type=media)
    service.count(signal, sum(claim.new), claim.duplicates)
    service.refused["in an OTLP export"] += export.rejected
    return Response(partial_success(export, protobuf=protobuf), media_type=media)


def _alerts(service: Service, samples: Sequence[MetricRequest]) -> int:
    """How many alerts fire now on the metrics of the samples."""
    names = {ALIASES.get(one.name, one.name) for one in samples}
    return sum(ALIASES.get(alert.metric_name, alert.metric_name) in names for alert in service.firing())
