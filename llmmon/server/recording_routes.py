"""`POST /v1/requests` and `POST /v1/metrics`: what is taken is on the disk before the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from llmmon.metrics import ALIASES
from llmmon.server.intake import CALLS, SAMPLES, Call, Sample, Taken, taken
from llmmon.server.replies import POSTED, MetricsRecorded, RequestsRecorded, described, reply, takes
from llmmon.server.service import Service

_FEW: Final = 200_000  # bytes that are decoded without letting others go first
_FEW_SAMPLES: Final = 100


def router(service: Service) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.post("/v1/requests", responses=described(RequestsRecorded, *POSTED), openapi_extra=takes(Call))
    async def record_requests(request: Request) -> Response:
        """Record calls: one, an array, or one a line (application/x-ndjson). All of them or none."""
        found = await _take(service, request, CALLS)
        service.recorded["requests"] += len(found.items)
        return reply(RequestsRecorded(True, len(found.items), found.texts_dropped))

    @routes.post("/v1/metrics", responses=described(MetricsRecorded, *POSTED), openapi_extra=takes(Sample))
    async def record_metrics(request: Request) -> Response:
        """Record metric samples: one, an array, or one a line. All of them or none."""
        found = await _take(service, request, SAMPLES)
        service.recorded["samples"] += len(found.items)
        async with service.judging:
            if len(found.items) <= _FEW_SAMPLES:
                anomalies = _anomalies(service, found.items)
            else:
                anomalies = await asyncio.to_thread(_anomalies, service, found.items)
        return reply(MetricsRecorded(True, anomalies, _alerts(service, found.items)))

    return routes


async def _take(service: Service, request: Request, shape: Any) -> Taken:
    body, lines = await service.bodies.receive(request)
    keep = service.plan.keep_text
    if len(body) <= _FEW:
        found = taken(body, shape, lines=lines, keep_text=keep)
    else:
        found = await asyncio.to_thread(taken, body, shape, lines=lines, keep_text=keep)
    if found.items:
        await service.writer.record(found.data)
    return found


def _anomalies(service: Service, samples: Sequence[Sample]) -> int:
    """How many anomalies begin with one of the samples."""
    return sum(len(service.detector.check(one.name, one.value, _moment(one.timestamp))) for one in samples)


def _moment(stamp: datetime | float | None) -> datetime | None:
    if isinstance(stamp, datetime) or stamp is None:
        return stamp if stamp is None or stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return datetime.fromtimestamp(stamp, UTC)


def _alerts(service: Service, samples: Sequence[Sample]) -> int:
    """How many alerts fire now on the metrics of the samples."""
    names = {ALIASES.get(one.name, one.name) for one in samples}
    return sum(ALIASES.get(alert.metric_name, alert.metric_name) in names for alert in service.rounds.firing)
