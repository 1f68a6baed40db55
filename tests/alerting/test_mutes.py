"""Recurring mutes: by the clock on the wall, past midnight, over changes of summer time, and in a run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmmon.alerting.mutes import Mute, mutes_of
from llmmon.text.tables import TomlTable
from llmmon.text.times import to_us
from tests.conftest import Run
from tests.support.alerts_factory import alert
from tests.support.appending_log import Service

BERLIN = ZoneInfo("Europe/Berlin")


def mute(**table: object) -> Mute:
    read = TomlTable({"mutes": [table]})
    (found,) = mutes_of(read.tables("mutes"), "Europe/Berlin")
    assert [] == read.faults
    return found


def active(found: Mute, text: str) -> bool:
    return found.is_active(to_us(datetime.fromisoformat(text).replace(tzinfo=BERLIN)))


@pytest.mark.parametrize(
    ("moment", "muted"),
    [
        ("2026-03-06T21:59", False),  # a Friday
        ("2026-03-06T22:00", True),
        ("2026-03-07T06:59", True),  # the night that began on Friday
        ("2026-03-07T07:00", False),
        ("2026-03-07T22:00", False),  # Saturday
        ("2026-03-29T03:30", False),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment: str, muted: bool) -> None:
    assert muted is active(mute(days=["fri"], times=["22:00-07:00"]), moment)


def test_days_alone_are_whole_days_and_times_alone_are_every_day() -> None:
    weekend = mute(days=["sat-sun"])
    assert [False, True, True, False] == [active(weekend, f"2026-03-{day:02}T00:00") for day in (6, 7, 8, 9)]
    nights = mute(times=["00:00-06:00", "22:00-24:00"])
    assert [True, False, True] == [active(nights, f"2026-03-10T{hour:02}:00") for hour in (5, 6, 22)]
    assert active(mute(days=["Fri-Mon"]), "2026-03-09T12:00")


def test_the_clock_on_the_wall_counts_when_it_is_changed() -> None:
    nights = mute(times=["22:00-07:00"])
    for text in ("2026-03-29T06:30", "2026-10-25T06:30", "2026-10-25T02:30"):
        assert active(nights, text)
    assert not active(nights, "2026-03-29T07:30")


def test_only_matching_alerts_are_muted() -> None:
    found = mute(days=["mon-sun"], match={"severity": "error", "model": "gpt*"})
    assert found.covers(alert(), 0)
    assert not found.covers(alert(group=()), 0)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"days": ["someday"]}, "mutes[1].days: unknown day"),
        ({"times": ["22-7"]}, 'mutes[1].times: must look like "22:00-07:00"'),
        ({"times": ["07:00-07:00"]}, "mutes[1].times"),
        ({"times": ["22:00-24:30"]}, "mutes[1].times"),
        ({"name": "x"}, "mutes[1]: needs days or times"),
        ({"days": ["mon"], "timezone": "Nowhere"}, "mutes[1].timezone: unknown time zone"),
        ({"day": ["mon"]}, "mutes[1].day: unknown key, did you mean 'days'?"),
    ],
)
def test_faults_are_named(table: dict[str, object], fault: str) -> None:
    read = TomlTable({"mutes": [table]})
    mutes_of(read.tables("mutes"), "UTC")
    assert any(text.startswith(fault) for text in read.faults), read.faults


NIGHT = """
[[mutes]]
name = "night"
times = ["00:00-01:00"]
"""


def test_what_fires_in_a_mute_and_goes_on_is_notified_when_it_ends(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more=NIGHT)
    service.write(0, 50)
    service.check(50)
    service.write(50, 70, latency_ms=9000)
    muted = service.json(55)
    assert [("silenced", "muted: night")] == [(one["event"], one["reason"]) for one in muted["transitions"]]
    assert [] == service.told
    service.check(62)
    assert [("trigger", "firing")] == service.told


def test_what_fires_and_ends_in_a_mute_is_not_notified(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path, run, more=NIGHT)
    service.write(0, 10)
    service.check(10)
    service.write(10, 15, latency_ms=9000)
    service.write(15, 90)
    for minute in (12, 40, 90):
        service.check(minute)
    assert [] == service.told
    backtest = run("rules", "backtest", "logs", "-f", "json").json["data"]
    assert (1, {}) == (len(backtest["episodes"]), backtest["messages"])
