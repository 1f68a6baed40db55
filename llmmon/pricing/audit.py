"""What a block of calls adds to the cost analysis: integer sums that merge, and the largest disagreements."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from llmmon.metrics.aggregates import GroupIndex, GroupKey, Run, Values, compact, known_keys
from llmmon.metrics.columns import BoolArray, CodeArray, Columns, FloatArray, IntArray, Names
from llmmon.metrics.grouping import Grouping
from llmmon.pricing.costs import Quoted, calculate, charge, doubtful_zeros, price, quote, without_price
from llmmon.pricing.disagreements import Case, Cause, causes_of, differ
from llmmon.pricing.doubts import Doubt
from llmmon.pricing.model_names import is_self_hosted, parse
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.usage import Usage, failed, gateway_hits, uncached, usage_of
from llmmon.pricing.what_if import Alternative, alternative

# sums of a group, costs in nano-dollars; the order of a group's numbers
FIGURES: Final = (
    *("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "priced_calls", "logged_calls", "logged"),
    *("calculated_calls", "calculated", "unpriced_calls", "certain", "compared_calls", "compared_logged"),
    *("certain_calls", "tokens", "certain_tokens", "unpriced_tokens", "unpriced_silent_calls", "unpriced_without_cost"),
    *("compared_recalculated", "disagreeing_calls", "gateway_hits", "gateway_saved", "read_saved", "write_extra"),
)


class CostPlan(msgspec.Struct, frozen=True):
    """What to find out: fields to group by, models to compare with, how many of the largest disagreements to keep."""

    table: PriceTable
    by: tuple[str, ...] = ("model",)
    as_models: tuple[str, ...] = ()
    undated_us: int | None = None
    largest: int = 10
    every_us: int = 0  # width of the periods to report; 0: none
    tz: str = "UTC"  # in which they begin


class PricedBlock(msgspec.Struct, frozen=True, eq=False):
    """A block of calls with what pricing says about them; costs in nano-dollars, all of shape (calls,)."""

    plan: CostPlan
    columns: Columns
    usage: Usage
    quoted: Quoted
    hits: BoolArray
    doubtful: BoolArray
    logged: FloatArray  # as the log has it
    recalculated: FloatArray
    priced: Columns
    beside: BoolArray  # something other than tokens has no price

    @property
    def cost(self) -> FloatArray:
        """What each call counts for in the total."""
        return self.priced.number("cost_usd")

    @property
    def partial(self) -> BoolArray:
        """Calls of whose usage a part has no price."""
        partial: BoolArray = self.beside | ((self.priced.number("unpriced") == 1) & ~np.isnan(self.cost))
        return partial

    @property
    def compared(self) -> BoolArray:
        """Calls whose logged cost can be checked: not those that are never billed."""
        unbilled = self.hits | (failed(self.columns) & (self.logged == 0))
        compared: BoolArray = ~np.isnan(self.logged) & ~np.isnan(self.recalculated) & ~unbilled
        return compared

    @property
    def disagreeing(self) -> BoolArray:
        """Calls whose logged cost is not the recalculated one."""
        return self.compared & differ(self.logged, self.recalculated)

    @property
    def doubts(self) -> CodeArray:
        """Why the cost of each call is uncertain: a place in `Doubt`, -1 where it is certain; shape (calls,)."""
        found = np.full(self.columns.size, -1, np.int32)
        for doubt, calls in self._doubted():
            found[calls & (found < 0)] = _DOUBTS.index(doubt)
        found[(self.priced.number("unpriced") != 1) & (np.isnan(self.cost) | self.hits)] = -1
        return found

    def _doubted(self) -> Iterator[tuple[Doubt, BoolArray]]:
        """The calls of each doubt, the weightiest first."""
        unknown, logged = np.isnan(self.cost), ~np.isnan(self.priced.number("cost_logged_usd"))
        listed, models = self.quoted.index >= 0, self.columns.name("model")
        yield Doubt.NO_MODEL, unknown & (models.codes < 0)
        yield Doubt.SELF_HOSTED, unknown & ~listed & self._self_hosted
        yield Doubt.NO_PRICE, unknown & ~listed
        yield Doubt.NO_USAGE, unknown & ~self.usage.used
        yield Doubt.PART_WITHOUT_PRICE, self.partial & ~logged
        yield Doubt.INCOMPLETE_USAGE, unknown
        yield Doubt.LOGGED_ZERO, self.doubtful & ~logged
        yield Doubt.CONTRADICTED, logged & self.disagreeing & self.quoted.certain
        for doubt in (Doubt.MODEL_GUESSED, Doubt.DISCOUNT_GUESSED):
            yield doubt, ~logged & self.quoted.doubted(doubt)
        yield Doubt.NO_TIME, ~logged & ~self.columns.dated

    @property
    def _self_hosted(self) -> BoolArray:
        models, providers = self.columns.name("model"), self.columns.name("provider")
        by_model = np.array([parse(name, None).self_hosted for name in models.values] + [False])
        by_provider = np.array([is_self_hosted(name) for name in providers.values] + [False])
        hosted: BoolArray = by_model[models.codes] | by_provider[providers.codes]
        return hosted

    @property
    def tokens(self) -> FloatArray:
        """What each call used, in and out; shape (calls,)."""
        usage = self.usage
        return usage.prompt + usage.output + (0.0 if usage.reasoning is None else usage.reasoning)


_DOUBTS: Final = tuple(Doubt)


def block_of(columns: Columns, plan: CostPlan) -> PricedBlock:
    """Price a block; `columns` carry `cost_usd` as logged, not yet priced."""
    usage, quoted = usage_of(columns), quote(columns, plan.table, plan.undated_us)
    return PricedBlock(
        plan=plan,
        columns=columns,
        usage=usage,
        quoted=quoted,
        beside=without_price(usage, quoted),
        hits=gateway_hits(columns),
        doubtful=doubtful_zeros(columns),
        logged=columns.number("cost_usd"),
        recalculated=calculate(columns, plan.table, plan.undated_us),
        priced=price(columns, plan.table, undated_us=plan.undated_us),
    )


def figures(block: PricedBlock) -> Iterator[tuple[str, FloatArray | BoolArray]]:
    """The figures of each call, NaN for none."""
    logged, calculated = block.priced.number("cost_logged_usd"), block.priced.number("cost_calculated_usd")
    compared, cost = block.compared, block.cost
    yield "calls", np.ones(block.columns.size)
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        yield name, block.columns.number(name)
    yield "priced_calls", ~np.isnan(cost)
    yield "logged_calls", ~np.isnan(logged)
    yield "logged", logged
    yield "calculated_calls", ~np.isnan(calculated)
    yield "calculated", calculated
    yield "unpriced_calls", block.priced.number("unpriced")
    certain, unpriced = block.doubts < 0, block.priced.number("unpriced") == 1
    billed, tokens = ~np.isnan(cost) | unpriced, block.tokens
    yield "certain", np.where(certain, cost, 0.0)
    yield "certain_calls", certain & billed
    yield "tokens", np.where(billed, tokens, 0.0)
    yield "certain_tokens", np.where(certain & billed, tokens, 0.0)
    yield "unpriced_tokens", np.where(unpriced & np.isnan(cost), tokens, 0.0)
    yield "unpriced_without_cost", unpriced & np.isnan(cost)
    yield "unpriced_silent_calls", unpriced & np.isnan(cost) & (tokens == 0)
    yield "compared_calls", compared
    yield "compared_logged", np.where(compared, block.logged, 0.0)
    yield "compared_recalculated", np.where(compared, block.recalculated, 0.0)
    yield "disagreeing_calls", block.disagreeing
    yield "gateway_hits", block.hits
    full = charge(block.usage, block.quoted)
    yield "gateway_saved", np.where(block.hits, full, 0.0)
    yield "read_saved", _difference(block, full, uncached(block.usage, reads=True), sign=1.0)
    yield "write_extra", _difference(block, full, uncached(block.usage, reads=False), sign=-1.0)


def _difference(block: PricedBlock, full: FloatArray, otherwise: Usage, *, sign: float) -> FloatArray:
    """How much more (times `sign`) other usage would have cost; 0 for gateway hits, which are counted apart."""
    if otherwise is block.usage:
        return np.zeros(len(full))
    return np.where(block.hits, 0.0, sign * (charge(otherwise, block.quoted) - full))


_MOST_VALUES: Final = 4_000_000  # costs per request kept exactly; 8 bytes each
COST_UNIT: Final = 10  # nano-dollars, in which costs per request are kept: room for 687 dollars a request
_WHY: Final = ("no price", "no model", "no usage", "incomplete usage", "no price for a part")
_ADDED: Final = "tag.reason"  # a name that the analysis adds to group by
_MERGE_EVERY: Final = 64

Totals = tuple[int, ...]
UnpricedKey = tuple[str | None, str | None, str]  # model, provider, reason
Key = TypeVar("Key", bound=Hashable)


class Disagreement(msgspec.Struct, frozen=True):
    """A call whose logged cost is not what the prices say, in nano-dollars; `position` as in `Columns`."""

    logged: int
    recalculated: int
    cause: Cause
    position: int | None
    timestamp_us: int
    request_id: str | None
    model: str | None
    provider: str | None

    @property
    def rank(self) -> tuple[int, int, str]:
        """The largest first, then the earliest in the log."""
        return -abs(self.logged - self.recalculated), self.position or 0, self.request_id or ""


class CostTally(msgspec.Struct, frozen=True, eq=False):
    """Everything the report needs of some calls; `merge_tallies` adds them up in any order."""

    groups: Mapping[GroupKey, Totals] = {}  # FIGURES
    periods: Mapping[GroupKey, Totals] = {}  # FIGURES, by number of the period and group; only of calls with a time
    kinds: Mapping[GroupKey, Totals] = {}  # usage billed apart, by its kind, number of the period and group
    causes: Mapping[Cause, Totals] = {}  # calls, logged, recalculated
    largest: tuple[Disagreement, ...] = ()
    doubts: Mapping[Doubt, Totals] = {}  # calls, tokens, cost
    unpriced: Mapping[UnpricedKey, Totals] = {}  # calls, prompt tokens, completion tokens
    zeros: Mapping[str | None, Totals] = {}  # model: calls, tokens, calls recalculated, recalculated
    users: Mapping[str | None, Totals] = {}  # priced calls, cost
    costs: Values = Values()  # one group, in units of COST_UNIT
    highest: int = 0
    alternatives: Mapping[str, Alternative] = {}


def tally(columns: Columns, plan: CostPlan) -> CostTally:
    """What a block of calls adds; `columns` carry `cost_usd` as logged, not yet priced."""
    if not columns.size:
        return CostTally()
    block = block_of(columns, plan)
    cost, known = block.cost, ~np.isnan(block.cost)
    causes, largest = _causes(block)
    groups, periods = _groups(block)
    return CostTally(
        groups=groups,
        periods=periods,
        kinds=_kinds(block) if plan.every_us else {},
        causes=causes,
        largest=largest,
        doubts=_doubts(block),
        unpriced=_unpriced(block),
        zeros=_zeros(block),
        users=_by_name(columns, "user", known, np.ones(columns.size), cost),
        costs=_values(cost[known]),
        highest=int(cost[known].max(initial=0)),
        alternatives={
            model: alternative(columns, cost, model, plan.table, plan.undated_us) for model in plan.as_models
        },
    )


def _values(costs: FloatArray) -> Values:
    keys = known_keys(np.zeros(len(costs), np.int64), np.rint(costs / COST_UNIT))
    return Values((Run(np.sort(keys)),)) if len(keys) else Values()


def merge_tallies(tallies: Iterable[CostTally], largest: int = 10) -> CostTally:
    """All tallies as one; of the disagreements the `largest` are kept."""
    parts = list(tallies)
    rows = sorted((row for part in parts for row in part.largest), key=lambda row: row.rank)
    return CostTally(
        groups=add_sums(part.groups for part in parts),
        periods=add_sums(part.periods for part in parts),
        kinds=add_sums(part.kinds for part in parts),
        causes=add_sums(part.causes for part in parts),
        largest=tuple(rows[:largest]),
        doubts=add_sums(part.doubts for part in parts),
        unpriced=add_sums(part.unpriced for part in parts),
        zeros=add_sums(part.zeros for part in parts),
        users=add_sums(part.users for part in parts),
        costs=compact(
            Values(tuple(run for p in parts for run in p.costs.runs), all(p.costs.exact for p in parts)), _MOST_VALUES
        ),
        highest=max((part.highest for part in parts), default=0),
        alternatives=_alternatives(parts),
    )


def _alternatives(parts: list[CostTally]) -> dict[str, Alternative]:
    models = dict.fromkeys(model for part in parts for model in part.alternatives)
    return {
        model: sum((p.alternatives[model] for p in parts if model in p.alternatives), Alternative()) for model in models
    }


def add_sums(tables: Iterable[Mapping[Key, Totals]]) -> dict[Key, Totals]:
    """Tables of sums as one."""
    total: dict[Key, Totals] = {}
    for table in tables:
        for key, sums in table.items():
            found = total.get(key)
            total[key] = sums if found is None else tuple(map(sum, zip(found, sums, strict=True)))
    return total


def _groups(block: PricedBlock) -> tuple[dict[GroupKey, Totals], dict[GroupKey, Totals]]:
    """The figures by group, and by period and group."""
    plan, found = block.plan, dict(figures(block))
    columns = [found[name] for name in FIGURES]
    whole = sums_by(block.columns, Grouping(plan.by), *columns)
    return whole, sums_by(block.columns, Grouping(plan.by, plan.every_us, plan.tz), *columns) if plan.every_us else {}


def _kinds(block: PricedBlock) -> dict[GroupKey, Totals]:
    """Usage that is billed apart from tokens in and out, such as searches or tokens of audio, where there is any."""
    grouping = Grouping(block.plan.by, block.plan.every_us, block.plan.tz)
    found = {kind: sums_by(block.columns, grouping, amounts) for kind, amounts in block.usage.apart.items()}
    return {(kind, *group): sums for kind, groups in found.items() for group, sums in groups.items() if any(sums)}


def _summed(numbers: IntArray, values: FloatArray | BoolArray, size: int) -> FloatArray:
    sums: FloatArray = np.bincount(numbers, np.nan_to_num(values.astype(np.float64)), size).astype(np.float64)
    return sums


def _causes(block: PricedBlock) -> tuple[dict[Cause, Totals], tuple[Disagreement, ...]]:
    rows = np.flatnonzero(block.disagreeing)
    if not len(rows):
        return {}, ()
    columns, logged, right = block.columns.take(rows), block.logged[rows], block.recalculated[rows]
    causes = causes_of(Case(columns, block.plan.table, block.plan.undated_us, logged, right))
    named = msgspec.structs.replace(columns, names={**columns.names, _ADDED: causes})
    sums = _by_names(named, (_ADDED,), np.ones(len(rows)), logged, right)
    order = np.argsort(-np.abs(logged - right), kind="stable")[: block.plan.largest].tolist()
    found = [Cause(causes.values[causes.codes[i]]) for i in order]
    largest = (
        _disagreement(columns, i, int(logged[i]), int(right[i]), cause) for i, cause in zip(order, found, strict=True)
    )
    return {Cause(key[0]): row for key, row in sums.items()}, tuple(largest)


def _disagreement(columns: Columns, row: int, logged: int, recalculated: int, cause: Cause) -> Disagreement:
    def text(name: str) -> str | None:
        names = columns.name(name)
        code = int(names.codes[row])
        return None if code < 0 else names.values[code]

    position = None if columns.positions is None else int(columns.positions[row])
    names = (text("request_id"), text("model"), text("provider"))
    return Disagreement(logged, recalculated, cause, position, int(columns.timestamp[row]), *names)


def _doubts(block: PricedBlock) -> dict[Doubt, Totals]:
    """Calls, tokens and known cost of each reason for doubt."""
    codes = block.doubts
    rows = np.flatnonzero(codes >= 0)
    if not len(rows):
        return {}
    why = Names(codes[rows], [doubt.value for doubt in _DOUBTS])
    columns = block.columns.take(rows)
    named = msgspec.structs.replace(columns, names={**columns.names, _ADDED: why})
    sums = _by_names(named, (_ADDED,), np.ones(len(rows)), block.tokens[rows], block.cost[rows])
    return {Doubt(key[0]): row for key, row in sums.items()}


def _unpriced(block: PricedBlock) -> dict[UnpricedKey, Totals]:
    rows = np.flatnonzero(block.priced.number("unpriced") == 1)
    columns = block.columns.take(rows)
    reason = np.where(block.quoted.index[rows] >= 0, _WHY.index("incomplete usage"), _WHY.index("no price"))
    reason[block.partial[rows]] = _WHY.index("no price for a part")
    reason[~block.usage.used[rows]] = _WHY.index("no usage")
    reason[columns.name("model").codes < 0] = _WHY.index("no model")
    why = Names(reason.astype(np.int32), list(_WHY))
    named = msgspec.structs.replace(columns, names={**columns.names, _ADDED: why})
    tokens = (columns.number("prompt_tokens"), columns.number("completion_tokens"))
    return _by_names(named, ("model", "provider", _ADDED), np.ones(len(rows)), *tokens)


def _zeros(block: PricedBlock) -> dict[str | None, Totals]:
    known = block.doubtful & ~np.isnan(block.recalculated)
    return _by_name(
        block.columns, "model", block.doubtful, np.ones(block.columns.size), block.tokens, known, block.recalculated
    )


def _by_name(columns: Columns, name: str, rows: BoolArray, *values: FloatArray | BoolArray) -> dict[str | None, Totals]:
    """Totals of values of the given calls, by a name."""
    found = _by_names(columns.take(rows), (name,), *(column[rows] for column in values))
    return {key[0]: sums for key, sums in found.items()}


def _by_names(columns: Columns, names: tuple[str, ...], *values: FloatArray | BoolArray) -> dict[Any, Totals]:
    """Sums of values (NaN as 0), by names."""
    return sums_by(columns, Grouping(names), *values)


def sums_by(columns: Columns, grouping: Grouping, *values: FloatArray | BoolArray) -> dict[Any, Totals]:
    """Sums of values (NaN as 0), by group."""
    if not columns.size:
        return {}
    index = GroupIndex()
    numbers, kept = grouping.rows(columns, index)
    sums = [_summed(numbers, column if kept is None else column[kept], len(index)) for column in values]
    return {group: tuple(int(column[i]) for column in sums) for group, i in index.items()}


class CostFold:
    """A tally of blocks as they come, one after the other."""

    def __init__(self, plan: CostPlan) -> None:
        self._plan = plan
        self._pending: list[CostTally] = []

    def add(self, columns: Columns, _samples: object = None) -> None:
        """Take a block in; `columns` carry `cost_usd` as logged, not yet priced."""
        self._pending.append(tally(columns, self._plan))
        if len(self._pending) >= _MERGE_EVERY:
            self._pending = [self.result()]

    def result(self) -> CostTally:
        """The tally of everything so far."""
        return merge_tallies(self._pending, self._plan.largest)
