"""`cost --invoice`: what a provider billed beside what the log says, by day and model, and what explains the gap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import InputError, reason_of
from llmmon.ingest.query import Query, Read, read
from llmmon.metrics.columns import Columns
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS
from llmmon.pricing.audit import add_sums, sums_by
from llmmon.pricing.cost_modes import AS_READ, PRICED_BY
from llmmon.pricing.costs import calculate, charge, price, quote
from llmmon.pricing.model_names import parse, provider_of
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.usage import failed, uncached, usage_of
from llmmon.reports.invoice_forms import Invoice, InvoiceLine, read_invoice
from llmmon.text.times import DAY_US, HOUR_US, MONTH_US


class Gap(StrEnum):
    """Why an invoice and a log differ."""

    MISSING_CALLS = "missing_calls"
    RETRIES = "retries"
    NOT_BILLED = "not_billed"
    TOKENS = "tokens"
    CACHE = "cache"
    TIER = "tier"
    PRICE = "price"


GAPS: Final[Mapping[Gap, str]] = {
    Gap.MISSING_CALLS: "billed, and not in the log",
    Gap.RETRIES: "failed calls, logged without a cost",
    Gap.NOT_BILLED: "in the log, and not billed",
    Gap.TOKENS: "as many calls, other token counts",
    Gap.CACHE: "cached tokens differ in count or price",
    Gap.TIER: "another tier (batch, flex, priority)",
    Gap.PRICE: "another price for the same tokens",
}


class Usage(msgspec.Struct):
    """Sums over calls, in US dollars and tokens; prompts in disjoint parts, in the order of `_PARTS`."""

    usd: float = 0.0
    calls: float | None = None
    tokens: tuple[float, ...] | None = None  # uncached, cached, written, written for an hour, output


class CellRow(msgspec.Struct, frozen=True):
    """A day (or month), a model, or both: the invoice, the log, and the gap between them by class, in US dollars."""

    period_us: int | None
    model: str | None
    invoice_usd: float
    log_usd: float
    gap_usd: float
    invoice_calls: float | None
    log_calls: int
    classes: Mapping[Gap, float]


class InvoiceReport(msgspec.Struct, frozen=True):
    """All cells, by period and by model; `outside_usd` is what the log spent outside the invoice's time or vendor.

    `priced` says that the exports hold no amounts, so that the list's prices were put on their tokens.
    """

    forms: tuple[str, ...]
    price_table: str
    every_us: int
    start_us: int
    end_us: int
    total: CellRow
    periods: tuple[CellRow, ...]
    models: tuple[CellRow, ...]
    cells: tuple[CellRow, ...]
    explanations: Mapping[Gap, str]
    outside_calls: int
    outside_usd: float
    priced: bool
    notes: tuple[str, ...]


_FIELDS: Final = PRICED_BY | {"timestamp"}
_BY: Final = ("model", "provider", "service_tier")
_SUMS: Final = ("calls", "free", "unpriced", "cost", "listed", "plain", "fresh", "cached", "written", "hour", "output")
_PARTS: Final = 5
_SAME: Final = 0.005  # relative, and beside it
_CENT: Final = 0.01  # dollars: exports round to cents


def match_invoice(query: Query, paths: Sequence[str]) -> tuple[InvoiceReport, Read]:
    """The invoice of one or several exports beside the log; raises `InputError` for what cannot be read."""
    invoices = [_read(path) for path in paths]
    lines = [line for invoice in invoices for line in invoice.lines]
    daily = all(line.end_us - line.start_us <= DAY_US + 2 * HOUR_US for line in lines)
    grouping = Grouping(_BY, DAY_US if daily else MONTH_US)
    table = PriceTable.of(query.prices)
    as_logged = msgspec.structs.replace(query, cost=AS_READ)
    done = read(as_logged, _FIELDS, lambda: _LogFold(table, grouping, query.wall_us))
    return _Matched(invoices, grouping, table, done.results).report(), done


def _read(path: str) -> Invoice:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
    return read_invoice(data, path)


class _LogFold:
    """Sums of the calls by period, model, provider and tier."""

    def __init__(self, table: PriceTable, grouping: Grouping, undated_us: int) -> None:
        self._table, self._grouping, self._undated_us = table, grouping, undated_us
        self._parts: list[dict[Any, tuple[int, ...]]] = []

    def add(self, columns: Columns, _samples: object = None) -> None:
        """Add a block; `columns` carry `cost_usd` as logged."""
        if not columns.size:
            return
        usage, quoted = usage_of(columns), quote(columns, self._table, self._undated_us)
        priced = price(columns, self._table, undated_us=self._undated_us)
        cost, zero = priced.number("cost_usd"), np.zeros(columns.size)
        plain = charge(uncached(uncached(usage, reads=True), reads=False), quoted)
        parts = (usage.uncached, usage.cache_read, usage.cache_write, usage.cache_write_1h)
        output = usage.output if usage.reasoning is None else usage.output + usage.reasoning
        sums = (
            *(np.ones(columns.size), failed(columns) & ~(cost > 0), np.isnan(calculate(columns, self._table)), cost),
            *(calculate(columns, self._table, self._undated_us), plain),
            *(zero if part is None else part for part in (*parts, output)),
        )
        self._parts.append(sums_by(columns, self._grouping, *sums))
        if len(self._parts) > 64:
            self._parts = [add_sums(self._parts)]

    def result(self) -> dict[Any, tuple[int, ...]]:
        """The sums of each group."""
        return add_sums(self._parts)


class _Log(msgspec.Struct):
    """The calls of a cell: sums as in `_SUMS`, and the names that they have in the log."""

    sums: tuple[int, ...] = (0,) * len(_SUMS)
    names: dict[tuple[str | None, str | None], int] = {}

    @property
    def usage(self) -> Usage:
        """In public units."""
        found = dict(zip(_SUMS, self.sums, strict=True))
        tokens = tuple(float(found[name]) for name in ("fresh", "cached", "written", "hour", "output"))
        return Usage(found["cost"] / NANO_DOLLARS, float(found["calls"]), tokens)

    def of(self, name: str) -> float:
        """One of the sums; costs in US dollars."""
        value = float(self.sums[_SUMS.index(name)])
        return value / NANO_DOLLARS if name in ("cost", "listed", "plain") else value


class _Billed(msgspec.Struct):
    """The lines of a cell: their amount (None: only usage is known), and usage by tier (None: not said)."""

    usd: float | None = None
    calls: float | None = None
    by_tier: dict[str | None, list[float]] = {}
    cached_known: bool = True
    name: str | None = None


class _Matched:
    """The cells of an invoice and a log, under common names of models."""

    def __init__(
        self, invoices: Sequence[Invoice], grouping: Grouping, table: PriceTable, results: Sequence[dict[Any, Any]]
    ) -> None:
        self._invoices, self._grouping, self._table = invoices, grouping, table
        lines = [line for invoice in invoices for line in invoice.lines]
        self.start_us, self.end_us = min(line.start_us for line in lines), max(line.end_us for line in lines)
        self.first, self.last = grouping.numbers(np.array([self.start_us, self.end_us - 1])).tolist()
        vendors = {invoice.vendor for invoice in invoices}
        self._vendor = vendors.pop() if len(vendors) == 1 else None
        self.outside_calls, self.outside = 0, 0
        self.log: dict[tuple[int, str], _Log] = {}
        for group, sums in add_sums(results).items():
            self._take(group, sums)
        self.known = sorted({model for _, model in self.log}, key=len, reverse=True)
        self.billed: dict[tuple[int, str | None], _Billed] = {}
        for line in lines:
            self._bill(line)

    def _take(self, group: tuple[Any, ...], sums: tuple[int, ...]) -> None:
        number, model, provider, _tier = group
        inside = self.first <= number <= self.last and _is_of(self._vendor, model, provider)
        if not inside:
            self.outside_calls += sums[_SUMS.index("calls")]
            self.outside += sums[_SUMS.index("cost")]
            return
        cell = self.log.setdefault((number, common_name(model or "")), _Log(names={}))
        cell.sums = tuple(map(sum, zip(cell.sums, sums, strict=True)))
        cell.names[model, provider] = cell.names.get((model, provider), 0) + sums[0]

    def _bill(self, line: InvoiceLine) -> None:
        number = int(self._grouping.numbers(np.array([line.start_us]))[0])
        name = None if line.model is None else self._named(line.model)
        cell = self.billed.setdefault((number, name), _Billed(by_tier={}))
        cell.name = cell.name or line.model
        if line.usd is not None:
            cell.usd = (cell.usd or 0.0) + line.usd
        if line.calls is not None:
            cell.calls = (cell.calls or 0.0) + line.calls
        if line.output is not None:
            parts = [line.uncached, line.cached, line.written, line.written_1h, line.output]
            cell.cached_known &= line.cached is not None
            tier = line.tier if line.tier not in ("standard", "default") else ""
            before = cell.by_tier.get(tier, [0.0] * _PARTS)
            cell.by_tier[tier] = [old + (new or 0.0) for old, new in zip(before, parts, strict=True)]

    def _named(self, text: str) -> str:
        """The common name of a model on the invoice: one of the log's where it names it."""
        name = common_name(text)
        if name in self.known:
            return name
        return next((k for k in self.known if k and re.search(rf"(?:^|-){re.escape(k)}(?:-|$)", name)), name)

    def report(self) -> InvoiceReport:
        """What is shown."""
        priced = all(cell.usd is None for cell in self.billed.values())
        cells = [self._cell(number, model) for number, model in sorted({*self.log, *self.billed}, key=_order)]
        cells = list(_uniform(cells))
        notes = tuple(_notes(self._invoices))
        return InvoiceReport(
            forms=tuple(dict.fromkeys(invoice.form for invoice in self._invoices)),
            price_table=self._table.version,
            every_us=self._grouping.every_us,
            start_us=self.start_us,
            end_us=self.end_us,
            total=_together(cells, None, None),
            periods=tuple(_grouped(cells, "period_us")),
            models=tuple(sorted(_grouped(cells, "model"), key=lambda row: -max(row.invoice_usd, row.log_usd))),
            cells=tuple(cells),
            explanations=GAPS,
            outside_calls=self.outside_calls,
            outside_usd=self.outside / NANO_DOLLARS,
            priced=priced,
            notes=notes,
        )

    def _cell(self, number: int, model: str | None) -> CellRow:
        log, billed = self.log.get((number, model or "")), self.billed.get((number, model))
        start = self._grouping.bucket_start(number)
        prices = _Prices(self._table, log, billed, start)
        listed = prices.billed(billed) if billed is not None else None
        invoice = 0.0 if billed is None else billed.usd if billed.usd is not None else listed or 0.0
        logged = 0.0 if log is None else log.usage.usd
        classes = _explained(log, billed, invoice, prices)
        return CellRow(
            period_us=start,
            model=model,
            invoice_usd=invoice,
            log_usd=logged,
            gap_usd=invoice - logged,
            invoice_calls=None if billed is None else billed.calls,
            log_calls=0 if log is None else int(log.of("calls")),
            classes=classes,
        )


def _order(key: tuple[int, str | None]) -> tuple[int, str]:
    return key[0], key[1] or ""


_OPENAI: Final = re.compile(
    r"gpt|o\d|chatgpt|codex|text-embedding-(?:3|ada)|whisper|tts|dall-e|davinci|babbage|omni|ft:"
)
_DATED: Final = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d|latest|v\d+(?:[:-]\d+)?|\d{4})$|:free$")


def common_name(model: str) -> str:
    """A model's name without provider, date and differences of spelling: `Claude Sonnet 4.5` is `claude-sonnet-4-5`."""
    name = re.sub(r"[\s_.,]+", "-", parse(model, None).bare.strip().casefold()).strip("-")
    return _DATED.sub("", _DATED.sub("", name))


def _is_of(vendor: str | None, model: str | None, provider: str | None) -> bool:
    """Whether a vendor may have billed calls of a model."""
    if vendor is None:
        return True
    if provider is not None and provider_of(provider) not in (None, vendor):
        return False
    name = common_name(model or "")
    return name.startswith("claude") if vendor == "anthropic" else _OPENAI.match(name) is not None


class _Prices:
    """What tokens of a cell cost at the list's prices of its time."""

    def __init__(self, table: PriceTable, log: _Log | None, billed: _Billed | None, time_us: int) -> None:
        names = sorted(log.names, key=lambda name: -log.names[name]) if log is not None else []
        model, provider = names[0] if names else (billed.name if billed else None, None)
        self._listing = table.listing(model, provider) if model else None
        if self._listing is None and model:
            self._listing = table.listing(common_name(model), None)
        self._time_us = time_us

    def of(self, tokens: Sequence[float], tier: str = "") -> float | None:
        """US dollars for tokens in the order of `Usage.tokens`; None without a price."""
        quoted = None if self._listing is None else self._listing.at(self._time_us, tier)
        if quoted is None:
            return None
        rates = quoted.rates.rows[0][:_PARTS]
        costs = [amount * rate for amount, rate in zip(tokens, rates, strict=True) if amount]
        return None if any(cost != cost for cost in costs) else sum(costs) / NANO_DOLLARS

    def billed(self, billed: _Billed) -> float | None:
        """What the tokens on the invoice cost in their tiers."""
        found = [self.of(tokens, tier or "") for tier, tokens in billed.by_tier.items()]
        return None if any(cost is None for cost in found) else sum(cost for cost in found if cost is not None)


def _explained(log: _Log | None, billed: _Billed | None, invoice: float, prices: _Prices) -> dict[Gap, float]:
    """The gap of a cell by class; what is within the rounding of exports has none."""
    logged = 0.0 if log is None else log.usage.usd
    gap = invoice - logged
    if abs(gap) <= max(_SAME * max(invoice, logged), _CENT):
        return {}
    if log is None:
        return {Gap.MISSING_CALLS: gap}
    if billed is None:
        return {Gap.NOT_BILLED: gap}
    found: dict[Gap, float] = {}
    listed = log.of("listed") if not log.of("unpriced") else None
    if listed is not None and abs(own := listed - logged) > _SAME * listed and abs(gap - own) < abs(gap):
        uncounted = abs(logged - log.of("plain")) <= 0.01 * logged and log.of("cached") > 0
        found[Gap.CACHE if uncounted else Gap.PRICE] = own
    parts = _by_tokens(log, billed, invoice, prices, listed) or _by_amount(log, invoice, prices, listed)
    for gap_class, amount in parts:
        found[gap_class] = found.get(gap_class, 0.0) + amount
    rest = gap - sum(found.values())
    if abs(rest) > _CENT:
        found[Gap.PRICE] = found.get(Gap.PRICE, 0.0) + rest
    return {kind: amount for kind, amount in found.items() if abs(amount) > max(_SAME * abs(gap), 1e-9)}


def _by_tokens(
    log: _Log, billed: _Billed, invoice: float, prices: _Prices, listed: float | None
) -> list[tuple[Gap, float]]:
    """From the list's price of the log's tokens, step by step, to that of the invoice's tokens in their tiers."""
    if not billed.by_tier or listed is None:
        return []
    mine = log.usage.tokens or ()
    theirs = [sum(column) for column in zip(*billed.by_tier.values(), strict=True)]
    prompt, before = sum(theirs[:4]), sum(mine[:4])
    mixed = [prompt * part / before if before else part for part in mine[:4]] + [theirs[4]]
    if not billed.cached_known:
        theirs = mixed
    standard, volume, cached = prices.of(mine), prices.of(mixed), prices.of(theirs)
    in_tiers = prices.billed(billed) if billed.cached_known else None
    if standard is None or volume is None or cached is None:
        return []
    found = [*_by_calls(log, billed.calls, volume - standard), (Gap.CACHE, cached - volume)]
    tiered = listed - standard  # what tiers and long prompts change in the log
    said = any(tier is not None for tier in billed.by_tier)
    if said and in_tiers is not None:
        found.append((Gap.TIER, in_tiers - cached - tiered))
    elif factor := _tier_factor(prices, theirs, invoice / cached if cached else 0.0):
        found.append((Gap.TIER, cached * (factor - 1) - tiered))
    return found


def _by_calls(log: _Log, calls: float | None, amount: float) -> list[tuple[Gap, float]]:
    """The cost of more or fewer tokens, by what the numbers of calls say."""
    if calls is None or amount < 0:
        return [(Gap.MISSING_CALLS if amount > 0 else Gap.NOT_BILLED, amount)]
    more = calls - (log.of("calls") - log.of("free"))
    if more <= 0:
        return [(Gap.TOKENS, amount)]
    retried = min(1.0, log.of("free") / more)
    return [(Gap.RETRIES, amount * retried), (Gap.MISSING_CALLS, amount * (1 - retried))]


_TIERS: Final = ("batch", "flex", "priority")


def _tier_factor(prices: _Prices, tokens: Sequence[float], ratio: float) -> float | None:
    """The factor of a service tier that explains a ratio of amounts; None if none does."""
    standard = prices.of(tokens)
    for tier in _TIERS:
        other = prices.of(tokens, tier)
        if standard and other and other != standard and abs(ratio - other / standard) <= 0.01 * other / standard:
            return other / standard
    return None


def _by_amount(log: _Log, invoice: float, prices: _Prices, listed: float | None) -> list[tuple[Gap, float]]:
    """The likely cause where the invoice has amounts only."""
    base = listed if listed is not None else log.usage.usd
    rest = invoice - base
    if not base or abs(rest) <= _SAME * base:
        return []
    if log.usage.tokens and _tier_factor(prices, log.usage.tokens, invoice / base):
        return [(Gap.TIER, rest)]
    if log.of("cached") and abs(invoice - log.of("plain")) <= 0.01 * invoice:
        return [(Gap.CACHE, rest)]
    billed = log.of("calls") - log.of("free")
    if 0 < rest <= 1.5 * log.of("free") * base / max(billed, 1.0):
        return [(Gap.RETRIES, rest)]
    return [(Gap.MISSING_CALLS if rest > 0 else Gap.NOT_BILLED, rest)]


_FEW_PERIODS: Final = 3


def _uniform(cells: Iterable[CellRow]) -> Iterator[CellRow]:
    """Cells; where a model's amounts alone differ by one and the same factor in all periods, it is the price."""
    rows = list(cells)
    ratios: dict[str | None, list[float]] = {}
    for row in rows:
        if row.invoice_usd and row.log_usd:
            ratios.setdefault(row.model, []).append(row.invoice_usd / row.log_usd)
    same = {
        model
        for model, found in ratios.items()
        if len(found) >= _FEW_PERIODS and max(found) - min(found) <= 0.01 * min(found)
    }
    for row in rows:
        guessed = set(row.classes) in ({Gap.MISSING_CALLS}, {Gap.NOT_BILLED})
        if row.model in same and guessed and row.invoice_calls is None and row.invoice_usd and row.log_usd:
            yield msgspec.structs.replace(row, classes={Gap.PRICE: row.gap_usd})
        else:
            yield row


def _grouped(cells: Sequence[CellRow], by: str) -> Iterator[CellRow]:
    keys = dict.fromkeys(getattr(cell, by) for cell in cells)
    for key in keys:
        mine = [cell for cell in cells if getattr(cell, by) == key]
        yield _together(mine, key if by == "period_us" else None, key if by == "model" else None)


def _together(cells: Sequence[CellRow], period_us: int | None, model: str | None) -> CellRow:
    classes: dict[Gap, float] = {}
    for cell in cells:
        for kind, amount in cell.classes.items():
            classes[kind] = classes.get(kind, 0.0) + amount
    calls = [cell.invoice_calls for cell in cells if cell.invoice_calls is not None]
    return CellRow(
        period_us=period_us,
        model=model,
        invoice_usd=sum(cell.invoice_usd for cell in cells),
        log_usd=sum(cell.log_usd for cell in cells),
        gap_usd=sum(cell.gap_usd for cell in cells),
        invoice_calls=sum(calls) if calls else None,
        log_calls=sum(cell.log_calls for cell in cells),
        classes=dict(sorted(classes.items(), key=lambda pair: -abs(pair[1]))),
    )


def _notes(invoices: Sequence[Invoice]) -> Iterator[str]:
    for invoice in invoices:
        if invoice.partial:
            yield f"{invoice.form}: says that more pages follow; what they hold is missing here"
        if invoice.skipped:
            yield f"{invoice.form}: {invoice.skipped:,} lines could not be read"
