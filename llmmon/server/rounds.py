"""The rules, evaluated again and again: the same run as `llmmon check`, on the same state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from llmmon.alert import Alert, State
from llmmon.checking import CheckPlan, check
from llmmon.errors import LlmmonError
from llmmon.pipeline import Query
from llmmon.statelock import BusyError

_STUCK_S: Final = 120.0


class Rounds:
    """Evaluates every `every_s` seconds until cancelled; one after the other, beside any `llmmon check`."""

    def __init__(
        self,
        query: Query,
        state: Path,
        every_s: float,
        environment: Mapping[str, str],
        clock: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._query = query
        self._plan = CheckPlan(state=state, environment=environment)
        self._every_s = every_s
        self._clock = clock
        self._say = say
        self._thread = ThreadPoolExecutor(1, "rules")
        self._done_s = time.monotonic()
        self.firing: tuple[Alert, ...] = ()
        self.fault: str | None = None  # why the last one failed

    def once(self) -> None:
        """One evaluation, in this thread."""
        try:
            report = check(msgspec.structs.replace(self._query, wall_us=self._clock()), self._plan)
        except BusyError:
            pass  # the other one does this one's work
        except LlmmonError as error:
            self._note(str(error))
            return
        else:
            self.firing = tuple(alert for alert in report.alerts if alert.state is State.FIRING)
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
            except Exception as error:  # noqa: BLE001 - no fault of one round may end the others
                self._note(f"internal error: {type(error).__name__}: {error}")
            await asyncio.sleep(self._every_s)

    def trouble(self) -> str | None:
        """What is wrong with the evaluation, None if nothing is."""
        late_s = time.monotonic() - self._done_s
        if late_s > max(_STUCK_S, 3 * self._every_s):
            return self.fault or f"the rules were last evaluated {late_s:.0f} s ago"
        return None

    def shutdown(self) -> None:
        """Wait for the round that runs."""
        self._thread.shutdown()
