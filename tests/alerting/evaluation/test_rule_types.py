"""Rules of change, objectives and budgets against tables computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmmon.alerting.evaluation import evaluate_rule, streams_of
from llmmon.alerting.evaluation.spend import period_starts
from llmmon.alerting.evaluation.windows import MET, RuleEvaluation
from llmmon.alerting.history import StreamsFold
from llmmon.alerting.objectives import PAGE, TICKET, Slo, slo_statuses
from llmmon.alerting.reading import complete
from llmmon.alerting.rule_tests import GivenSeries, calls_of, expanded
from llmmon.alerting.rules import AlertRule, Burn, BurnWindows, Spend
from llmmon.config import parse
from llmmon.errors import ConfigError
from llmmon.text.times import MINUTE_US, iso

START_US = 1_772_409_600_000_000  # 2026-03-02 00:00 UTC, a Monday
START = START_US // MINUTE_US


def given(metric: str, values: str, calls: int = 10, **group: str) -> GivenSeries:
    return GivenSeries(metric, expanded(values), group, calls)


def saw(rule: AlertRule, series: Sequence[GivenSeries], minutes: int, first: int = 1) -> RuleEvaluation:
    """What a rule saw at the ends of minutes `first` to `minutes` after the start."""
    streams = list(streams_of([rule]))
    fold = StreamsFold(streams)
    fold.add(calls_of(series, START_US), [])
    return evaluate_rule(rule, complete(streams, [fold.result()]), np.arange(START + first, START + minutes + 1))


def met(evaluation: RuleEvaluation, row: int = 0) -> list[int]:
    """The minutes after the start at whose end the condition was met."""
    return [int(end) - START for end, found in zip(evaluation.ends, evaluation.met[row], strict=True) if found == MET]


def rules_of(**table: Any) -> tuple[AlertRule, ...]:
    return parse(table, Path("llmmon.toml")).rules


def change(**table: Any) -> AlertRule:
    usual = {"name": "r", "metric": "latency_avg_ms", "change": "+50%", "versus": "previous 2h", "min_count": 1}
    return rules_of(rules=[{**usual, **table}])[0]


class TestChange:
    def test_the_threshold_is_the_earlier_statistic_times_the_factor(self) -> None:
        evaluation = saw(change(window="10m"), [given("latency_ms", "100x179 140x9 160x9")], 200, 180)
        assert evaluation.threshold is not None
        assert 150 == evaluation.threshold[0, 0]
        # hours 0 to 3 are compared with once the window begins in hour 3; 160 alone is met: its mean passes 150
        assert met(evaluation) == [196, 197, 198, 199, 200]

    def test_a_fall_is_met_below(self) -> None:
        assert met(saw(change(change="-50%", window="5m"), [given("latency_ms", "100x179 40x9")], 189, 180)) == [
            *range(185, 190)
        ]

    def test_too_short_a_past_is_not_compared_with(self) -> None:
        rule = change(window="5m", versus="previous 7d")
        assert met(saw(rule, [given("latency_ms", "100x600 900x60")], 660)) == []

    def test_the_same_hour_last_week_is_the_hour_of_the_clock(self) -> None:
        week = 7 * 1440
        rule = change(versus="same hour last week", window="30m")
        series = [given("latency_ms", f"100x59 1000x59 100x{week - 121} 400x119", 1)]
        evaluation = saw(rule, series, week + 120, week)
        assert evaluation.threshold is not None
        assert evaluation.threshold[0, 40] == 150
        assert evaluation.threshold[0, 100] == 1500
        assert (week + 40 in met(evaluation), week + 110 in met(evaluation)) == (True, False)

    def test_quantiles_of_the_earlier_time_are_within_a_percent(self) -> None:
        rule = change(metric="latency_p95_ms", window="10m")
        evaluation = saw(rule, [given("latency_ms", "100+1x300")], 240, 200)
        assert evaluation.threshold is not None
        # minute 200 is compared with hours 1 and 2, whose values are 160 to 279: 273.05 is their 95th percentile
        assert evaluation.threshold[0, 0] == pytest.approx(273.05 * 1.5, rel=0.008)

    def test_sums_are_scaled_to_the_window(self) -> None:
        rule = change(metric="cost_usd", aggregation="sum", window="30m", change="+100%")
        evaluation = saw(rule, [given("cost_usd", "0.01x300")], 240, 200)
        assert evaluation.threshold is not None
        assert evaluation.threshold[0, 0] == pytest.approx(0.1 * 30 * 2)

    def test_both_windows_need_the_least_count(self) -> None:
        rule = change(window="5m", min_count=1000)
        series = [given("latency_ms", "100x179 900x9", 20)]
        assert met(saw(rule, series, 189, 180)) == []
        assert met(saw(change(window="5m", min_count=100), series, 189, 180)) != []

    def test_faults_are_listed(self) -> None:
        for table, fault in (
            ({"change": "50"}, "must look like +50% or -30%"),
            ({"versus": "yesterday"}, 'must be "previous 7d"'),
            ({"versus": "previous 30m"}, "whole hours"),
            ({"threshold": 3}, "threshold: cannot be combined with change"),
        ):
            with pytest.raises(ConfigError, match="1 error") as caught:
                change(**table)
            assert fault in str(caught.value)


class TestObjectives:
    def test_the_windows_and_rates_are_those_of_the_workbook(self) -> None:
        page, ticket = Slo("s", 0.999, "ok").rules
        assert (PAGE, TICKET) == tuple(rule.basis.pairs for rule in (page, ticket) if isinstance(rule.basis, Burn))
        # a burn rate times its window's share of 30 days is the part of the budget that it uses up
        parts = [pair.factor * pair.long / (30 * 1440) for pair in (*PAGE, *TICKET)]
        assert parts == pytest.approx([0.02, 0.05, 0.1, 0.1])
        assert [pair.long // pair.short for pair in (*PAGE, *TICKET)] == [12] * 4
        assert ("critical", "warning") == (page.severity.value, ticket.severity.value)

    def test_other_windows_scale_theirs(self) -> None:
        basis = Slo("s", 0.999, "ok", window_us=15 * 1440 * MINUTE_US).rules[0].basis
        assert isinstance(basis, Burn)
        assert (BurnWindows(30, 2, 14.4), BurnWindows(180, 15, 6.0)) == basis.pairs

    @pytest.mark.parametrize(
        ("failing", "expected"),
        [
            # an objective of 0.99 and 100 calls a minute: 14.4 % of the calls of an hour are 864 of 6,000; 22 % a
            # minute has failed so many after 40 minutes, 60 % after 15, and 14 % never will
            ("0x119 0.22x60", 160),
            ("0x119 0.6x60", 135),
            ("0x119 0.14x60", None),
        ],
    )
    def test_the_page_fires_when_both_windows_exceed(self, failing: str, expected: int | None) -> None:
        rule = AlertRule("s", "burn_rate", "gt", 14.4, basis=Burn(0.99, "ok", PAGE[:1]), min_count=100)
        found = met(saw(rule, [given("error_rate", failing, 100)], 180))
        assert (found[0] if found else None) == expected

    def test_it_ends_when_the_short_window_is_clean(self) -> None:
        rule = AlertRule("s", "burn_rate", "gt", 14.4, basis=Burn(0.99, "ok", PAGE[:1]), min_count=100)
        found = met(saw(rule, [given("error_rate", "0x119 0.6x29 0x60", 100)], 200))
        # 1,800 of 6,000 failed in the hour; the last five minutes hold 14.4 % only while two of them are bad
        assert (found[0], found[-1]) == (135, 153)

    def test_few_calls_or_few_failures_are_no_burn(self) -> None:
        basis = Burn(0.99, "ok", PAGE[:1], min_failures=3)
        few = [given("error_rate", "0x58 1", 2)]
        assert met(saw(AlertRule("s", "burn_rate", "gt", 1.0, basis=basis, min_count=10), few, 60)) == []
        basis = Burn(0.99, "ok", (BurnWindows(60, 5, 1.0),), min_failures=2)
        assert met(saw(AlertRule("s", "burn_rate", "gt", 1.0, basis=basis, min_count=10), few, 60)) == [60]
        assert met(saw(AlertRule("s", "burn_rate", "gt", 1.0, basis=basis, min_count=121), few, 60)) == []

    def test_good_may_be_any_condition(self) -> None:
        basis = Burn(0.9, "ok and latency_ms<1000", (BurnWindows(10, 1, 1.0),))
        series = [given("latency_ms", "500x9 2000x4", 10)]
        assert met(saw(AlertRule("s", "burn_rate", basis=basis), series, 15)) == [12, 13, 14, 15]

    @pytest.mark.parametrize(
        ("failing", "left", "sentence"),
        [
            # 10 calls a minute over a day are 14,400, of which 0.99 lets 144 fail
            (
                "0x1439",
                1.0,
                "100 % of the error budget is left (100 % of 14,400 calls were good in 30d, objective 99 %)",
            ),
            ("0.1x71 0x1367", 0.5, "50 % of the error budget is left"),
            ("0.1x215 0x1223", -0.5, "the error budget is overdrawn by 50 %"),
        ],
    )
    def test_what_is_left_of_the_budget(self, failing: str, left: float, sentence: str) -> None:
        slo = Slo("s", 0.99, "ok")
        fold = StreamsFold(list(slo.streams))
        fold.add(calls_of([given("error_rate", failing)], START_US), [])
        (found,) = slo_statuses([slo], complete(list(slo.streams), [fold.result()]), START + 1440)
        assert found.budget_left == pytest.approx(left)
        assert sentence in found.sentence

    def test_without_calls_nothing_is_said_of_the_budget(self) -> None:
        slo = Slo("s", 0.99, "ok")
        fold = StreamsFold(list(slo.streams))
        (found,) = slo_statuses([slo], complete(list(slo.streams), [fold.result()]), START)
        assert (None, "s: no calls in 30d") == (found.budget_left, found.sentence)

    def test_faults_are_listed(self) -> None:
        with pytest.raises(ConfigError) as caught:
            rules_of(slos=[{"objective": 99.9, "good": "latency_ms<", "windows": "30d"}])
        for fault in ("name: is missing", "objective: must be a share", "good:", "windows: unknown key"):
            assert fault in str(caught.value)


class TestBudgets:
    def budget(self, **table: Any) -> tuple[AlertRule, ...]:
        return rules_of(budgets=[{"name": "b", "amount_usd": 14.4, "per": "day", **table}])

    def test_each_threshold_is_met_once_a_period(self) -> None:
        # a cent a minute is 14.40 a day
        half, most, whole, _ = self.budget()
        series = [given("cost_total_usd", "0.01x2879")]
        assert met(saw(half, series, 2880)) == [*range(720, 1441), *range(1440 + 720, 2881)]
        assert met(saw(most, series, 2880))[0] == 1152
        assert met(saw(whole, series, 2880)) == [1440, 2880]

    def test_the_day_is_that_of_the_time_zone(self) -> None:
        half = self.budget(timezone="Asia/Kolkata")[0]  # whose day begins at 18:30 UTC
        series = [given("cost_total_usd", "0.01x2879")]
        assert met(saw(half, series, 2880)) == [*range(720, 1111), *range(1110 + 720, 2551), *range(2550 + 720, 2881)]

    def test_groups_have_budgets_of_their_own(self) -> None:
        half = self.budget(by=["feature"])[0]
        series = [given("cost_total_usd", "0.01x1439", feature="a"), given("cost_total_usd", "0.001x1439", feature="b")]
        evaluation = saw(half, series, 1440)
        assert ((("feature", "a"),), (("feature", "b"),)) == evaluation.groups
        assert (met(evaluation, 0)[0], met(evaluation, 1)) == (720, [])

    def test_an_overrun_is_foreseen_by_the_pace_without_history(self) -> None:
        projected = self.budget(thresholds=[100])[-1]
        assert "b projected" == projected.name
        # two cents a minute will be 28.80; nothing is said before a fifth of the day, 288 minutes, is over
        assert met(saw(projected, [given("cost_total_usd", "0.02x1439")], 1440))[0] == 300
        assert met(saw(projected, [given("cost_total_usd", "0.009x1439")], 1440)) == []

    def test_an_overrun_is_foreseen_from_the_weeks_before(self) -> None:
        # 60 days at 14.40 before 1 May, and May like them: 446.40; a fifth of May would be over on the 7th
        projected = self.budget(amount_usd=440, per="month", thresholds=[100])[-1]
        days, series = 60 * 1440, [given("cost_total_usd", f"0.01x{61 * 1440}", 1)]
        evaluation = saw(projected, series, days + 120, days + 30)
        assert met(evaluation) == list(range(days + 30, days + 121))
        assert "the spend is expected to come to $446.40" in evaluation.observation(0, 0).note
        assert met(saw(self.budget(amount_usd=450, per="month")[-1], series, days + 120, days + 30)) == []

    def test_one_expensive_day_is_not_carried_on(self) -> None:
        # 1 May costs 72 dollars, the days around it 14.40: by its pace May would come to 638 on the 7th, in fact to 504
        days = 60 * 1440
        series = [given("cost_total_usd", f"0.01x{days - 1} 0.05x1439 0.01x{6 * 1440}", 1)]
        last = days + 7 * 1440 - 1
        assert met(saw(self.budget(amount_usd=560, per="month")[-1], series, last, last - 60)) == []
        assert met(saw(self.budget(amount_usd=480, per="month")[-1], series, last, last - 60))

    def test_the_sentence_says_how_much_of_what(self) -> None:
        half = self.budget()[0]
        evaluation = saw(half, [given("cost_total_usd", "0.01x1439")], 1440)
        assert (
            "the spend is $7.20, 50 % of the $14.40 for the day from 2026-03-02" == evaluation.observation(0, 719).note
        )

    def test_a_rolling_budget_is_about_the_last_hours_to_the_minute(self) -> None:
        rules = self.budget(per="2h", amount_usd=1.2, thresholds=[100])
        assert ["b 100 %"] == [rule.name for rule in rules]
        evaluation = saw(rules[0], [given("cost_total_usd", "0.01x199 0x99")], 300)
        assert met(evaluation) == [*range(120, 201)]
        assert 1200 == evaluation.count[0, 119]
        assert "the spend is $1.20, 100 % of the $1.20 for any 2h" == evaluation.observation(0, 130).note

    @pytest.mark.parametrize("per", ["30m", "32d", "1h30s", "fortnight"])
    def test_other_lengths_are_faults(self, per: str) -> None:
        with pytest.raises(ConfigError, match="per: must be day, week, month"):
            self.budget(per=per)

    @pytest.mark.parametrize(
        ("period", "tz", "moment", "begins"),
        [
            ("week", "UTC", "2026-03-04T12:00", "2026-03-02T00:00:00Z"),
            ("month", "UTC", "2026-03-31T23:59", "2026-03-01T00:00:00Z"),
            ("month", "America/New_York", "2026-04-01T03:59", "2026-03-01T05:00:00Z"),
            ("month", "America/New_York", "2026-04-01T04:00", "2026-04-01T04:00:00Z"),
            ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00:00Z"),
            ("day", "Europe/Berlin", "2026-03-30T12:00", "2026-03-29T22:00:00Z"),
        ],
    )
    def test_when_a_period_begins(self, period: str, tz: str, moment: str, begins: str) -> None:
        minute = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) // 60
        starts = period_starts(Spend(1.0, period, tz, 1.0), minute, minute)
        assert iso(int(starts[0]) * MINUTE_US) == begins
        assert starts[1] > minute

    def test_faults_are_listed(self) -> None:
        with pytest.raises(ConfigError) as caught:
            self.budget(amount_usd=0, per="hour", timezone="Mars", thresholds=[0])
        for fault in (
            "amount_usd: must be more than 0",
            "per: must be day, week, month, or a duration",
            "timezone: unknown",
            "thresholds: must be",
        ):
            assert fault in str(caught.value)

    def test_names_are_told_apart(self) -> None:
        rule = {"name": "b 50 %", "metric": "error_rate", "threshold": 1}
        with pytest.raises(ConfigError, match="two have the name 'b 50 %'"):
            rules_of(rules=[rule], budgets=[{"name": "b", "amount_usd": 1}])
