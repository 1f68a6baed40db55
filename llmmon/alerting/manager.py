"""`AlertManager`: rules over values that a program passes in, with the same lifecycle as `check`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Final

from llmmon.alerting.alert import Alert, Ended, GroupLabels, NotificationEvent, Observation, State, Transition
from llmmon.alerting.lifecycle import acknowledged, resolved, step
from llmmon.alerting.rules import AlertRule
from llmmon.metrics.definitions import ALIASES
from llmmon.text.times import Clock, to_us, utc_now

Handler = Callable[[Alert], Any]  # may be a coroutine function, such as a notifier's `notify`
MOST_ALERTS: Final = 10_000  # episodes that are kept; the oldest resolved ones are dropped first


class AlertManager:
    """Holds rules and their alerts. While its condition holds, a rule is one alert, notified once, and once resolved.

    `clock` gives the time where a call passes none. `handler_errors` keeps the exceptions of handlers, newest last.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self.rules: list[AlertRule] = []
        self.handlers: list[Handler] = []
        self._of_ends: list[Handler] = []  # those of the handlers that are called when an alert ends, too
        self.handler_errors: list[Exception] = []
        self._clock = clock
        self._state: dict[str, Alert] = {}
        self._episodes: dict[tuple[str, int], Alert] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def alerts(self) -> list[Alert]:
        """Every episode that fired, oldest first."""
        return list(self._episodes.values())

    def add_rule(self, rule: AlertRule) -> None:
        """Add a rule; one of the same name is replaced."""
        self.rules = [one for one in self.rules if one.name != rule.name] + [rule]

    def add_handler(self, handler: Handler, *, resolved: bool | None = None) -> None:
        """Add a handler, which is called with each alert that begins to fire; it may be a coroutine function.

        With `resolved` it is called again when the alert has ended (`alert.resolved` is true then). That is the default
        for the `notify` of this package's notifiers, and for whatever has an attribute `handles_resolved` that is true.
        """
        self.handlers.append(handler)
        if resolved is None:
            owner = getattr(handler, "__self__", handler)
            resolved = bool(getattr(handler, "handles_resolved", False) or getattr(owner, "handles_resolved", False))
        if resolved:
            self._of_ends.append(handler)

    def check_metric(
        self, metric_name: str, value: float, *, group: GroupLabels = (), now: datetime | None = None
    ) -> list[Alert]:
        """Evaluate the rules of a metric for a new value; returns the alerts that begin to fire and are notified.

        `for`, `keep_firing_for`, cooldown and repeat count from one value to the next.
        """
        name = ALIASES.get(metric_name, metric_name)
        now_us = self._now_us(now)
        observations = [
            Observation(rule, group, rule.is_met(value), value)
            for rule in self.rules
            if ALIASES.get(rule.metric_name, rule.metric_name) == name
        ]
        self._state, found = step(self._state, observations, now_us)
        self._note(found)
        return [one.alert for one in found if one.notification is NotificationEvent.TRIGGER]

    def acknowledge(self, alert_id: str) -> None:
        """Acknowledge an open alert, so that it is not repeated. An unknown id changes nothing."""
        if (alert := self._state.get(alert_id)) is not None:
            self._state[alert_id], found = acknowledged(alert, self._now_us(None), "acknowledged")
            self._note(found)

    def resolve(self, alert_id: str) -> None:
        """Resolve a firing alert by hand, until its condition has cleared. An unknown id changes nothing."""
        alert = self._state.get(alert_id)
        if alert is not None and alert.state is State.FIRING:
            found: list[Transition] = []
            self._state[alert_id] = resolved(
                alert, self._now_us(None), "resolved by hand", found, ended=Ended.BY_HAND, held=True
            )
            self._note(found)

    def get_active_alerts(self) -> list[Alert]:
        """The firing alerts, most severe first."""
        firing = [alert for alert in self._state.values() if alert.state is State.FIRING]
        return sorted(firing, key=lambda alert: (-alert.severity.rank, alert.since_us, alert.alert_id))

    async def delivered(self) -> None:
        """Wait for all handlers that were started in this event loop."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _now_us(self, now: datetime | None) -> int:
        return to_us(now or self._clock())

    def _note(self, found: list[Transition]) -> None:
        for one in found:
            if one.alert.fired_us is not None:
                self._episodes[one.alert.alert_id, one.alert.episode] = one.alert
            if one.notification is NotificationEvent.TRIGGER:
                self._triggered(one.alert)
                self._notify(one.alert, self.handlers)
            elif one.notification is NotificationEvent.RESOLVE:
                self._notify(one.alert, [handler for handler in self.handlers if handler in self._of_ends])
        for key in [k for k, alert in self._episodes.items() if alert.resolved][: len(self._episodes) - MOST_ALERTS]:
            del self._episodes[key]

    def _triggered(self, alert: Alert) -> None:
        for rule in self.rules:
            if rule.name == alert.rule:
                rule.trigger.at = alert.timestamp

    def _notify(self, alert: Alert, handlers: list[Handler]) -> None:
        for handler in handlers:
            try:
                result = handler(alert)
                if inspect.isawaitable(result):
                    self._await(result)
            except Exception as error:  # noqa: BLE001 - one handler must not keep the others from being called
                self._failed(error)

    def _await(self, result: Awaitable[Any]) -> None:
        """Run what a handler returned, in the running event loop if there is one, else to its end."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(_finished(result))
            return
        task = loop.create_task(_finished(result))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.handler_errors = [*self.handler_errors[-99:], error]


def _finished(result: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    async def run() -> Any:
        return await result

    return run()
