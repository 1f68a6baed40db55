"""Endpoints of alerts, silences and rules: list, act on, add, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from llmmon.alerting.actions import (
    Actor,
    FaultyRuleError,
    accept,
    acknowledge,
    add_rule,
    add_silence,
    added_rules,
    all_rules,
    check_matchers,
    covered,
    drop_rule,
    drop_silences,
    resolve,
)
from llmmon.alerting.alert import Alert, Silence, State
from llmmon.alerting.rules import AlertRule
from llmmon.alerting.state import BusyError, StateFile
from llmmon.errors import InputError, UsageError
from llmmon.live.server.replies import (
    POSTED,
    Accepted,
    Acknowledged,
    Added,
    AlertRow,
    AlertRuleRequest,
    Deleted,
    Resolved,
    RuleRow,
    Silenced,
    SilenceRequest,
    SilenceRow,
    described,
    reply,
    takes,
)
from llmmon.live.server.service import Service, clock
from llmmon.live.server.settings import Fault, RefusedError
from llmmon.text.times import MINUTE_US, duration_us, iso, moment_us

_MOST_EPISODES: Final = 1000
Result = TypeVar("Result")
AlertId = Annotated[str, Path(min_length=1, max_length=100)]
Why = Annotated[str, Query(max_length=1000, description="the reason, kept with it and shown")]
By = Annotated[str, Query(max_length=200, description="who does it")]
ActiveOnly = Annotated[bool, Query(description="false: those of the last 90 days that are over, too")]


def router(service: Service) -> APIRouter:
    """Make the endpoints of alerts."""
    routes = APIRouter()

    @routes.get("/v1/alerts", responses=described(list[AlertRow], 422, 503))
    async def get_alerts(active_only: ActiveOnly = True) -> Response:
        """The alerts that fire; with active_only=false all that fired, the newest 1,000, newest last."""

        def found(state: StateFile) -> list[Alert]:
            if active_only:
                return [alert for alert in state.alerts().values() if alert.state is State.FIRING]
            return state.episodes()[-_MOST_EPISODES:]

        return reply([_row(alert) for alert in await _with_state(service, found)])

    @routes.post("/v1/alerts/{alert_id}/acknowledge", responses=described(Acknowledged, 404, 422, 503))
    async def acknowledge_alert(alert_id: AlertId, why: Why = "", by: By = "") -> Response:
        """Mark an open alert as seen: it is not repeated."""
        await _move(service, acknowledge, alert_id, why, by)
        return reply(Acknowledged(True))

    @routes.post("/v1/alerts/{alert_id}/resolve", responses=described(Resolved, 404, 422, 503))
    async def resolve_alert(alert_id: AlertId, why: Why = "", by: By = "") -> Response:
        """Resolve an alert by hand, until its condition has cleared."""
        await _move(service, resolve, alert_id, why, by)
        return reply(Resolved(True))

    @routes.post("/v1/alerts/{alert_id}/accept", responses=described(Accepted, 404, 422, 503))
    async def accept_level(alert_id: AlertId, why: Why = "", by: By = "") -> Response:
        """Take the new level of an incident as the baseline; the id is of the incident or of its alert."""
        await _move(service, accept, alert_id, why, by)
        return reply(Accepted(True))

    return routes


def silences_router(service: Service) -> APIRouter:
    """Make the endpoints of silences."""
    routes = APIRouter()

    @routes.get("/v1/silences", responses=described(list[SilenceRow], 503))
    async def get_silences() -> Response:
        """The silences that are not over."""

        def found(state: StateFile) -> list[SilenceRow]:
            return [_silence_row(one) for one in state.silences() if one.until_us > clock()]

        return reply(await _with_state(service, found))

    @routes.post(
        "/v1/silences", responses=described(Silenced, *POSTED), openapi_extra=takes(SilenceRequest, many=False)
    )
    async def silence(request: Request) -> Response:
        """Silence matching alerts for a while; `covers` is how many open ones match now."""
        body, _ = await service.bodies.receive(request)
        asked = _silence_request(body)

        def add(state: StateFile) -> Silenced:
            check_matchers(state, asked.matchers, all_rules(service.plan.check.rules, state))
            now_us = clock()
            start_us = moment_us(asked.start, now_us, "UTC") if asked.start else 0
            until_us = (start_us or now_us) + duration_us(asked.duration)
            made = add_silence(state, asked.matchers, until_us, asked.why, now_us, start_us=start_us, by=asked.by)
            return Silenced(_silence_row(made), len(covered(state, asked.matchers)))

        return reply(await _with_state(service, lambda state: _refusing(422, lambda: add(state))))

    @routes.delete("/v1/silences/{silence_id}", responses=described(Deleted, 404, 422, 503))
    async def unsilence(silence_id: AlertId) -> Response:
        """End a silence."""
        await _with_state(service, lambda state: _refusing(404, lambda: drop_silences(state, [silence_id])))
        return reply(Deleted(True))

    return routes


def _silence_request(body: bytes) -> SilenceRequest:
    """The silence that a body asks for; raises `RefusedError`."""
    try:
        asked = msgspec.json.decode(body, type=SilenceRequest)
        if not asked.matchers:
            raise RefusedError(422, "a silence needs matchers", hint='for example {"rule": "slow"}')
        return asked
    except msgspec.ValidationError as error:
        raise RefusedError(422, f"the silence was not added: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None


def _silence_row(silence: Silence) -> SilenceRow:
    return SilenceRow(
        silence_id=silence.silence_id,
        matchers=dict(silence.matchers),
        start=iso(silence.start_us or silence.created_us) or "",
        until=iso(silence.until_us) or "",
        why=silence.why,
        by=silence.by,
    )


def rules_router(service: Service) -> APIRouter:
    """Make the endpoints of rules."""
    routes = APIRouter()

    @routes.get("/v1/rules", responses=described(list[RuleRow], 503))
    async def get_rules() -> Response:
        """The rules that are evaluated."""

        def found(state: StateFile) -> list[RuleRow]:
            added = {rule.name for rule in added_rules(state)}
            return [_rule_row(rule, added) for rule in all_rules(service.plan.check.rules, state)]

        return reply(await _with_state(service, found))

    @routes.post(
        "/v1/rules", responses=described(Added, 409, *POSTED), openapi_extra=takes(AlertRuleRequest, many=False)
    )
    async def add(request: Request) -> Response:
        """Add a rule, or replace the added one of its name; it is kept and evaluated from now on."""
        body, _ = await service.bodies.receive(request)
        table = _table(body)
        rules, channels = service.plan.check.rules, service.plan.check.channels
        await _with_state(service, lambda state: _refusing(409, lambda: add_rule(state, table, rules, channels)))
        return reply(Added(True))

    @routes.delete("/v1/rules/{name}", responses=described(Deleted, 404, 422, 503))
    async def delete(name: Annotated[str, Path(min_length=1, max_length=500)]) -> Response:
        """Take back a rule that was added; its alerts are resolved."""
        await _with_state(service, lambda state: _refusing(404, lambda: drop_rule(state, name)))
        return reply(Deleted(True))

    return routes


async def _with_state(service: Service, work: Callable[[StateFile], Result]) -> Result:
    """Do some work on the state in a thread; raises `RefusedError` 503 where another holds it too long."""

    def run() -> Result:
        try:
            with service.state() as state:
                return work(state)
        except (BusyError, InputError) as error:
            raise RefusedError(503, str(error), retry_after="5") from None

    return await asyncio.to_thread(run)


def _refusing(status: int, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except FaultyRuleError as error:
        items = tuple(_fault(text) for text in error.faults)
        raise RefusedError(422, "the rule was not added", items=items) from None
    except UsageError as error:
        raise RefusedError(status, str(error), hint=error.hint) from None


async def _move(service: Service, move: Callable[..., Any], alert_id: str, why: str, by: str) -> None:
    def moved(state: StateFile) -> None:
        plan = service.plan.check
        actor = Actor(
            now_us=clock(), by=by, why=why, channels=plan.channels, mutes=plan.mutes,
            environment=service.plan.environment,
        )  # fmt: skip
        _refusing(404, lambda: move(state, [alert_id], actor))

    await _with_state(service, moved)


def _row(alert: Alert) -> AlertRow:
    return AlertRow(
        alert_id=alert.alert_id,
        title=alert.title,
        severity=alert.severity.value,
        metric=alert.metric_name,
        value=alert.value,
        timestamp=iso(alert.fired_us or alert.since_us) or "",
        acknowledged=alert.acknowledged,
        resolved=alert.resolved,
    )


def _rule_row(rule: AlertRule, added: set[str]) -> RuleRow:
    return RuleRow(
        name=rule.name,
        metric_name=rule.metric_name,
        condition=rule.condition,
        threshold=rule.threshold,
        severity=rule.severity.value,
        aggregation=rule.aggregation,
        window_minutes=rule.window_us / MINUTE_US,
        added=rule.name in added,
    )


def _table(body: bytes) -> dict[str, Any]:
    """The rule that a body asks for, as a table of the configuration; raises `RefusedError`."""
    try:
        table = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise RefusedError(422, f"the rule was not added: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None
    if "metric_name" in table:
        table["metric"] = table.pop("metric_name")
    return {name: value for name, value in table.items() if value is not None}


def _fault(text: str) -> Fault:
    field, _, rest = text.partition(": ")
    return Fault(rest, field="metric_name" if field == "metric" else field)
