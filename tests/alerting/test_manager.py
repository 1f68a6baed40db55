"""`AlertManager`, as a program uses it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from llmmon import Alert, AlertManager, AlertRule, AlertSeverity

HIGH = AlertRule("High Latency", "llm_latency_ms", "gt", 5000, AlertSeverity.ERROR)
START = datetime(2026, 1, 1, tzinfo=UTC)


def managed(*rules: AlertRule) -> tuple[AlertManager, list[Alert]]:
    manager = AlertManager(clock=lambda: START)
    for rule in rules or (HIGH,):
        manager.add_rule(rule)
    heard: list[Alert] = []
    manager.add_handler(heard.append, resolved=True)
    return manager, heard


def test_a_value_beyond_the_threshold_raises_one_alert() -> None:
    manager, heard = managed()
    (alert,) = manager.check_metric("llm_latency_ms", 6000.0)
    assert ("High Latency", AlertSeverity.ERROR, 6000.0, 5000.0) == (
        alert.title,
        alert.severity,
        alert.value,
        alert.threshold,
    )
    assert [] == manager.check_metric("llm_latency_ms", 7000.0)  # it is the same alert
    assert [alert.alert_id] == [one.alert_id for one in manager.get_active_alerts()]
    assert 1 == len(heard)


def test_its_end_is_told_too() -> None:
    manager, heard = managed()
    manager.check_metric("llm_latency_ms", 6000.0)
    manager.check_metric("llm_latency_ms", 100.0)
    assert [False, True] == [alert.resolved for alert in heard]
    assert ([], [True]) == (manager.get_active_alerts(), [alert.resolved for alert in manager.alerts])


def test_other_metrics_and_tolerable_values_raise_nothing() -> None:
    manager, _ = managed()
    assert [[], []] == [manager.check_metric("llm_cost_usd", 9e9), manager.check_metric("latency_ms", 5000.0)]


def test_the_names_of_the_guide_and_of_the_table_are_one() -> None:
    manager, _ = managed()
    assert 1 == len(manager.check_metric("latency_ms", 6000.0))


def test_the_cooldown_counts_from_the_end_of_what_was_told() -> None:
    manager, heard = managed()
    for minute, value in [(0, 6000.0), (1, 1.0), (3, 6000.0), (4, 1.0), (7, 6000.0)]:
        manager.check_metric("llm_latency_ms", value, now=START + timedelta(minutes=minute))
    assert [False, True, False] == [alert.resolved for alert in heard]


def test_groups_are_alerts_of_their_own() -> None:
    manager, _ = managed()
    for model in "ab":
        manager.check_metric("llm_latency_ms", 6000.0, group=(("model", model),))
    assert 2 == len({alert.alert_id for alert in manager.get_active_alerts()})


def test_an_alert_can_be_acknowledged_and_resolved_by_hand() -> None:
    manager, heard = managed()
    (alert,) = manager.check_metric("llm_latency_ms", 6000.0)
    manager.acknowledge(alert.alert_id)
    assert [True] == [one.acknowledged for one in manager.get_active_alerts()]
    manager.resolve(alert.alert_id)
    assert [] == manager.get_active_alerts()
    assert [] == manager.check_metric("llm_latency_ms", 6000.0)  # held until it has cleared
    assert [False, True] == [one.resolved for one in heard]
    manager.acknowledge("nothing")
    manager.resolve("nothing")


def test_a_handler_that_fails_keeps_no_other_from_hearing() -> None:
    manager = AlertManager()
    heard: list[str] = []

    def failing(alert: Alert) -> None:
        raise ValueError(alert.title)

    async def waiting(alert: Alert) -> None:
        await asyncio.sleep(0)
        heard.append(alert.title)

    for handler in (failing, waiting):
        manager.add_handler(handler)
    manager.add_rule(HIGH)
    manager.check_metric("llm_latency_ms", 6000.0)
    assert (["High Latency"], ["High Latency"]) == (heard, [str(error) for error in manager.handler_errors])


def test_inside_an_event_loop_coroutines_run_in_it() -> None:
    heard: list[str] = []

    async def program() -> None:
        manager = AlertManager()
        manager.add_rule(HIGH)

        async def waiting(alert: Alert) -> None:
            await asyncio.sleep(0.01)
            heard.append(alert.title)

        manager.add_handler(waiting)
        manager.check_metric("llm_latency_ms", 6000.0)
        assert [] == heard
        await manager.delivered()

    asyncio.run(program())
    assert ["High Latency"] == heard
