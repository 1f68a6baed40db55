"""The parts of a running service, as the endpoints see them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from llmmon.alerting.alert import Alert, State
from llmmon.alerting.check import CheckPlan, check
from llmmon.alerting.rules import LATE_US
from llmmon.alerting.state import BusyError, StateFile
from llmmon.anomaly.detectors import CompositeAnomalyDetector, StatisticalAnomalyDetector, ThresholdAnomalyDetector
from llmmon.errors import InputError, LlmmonError
from llmmon.ingest.query import Query
from llmmon.ingest.sources import expand
from llmmon.live.server.delivered import DeliveredItems
from llmmon.live.server.follower import Follower
from llmmon.live.server.intake import RequestBodies
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

    def once(self) -> None:
        """Evaluate once, in this thread."""
        try:
            report = check(msgspec.structs.replace(self._query, wall_us=self._clock()), self._plan)
        except BusyError:
            pass  # another evaluation is running
        except LlmmonError as error:
            self._note(str(error))
            return
        else:
            for row in report.notifications:
                if row.status == "queued" and row.reason:
                    self._say(f"alert {row.alert_id} to {row.channel}: {row.reason}")
        self._done_s = time.monotonic()
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
        return None

    def shutdown(self) -> None:
        """Wait for the evaluation that is running."""
        self._thread.shutdown()


_POLL_S: Final = 5.0
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
        self.detector = _detector()
        self._reading = asyncio.Lock()
        self._begun = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._running: contextlib.AsyncExitStack | None = None
        self.judging = asyncio.Lock()  # the detector takes one sample at a time
        self.recorded = {"requests": 0, "samples": 0, "traces": 0, "logs": 0}
        self.delivered = DeliveredItems()

    def _evaluated(self, check: CheckPlan) -> CheckPlan:
        """What is evaluated: calls that are posted arrive at once, only lines of other logs take time."""
        late_us = check.late_us if self.plan.query.logs else 0
        return msgspec.structs.replace(
            check, state=self.plan.state, environment=self.plan.environment, late_us=late_us, unnoted_late_us=LATE_US
        )

    async def reload(self) -> None:
        """Read the configuration again; one that is faulty is reported, and the one before remains in force."""
        if self.plan.reload is None:
            return
        try:
            check = await asyncio.to_thread(self.plan.reload)
        except (LlmmonError, OSError) as error:
            faults = " ".join(str(error).split())
            self.say(f"the configuration was not reloaded, the one before remains in force: {faults}")
            return
        self.plan = msgspec.structs.replace(self.plan, check=check)
        self.evaluation.replace(self._evaluated(check))
        rules = f"{len(check.rules)} rule{'s' * (len(check.rules) != 1)}"
        self.say(f"configuration reloaded: {rules}, {len(check.channels)} channel{'s' * (len(check.channels) != 1)}")

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
            return StateFile(self.plan.state)
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
        found = [self.writer.fault, self.evaluation.problem()]
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
        await asyncio.to_thread(self.delivered.recall, self.plan.journal, by_id=self.plan.query.dedup)
        writing = asyncio.create_task(self.writer.run())
        beside = [asyncio.create_task(self.evaluation.run()), asyncio.create_task(self._follow())]
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

    def _hung_up(self) -> None:
        self._reloading = asyncio.create_task(self.reload())  # kept, so that it is not collected

    async def _follow(self) -> None:
        """Keep up with the logs between requests."""
        while True:
            try:
                await self._refresh()
                self._begun.set()
            except Exception as error:  # noqa: BLE001 - the next reading may succeed
                self.say(f"the logs were not read: {error}")
            await asyncio.sleep(_POLL_S)


def _detector() -> Any:
    """The detector of single metric samples."""
    found = CompositeAnomalyDetector()
    found.add_detector(StatisticalAnomalyDetector())
    limits = ThresholdAnomalyDetector()
    limits.set_threshold("llm_latency_ms", warning=2000, critical=5000)
    limits.set_threshold("llm_error_rate", warning=0.05, critical=0.1)
    found.add_detector(limits)
    return found
