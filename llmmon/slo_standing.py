"""How an objective stands: the calls of its window, and what is left of its error budget."""

from __future__ import annotations

import msgspec

from llmmon.alert import Group
from llmmon.durations import duration_text
from llmmon.rules import group_text, number_text


class SloStanding(msgspec.Struct, frozen=True):
    """How an objective stands for one group at a moment: the calls of its window, and what is left of its budget.

    `good_share` and `budget_left` are None without calls; a budget that is overdrawn is negative.
    """

    slo: str
    group: Group
    objective: float
    window_us: int
    calls: int
    failures: int
    good_share: float | None
    budget_left: float | None

    @property
    def sentence(self) -> str:
        """One line for people."""
        whom = f"{self.slo}: {group_text(self.group)}" if self.group else self.slo
        if self.good_share is None or self.budget_left is None:
            return f"{whom}: no calls in {duration_text(self.window_us)}"
        left = f"{self.budget_left:.0%} of the error budget is left".replace("%", " %")
        if self.budget_left < 0:
            left = f"the error budget is overdrawn by {-self.budget_left:.0%}".replace("%", " %")
        good = f"{number_text(self.good_share * 100)} % of {self.calls:,} calls were good"
        return f"{whom}: {left} ({good} in {duration_text(self.window_us)}, objective {self.objective * 100:g} %)"
