"""The parts of a running service, as the endpoints see them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from llmmon.alerting.alert import Alert, State
from llmmon.alerting.check import CheckPlan, check
from llmmon.alerting.rules import LATE_US
from llmmon.alerting.state import BusyError, StateFile
from llmmon.anomaly.detectors import (
    Anomaly,
    CompositeAnomalyDetector,
    StatisticalAnomalyDetector,
    ThresholdAnomalyDetector,
)
from llmmon.errors import InputError, LlmmonError
from llmmon.ingest.query import Query
from llmmon.ingest.sources import expand
from llmmon.live.server.delivered import DeliveredItems
from llmmon.live.server.follower import Follower
from llmmon.live.server.intake import MetricRequest, RequestBodies
from llmmon.live.server.jobs import Jobs
from llmmon.live.server.journal import Journal, Writer
from llmmon.live.server.settings import RefusedError, ServePlan
from llmmon.text.times import MINUTE_US

_STUCK_S: Final = 120.0
_TURNED_S: Final = 0.5  # after the end of a minute, when it is evaluated


class EvaluationLoop:
    """Evaluates the rules every `every_s` seconds until cancelled; `llmmon check` may run beside it."""

    def __init__(
        self,
        query: Query,
        plan: CheckPlan,
        every_s: float,
        clock: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._query = query
        self._plan = plan
        self._every_s = every_s
        self._clock = clock
        self._say = say
        self._thread = ThreadPoolExecutor(1, "rules")
        self._done_s = time.monotonic()
        self._now = asyncio.Event()
        self.fault: str | None = None  # why the last one failed
        self.clock_fault = ""  # why the last one cannot be trusted
        self.notifications: Counter[tuple[str, str]] = Counter()  # by channel and status
        self.seconds = 0.0  # that the last one took

    def once(self) -> None:
        """Evaluate once, in this thread."""
        begun_s = time.monotonic()
        try:
            report = check(msgspec.structs.replace(self._query, wall_us=self._clock()), self._plan)
        except BusyError:
            pass  # another evaluation is running
        except LlmmonError as error:
            self._note(str(error))
            return
        else:
            self.clock_fault = report.fault
            for row in report.notifications:
                failed = row.status == "queued" and row.reason
                self.notifications[row.channel, "failed" if failed else row.status] += 1
                if row.status == "queued" and row.reason:
                    self._say(f"alert {row.alert_id} to {row.channel}: {row.reason}")
        self._done_s = time.monotonic()
        self.seconds = self._done_s - begun_s
        self._note(None)

    def _note(self, fault: str | None) -> None:
        if fault is not None and fault != self.fault:
            self._say(f"the rules were not evaluated: {fault}")
        self.fault = fault

    async def run(self) -> None:
        """Evaluate until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self.once)
            except Exception as error:  # noqa: BLE001 - no error of one evaluation may end the loop
                self._note(f"internal error: {type(error).__name__}: {error}")
            to_minute_s = (MINUTE_US - self._clock() % MINUTE_US) / 1e6 + _TURNED_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), min(self._every_s, to_minute_s))
            self._now.clear()

    def replace(self, plan: CheckPlan) -> None:
        """Evaluate another plan from now on."""
        self._plan = plan
        self._now.set()

    def problem(self) -> str | None:
        """What is wrong with the evaluation, None if all is well."""
        late_s = time.monotonic() - self._done_s
        if late_s > max(_STUCK_S, 3 * self._every_s):
            return self.fault or f"the rules were last evaluated {late_s:.0f} s ago"
        return self.clock_fault or None

    @property
    def age_s(self) -> float:
        """Seconds since the last evaluation."""
        return time.monotonic() - self._done_s

    def shutdown(self) -> None:
        """Wait for the evaluation that is running."""
        self._thread.shutdown()


_POLL_S: Final = 5.0
_RENEW_S: Final = 10.0  # how often the files of the certificate are looked at
STATE_WAIT_S: Final = 5.0  # how long a request waits for a transaction of another process
_PATIENCE_S: Final = 20.0  # how long a request waits for the first reading
Say = Callable[[str], None]


def clock() -> int:
    """This moment, in microseconds UTC."""
    return time.time_ns() // 1000


class Service:
    """Everything that one `llmmon serve` runs on."""

    def __init__(self, plan: ServePlan, journal: Journal, say: Say) -> None:
        self.plan = plan
        self.say = say
        self._journal = journal
        with StateFile(plan.state, replaced=say):
            pass  # created, migrated, or found to be unusable, before several parts open it
        logs = tuple(dict.fromkeys((*plan.query.logs, *journal.logs)))
        # one process: a fork beside threads is not safe, and what is new is little
        self.query = msgspec.structs.replace(plan.query, logs=logs, jobs=1, cache=None, progress=None, say=say)
        self.bodies = RequestBodies(plan.limits)
        self.writer = Writer(journal, plan.limits.queued, say)
        self.follower = Follower(self.query.quiet(), clock)
        self.evaluation = EvaluationLoop(self.query, self._evaluated(plan.check), plan.every_s, clock, say)
        self.jobs = Jobs(msgspec.structs.replace(self.query.quiet(), jobs=None, cache=plan.query.cache), self.there)
        self._detector = _detector()
        self._reading = asyncio.Lock()
        self._begun = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._running: contextlib.AsyncExitStack | None = None
        self._judging = threading.Lock()  # the detector takes one sample at a time
        self.recorded = dict.fromkeys(("requests", "samples", "traces", "logs"), 0)
        self.duplicates = dict(self.recorded)
        self.refused: Counter[str] = Counter()  # by status
        self.started_us = clock()
        self._reading_fault: str | None = None
        self.delivered = DeliveredItems()

    def _evaluated(self, check: CheckPlan) -> CheckPlan:
        """What is evaluated: calls that are posted arrive at once, only lines of other logs take time."""
        late_us = check.late_us if self.plan.query.logs else 0
        return msgspec.structs.replace(
            check, state=self.plan.state, environment=self.plan.environment, late_us=late_us, unnoted_late_us=LATE_US
        )

    async def reload(self) -> None:
        """Read the configuration and tokens again, and the certificate where it changed.

        What is faulty is reported, and what was before remains in force.
        """
        if self.plan.certificate is not None:
            await asyncio.to_thread(self.plan.certificate.renew, self.say)
        if self.plan.reload is None:
            return
        try:
            found = await asyncio.to_thread(self.plan.reload)
        except (LlmmonError, OSError) as error:
            faults = " ".join(str(error).split())
            self.say(f"the configuration was not reloaded, the one before remains in force: {faults}")
            return
        check = found.check
        tokens = found.tokens if found.tokens or not self.plan.tokens else self.plan.tokens
        self.plan = msgspec.structs.replace(self.plan, check=check, tokens=tokens)
        self.evaluation.replace(self._evaluated(check))
        rules = f"{len(check.rules)} rule{'s' * (len(check.rules) != 1)}"
        self.say(f"configuration reloaded: {rules}, {len(check.channels)} channel{'s' * (len(check.channels) != 1)}")

    def count(self, kind: str, new: int, duplicates: int) -> None:
        """Count items of one kind that were recorded, and those that had been recorded before."""
        self.recorded[kind] += new
        self.duplicates[kind] += duplicates

    def judge(self, samples: Iterable[MetricRequest]) -> int:
        """Give samples to the detector; how many anomalies begin with one of them."""
        with self._judging:
            return sum(len(self._detector.check(one.name, one.value, _moment(one.timestamp))) for one in samples)

    def anomalies(self) -> list[Anomaly]:
        """The last anomalies of samples."""
        with self._judging:
            return list(self._detector.anomalies)

    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        with self.state() as state:
            return [alert for alert in state.alerts().values() if alert.state is State.FIRING]

    def there(self) -> list[str]:
        """The logs that exist now."""
        return [path for path in expand(self.query.logs).paths if path != "-"]

    def state(self) -> StateFile:
        """The state, opened; raises `RefusedError` where that is not possible."""
        try:
            return StateFile(self.plan.state, wait_s=STATE_WAIT_S)
        except InputError as error:
            raise RefusedError(503, str(error), retry_after="5") from None

    async def fresh(self) -> Follower:
        """The follower, after it has read everything that was recorded; raises `RefusedError` while it begins."""
        try:
            await asyncio.wait_for(self._begun.wait(), _PATIENCE_S)
        except TimeoutError:
            raise RefusedError(503, "the logs of the last day are being read", retry_after="10") from None
        await self._refresh()
        return self.follower

    async def _refresh(self) -> None:
        async with self._reading:  # those who wait take no thread
            await asyncio.to_thread(self.follower.refresh, self.writer.written)

    def problems(self) -> list[str]:
        """What does not work now."""
        found = [self.writer.fault, self.evaluation.problem(), self._reading_fault]
        try:
            with self.state() as state:
                state.fact("evaluated_minute")
        except RefusedError as error:
            found.append(str(error))
        return [trouble for trouble in found if trouble is not None]

    async def start(self) -> None:
        """Run all parts, unless they run."""
        async with self._starting:
            if self._running is None:
                self._journal.open()
                running = contextlib.AsyncExitStack()
                await running.enter_async_context(self.running())
                self._running = running

    async def stop(self) -> None:
        """End all parts; everything that was accepted is on the disk then."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()
            self._journal.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all parts; on leaving, everything that was accepted is on the disk."""
        by_id = self.plan.query.dedup
        samples = await asyncio.to_thread(self.delivered.recall, self.plan.journal, by_id=by_id)
        await asyncio.to_thread(self.judge, samples)
        writing = asyncio.create_task(self.writer.run())
        beside = [asyncio.create_task(part) for part in (self.evaluation.run(), self._follow(), self._renew())]
        loop = asyncio.get_running_loop()
        if self.plan.reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        try:
            yield
        finally:
            if self.plan.reload is not None:
                loop.remove_signal_handler(signal.SIGHUP)
            self.writer.close()
            for task in beside:
                task.cancel()
            await asyncio.gather(writing, *beside, return_exceptions=True)
            await self.jobs.close()
            self.writer.shutdown()
            self.evaluation.shutdown()

    async def _renew(self) -> None:
        """Load the certificate again when its files change."""
        while self.plan.certificate is not None:
            await asyncio.sleep(_RENEW_S)
            await asyncio.to_thread(self.plan.certificate.renew, self.say)

    def _hung_up(self) -> None:
        self._reloading = asyncio.create_task(self.reload())  # kept, so that it is not collected

    async def _follow(self) -> None:
        """Keep up with the logs between requests."""
        while True:
            try:
                await self._refresh()
                self._begun.set()
                self._reading_fault = None
            except Exception as error:  # noqa: BLE001 - the next reading may succeed
                fault = f"the logs were not read: {error}"
                if fault != self._reading_fault:
                    self.say(fault)
                self._reading_fault = fault
            await asyncio.sleep(_POLL_S)


def _moment(stamp: datetime | float | None) -> datetime | None:
    if isinstance(stamp, datetime) or stamp is None:
        return stamp if stamp is None or stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return datetime.fromtimestamp(stamp, UTC)


def _detector() -> Any:
    """The detector of single metric samples."""
    found = CompositeAnomalyDetector()
    found.add_detector(StatisticalAnomalyDetector())
    limits = ThresholdAnomalyDetector()
    limits.set_threshold("llm_latency_ms", warning=2000, critical=5000)
    limits.set_threshold("llm_error_rate", warning=0.05, critical=0.1)
    found.add_detector(limits)
    return found
