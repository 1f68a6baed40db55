"""Work that takes long, each piece in a process of its own: incidents, the page, figures of long windows.

One runs at a time, at low priority. Its result is kept, and computed anew when it is asked for and has aged.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.anomaly.analysis import MonitorPlan, find_anomalies
from llmmon.anomaly.incidents import Accepted
from llmmon.anomaly.report import AnomaliesReport
from llmmon.errors import NO_CALLS, NO_LOGS, InputError, LlmmonError
from llmmon.ingest.parallel import spawn
from llmmon.ingest.query import Query
from llmmon.ingest.reread import Rereadable
from llmmon.ingest.time_range import Now, TimeRequest
from llmmon.live.server.settings import RefusedError
from llmmon.reports.overview import ReportPlan, make_report
from llmmon.reports.summary import summarize

_PATIENCE_S: Final = 25.0  # that a request waits for the first result
_LONGEST_S: Final = 600.0
_MOST_KEPT: Final = 8

Work = Callable[[Query], Any]  # a function of a module, or a partial of one, so that it pickles


def find_incidents(query: Query, window_us: int, accepted: Accepted) -> AnomaliesReport:
    """Find the incidents of a window that ends now, and the series that make them up."""
    report, _ = find_anomalies(_lately(query, window_us), MonitorPlan(contributors=False, accepted=accepted))
    return report


def compute_totals(query: Query, window_us: int) -> Mapping[str, Any]:
    """Compute the statistics of all calls of a window that ends now."""
    report, _ = summarize(_lately(query, window_us), by=("model",))
    return report.totals


def write_page(query: Query, plan: ReportPlan, window_us: int, live_s: int) -> bytes:
    """Write the report of a window that ends now as one HTML page, which asks for the next one every `live_s`."""
    from llmmon.output.report_page import report_page

    lately = _lately(query, window_us)
    overview, _ = make_report(Rereadable(lately, {}), plan)
    return report_page(overview, live_s=live_s, now_us=lately.wall_us).encode()


def _lately(query: Query, window_us: int) -> Query:
    lately = TimeRequest(window_us=window_us, now=Now.WALL)
    return msgspec.structs.replace(query, wall_us=time.time_ns() // 1000, time=lately)


class Done(msgspec.Struct, frozen=True):
    """What a piece of work computed; `nothing` where no log holds a call yet, `fault` where it failed."""

    value: Any
    made_s: float
    nothing: bool = False
    fault: str = ""


class Jobs:
    """Runs work on the logs of a query; `logs` gives those that exist now."""

    def __init__(self, query: Query, logs: Callable[[], Sequence[str]], fresh_s: float = 60.0) -> None:
        self._query = query
        self._logs = logs
        self._fresh_s = fresh_s
        self._turn = asyncio.Semaphore(1)
        self._kept: OrderedDict[str, Done] = OrderedDict()
        self._running: dict[str, asyncio.Task[Done]] = {}

    async def ask(self, name: str, work: Work) -> Done:
        """Return what the work of a name computes, perhaps of a minute ago; raises `RefusedError`."""
        kept = self._kept.get(name)
        if kept is not None and time.monotonic() - kept.made_s < self._fresh_s:
            return kept
        if name not in self._running:
            if len(self._running) >= _MOST_KEPT:
                raise RefusedError(429, "too much is being looked for", retry_after="5")
            self._running[name] = asyncio.create_task(self._made(name, work))
        if kept is not None:
            return kept
        try:
            done = await asyncio.wait_for(asyncio.shield(self._running[name]), _PATIENCE_S)
        except TimeoutError:
            raise RefusedError(503, "this takes a while; ask again", retry_after="5") from None
        if done.fault:
            raise RefusedError(503, f"{name}: {done.fault}", retry_after="30")
        return done

    async def _made(self, name: str, work: Work) -> Done:
        try:
            async with self._turn:
                done = await self._run(work)
        finally:
            del self._running[name]
        if not done.fault or name not in self._kept:
            self._kept[name] = done
            self._kept.move_to_end(name)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return done

    async def _run(self, work: Work) -> Done:
        logs = tuple(self._logs())
        if not logs:
            return Done(None, time.monotonic(), nothing=True)
        child = spawn(work, msgspec.structs.replace(self._query, logs=logs))
        waiting = asyncio.create_task(asyncio.to_thread(child.result))
        try:
            done, _ = await asyncio.wait([waiting], timeout=_LONGEST_S)
            if not done:
                return Done(None, time.monotonic(), fault=f"took more than {_LONGEST_S:.0f} s")
            return Done(waiting.result(), time.monotonic())
        except InputError as error:
            nothing = error.code in {NO_CALLS, NO_LOGS}
            return Done(None, time.monotonic(), nothing=nothing, fault="" if nothing else str(error))
        except LlmmonError as error:
            return Done(None, time.monotonic(), fault=str(error))
        except Exception as error:  # noqa: BLE001 - no fault of one piece of work may end the service
            return Done(None, time.monotonic(), fault=f"internal error: {type(error).__name__}: {error}")
        finally:
            child.kill()
            await asyncio.wait([waiting])  # its thread must be out of the pipe before that is closed
            child.end()

    async def close(self) -> None:
        """End what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
