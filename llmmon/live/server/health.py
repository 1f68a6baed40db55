"""The health of the service: whether it lives and works, and metrics of itself beside those of the calls."""

from __future__ import annotations

import asyncio
import platform
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from llmmon import __version__
from llmmon.live.server.replies import Health, Readiness, described, reply
from llmmon.live.server.service import Service
from llmmon.output.export.prometheus import Family, Point


def router(service: Service) -> APIRouter:
    """Make the endpoints of health checks."""
    routes = APIRouter()

    @routes.get("/health", responses=described(Health))
    @routes.get("/healthz", responses=described(Health))
    async def health() -> Response:
        """The process answers: if not, restart it."""
        return reply(Health("healthy"))

    @routes.get("/ready", responses={**described(Readiness), **_unready()})
    @routes.get("/readyz", responses={**described(Readiness), **_unready()})
    async def ready() -> Response:
        """The log can be written and read, the state can be reached, the rules are evaluated."""
        troubles = await asyncio.to_thread(service.problems)
        return reply(Readiness(not troubles, troubles), 503 if troubles else 200)

    return routes


def _unready() -> dict[int | str, dict[str, Any]]:
    return {503: {**described(Readiness)[200], "description": "something does not work"}}


def own_families(service: Service) -> list[Family]:
    """Metrics of the service itself."""
    counted, evaluation = service.follower.counted(), service.evaluation
    about = Point((("version", __version__), ("python", platform.python_version())), 1)
    notified = [
        Point((("channel", channel), ("status", status)), count)
        for (channel, status), count in sorted(evaluation.notifications.items())
    ]
    with service.state() as state:
        waiting = len(state.outbox.queued())
    return [
        Family("llmmon_build_info", "gauge", "the version that runs", "", (about,)),
        _by("llmmon_recorded_total", "calls and samples that were recorded", "kind", service.recorded),
        _by("llmmon_duplicates_total", "items that had been recorded before", "kind", service.duplicates),
        _by("llmmon_refused_total", "requests (and calls of exports) that were refused", "status", service.refused),
        _one("llmmon_queued_bytes", "gauge", "what waits to be written", service.writer.queued_bytes, "bytes"),
        _one("llmmon_lines_read_total", "counter", "lines read of all logs", counted.lines),
        _one("llmmon_lines_rejected_total", "counter", "lines that could not be read", counted.rejected),
        _one("llmmon_reading_age_seconds", "gauge", "since the logs were last read", counted.age_s, "seconds"),
        _one("llmmon_evaluation_age_seconds", "gauge", "since the last evaluation", evaluation.age_s, "seconds"),
        _one("llmmon_evaluation_duration_seconds", "gauge", "what it took", evaluation.seconds, "seconds"),
        _one("llmmon_ready", "gauge", "1 where everything works, as /readyz", int(not service.problems())),
        _one("llmmon_alerts_firing", "gauge", "alerts that fire", len(service.firing())),
        Family("llmmon_notifications_total", "counter", "by channel and status", "", tuple(notified)),
        _one("llmmon_notifications_queued", "gauge", "notifications that wait", waiting),
        *_process(service),
    ]


def _process(service: Service) -> Iterable[Family]:
    """What Prometheus expects of any process, under its names."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield _one("process_start_time_seconds", "gauge", "seconds since 1970", service.started_us / 1e6, "seconds")
    yield _one("process_cpu_seconds_total", "counter", "CPU time", used.ru_utime + used.ru_stime, "seconds")
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(list(Path("/proc/self/fd").iterdir()))
    except (OSError, ValueError, IndexError):
        return  # only Linux has them
    memory = pages * resource.getpagesize()
    yield _one("process_resident_memory_bytes", "gauge", "resident memory", memory, "bytes")
    yield _one("process_open_fds", "gauge", "open files and connections", files)


def _one(name: str, kind: str, text: str, value: float, unit: str = "") -> Family:
    return Family(name, kind, text, unit, (Point((), value),))


def _by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Family:
    return Family(name, "counter", text, "", tuple(Point(((label, key),), n) for key, n in sorted(counts.items())))
