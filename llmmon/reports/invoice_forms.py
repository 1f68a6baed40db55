"""Usage and cost exports of providers: a file -> lines of a day (or another period), a model, amounts and tokens.

Each form is one row of `FORMS`: the keys that tell it, and how an object of it is read. What is known of the forms is
public: OpenAI's Usage and Costs API and the CSV exports of its dashboard, Anthropic's usage and cost reports (Admin
API) and the CSV exports of its console, OpenRouter's activity (by call, by day, API), and FOCUS columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson

from llmmon.errors import InputError
from llmmon.text.times import DAY_US, HOUR_US

Object = Mapping[str, Any]


class InvoiceLine(msgspec.Struct, frozen=True):
    """A line of an invoice: times in microseconds UTC, US dollars, tokens (prompts in disjoint parts); None: not said.

    `model` is as the provider writes it, None where the line is of no model; `batch` None where that is not said.
    """

    start_us: int
    end_us: int
    model: str | None
    usd: float | None = None
    calls: float | None = None
    uncached: float | None = None
    cached: float | None = None
    written: float | None = None
    written_1h: float | None = None
    output: float | None = None
    tier: str | None = None
    of: str = ""  # what a line that is of no model is for


class Invoice(msgspec.Struct, frozen=True):
    """The lines of one export; `vendor` is whose models it is about, None for any."""

    form: str
    vendor: str | None
    lines: tuple[InvoiceLine, ...]
    skipped: int  # rows that could not be read
    partial: bool  # whether it says itself that more pages follow


class Form(msgspec.Struct, frozen=True):
    """A form of export: keys that an object of it has, whose it is, and how it is read (None: not a line)."""

    name: str
    vendor: str | None
    keys: tuple[str, ...]
    line: Callable[[Object], InvoiceLine | None]


def read_invoice(data: bytes, name: str) -> Invoice:
    """The lines of an export; raises `InputError` for a form that is not known or has no line that can be read."""
    text = data.decode("utf-8-sig", "replace").strip()
    objects, partial = _objects(text, name)
    form = next((form for form in FORMS if any(_fits(form, each) for each in objects[:_HEAD])), None)
    if form is None:
        keys = ", ".join(list(objects[0])[:12]) if objects else "none"
        known = "; ".join(each.name for each in FORMS)
        raise InputError(f"{name}: not an invoice or export that is known (keys: {keys})", hint=f"known are: {known}")
    lines, skipped = [], 0
    for each in objects:
        try:
            line = form.line(each)
        except (TypeError, ValueError, KeyError, OverflowError):
            skipped += 1
            continue
        if line is not None:
            lines.append(line)
    if not lines:
        raise InputError(f"{name}: no line of this {form.name} can be read ({skipped:,} tried)")
    return Invoice(form.name, form.vendor, tuple(lines), skipped, partial)


_HEAD: Final = 50


def _fits(form: Form, found: Object) -> bool:
    return all(key in found for key in form.keys)


def _objects(text: str, name: str) -> tuple[list[Object], bool]:
    """The rows of a table, or the results of pages of buckets, each with its bucket's times."""
    if not text.startswith(("{", "[")):
        return _rows(text), False
    try:
        pages = [orjson.loads(text)]
    except orjson.JSONDecodeError:
        try:
            pages = [orjson.loads(line) for line in text.splitlines() if line.strip()]
        except orjson.JSONDecodeError as error:
            raise InputError(f"{name}: not valid JSON: {error}") from None
    found = [each for page in pages for each in _results(page, {})]
    partial = isinstance(pages[-1], dict) and pages[-1].get("has_more") is True
    return found, partial


_TIMES: Final = ("start_time", "end_time", "starting_at", "ending_at")


def _results(value: Any, times: Object) -> Iterator[Object]:
    if isinstance(value, list):
        for each in value:
            yield from _results(each, times)
    elif isinstance(value, dict):
        times = {**times, **{key: value[key] for key in _TIMES if key in value}}
        inner = value.get("results", value.get("data"))
        if isinstance(inner, list):
            yield from _results(inner, times)
        else:
            yield {**times, **value}


def _rows(text: str) -> list[Object]:
    head = text.split("\n", 1)[0]
    delimiter = max(",\t;", key=head.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    return [{key.strip(): value for key, value in row.items() if key is not None} for row in rows]


def _number(found: Object, *keys: str) -> float | None:
    """The first of the keys that has a value, as a number; None without one; raises `ValueError`."""
    for key in keys:
        value = found.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        return float(value.replace(",", "").replace("$", "") if isinstance(value, str) else value)
    return None


def _text(found: Object, *keys: str) -> str | None:
    values = (found.get(key) for key in keys)
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), None)


def _moment(value: Any) -> int:
    """Epoch seconds or an ISO date and time -> microseconds UTC; raises `ValueError`."""
    if isinstance(value, str) and re.fullmatch(r"\d{9,11}(?:\.\d+)?", value.strip()):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(value) * 1_000_000
    if not isinstance(value, str):
        raise ValueError("no time")
    when = datetime.fromisoformat(value.strip().replace(" UTC", ""))
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(when.timestamp()) * 1_000_000


def _period(found: Object, start: str, end: str) -> tuple[int, int]:
    begins = _moment(found[start])
    return begins, _moment(found[end]) if found.get(end) else begins + DAY_US


def _openai_usage(found: Object) -> InvoiceLine | None:
    start, end = _period(found, "start_time", "end_time")
    prompt, cached = _number(found, "input_tokens"), _number(found, "input_cached_tokens") or 0.0
    written = _number(found, "input_cache_write_tokens") or 0.0
    if prompt is None and _number(found, "num_model_requests") is None:
        return None  # a day without usage
    batch = str(found.get("batch")).lower() == "true"
    return InvoiceLine(
        *(start, end, _text(found, "model")),
        calls=_number(found, "num_model_requests"),
        uncached=max(0.0, (prompt or 0.0) - cached - written),
        cached=cached,
        written=written,
        output=_number(found, "output_tokens") or 0.0,
        tier="batch" if batch else _text(found, "service_tier"),
    )


_LINE_ITEM: Final = re.compile(r"(?:(\w+) \| )?([\w.:/-]+)((?: [a-z]+)?(?:, [a-z ]+)+)?")


def _openai_cost(found: Object) -> InvoiceLine | None:
    start, end = _period(found, "start_time", "end_time")
    amount = found.get("amount")
    money: Object = amount if isinstance(amount, Mapping) else found
    usd = _number(money, "value", "amount_value")
    if usd is None:
        return None  # a day without costs
    item = _text(found, "line_item")
    return InvoiceLine(*(start, end), *_named(item), usd=_dollars(usd, _text(money, "currency", "amount_currency")))


def _named(item: str | None) -> tuple[str | None]:
    """The model of a line item such as `gpt-4o, cached input` or `priority | gpt-5, output`."""
    match = _LINE_ITEM.fullmatch(item or "")
    return (None,) if match is None else (match[2],)


def _dollars(amount: float, currency: str | None) -> float:
    if currency is not None and currency.upper() != "USD":
        raise ValueError(f"in {currency}, not in US dollars")
    return amount


def _anthropic_usage(found: Object) -> InvoiceLine | None:
    start, end = _period(found, "starting_at", "ending_at")
    written: Any = found.get("cache_creation") or {}
    return InvoiceLine(
        *(start, end, _text(found, "model")),
        uncached=_number(found, "uncached_input_tokens") or 0.0,
        cached=_number(found, "cache_read_input_tokens") or 0.0,
        written=_number(written, "ephemeral_5m_input_tokens") or 0.0,
        written_1h=_number(written, "ephemeral_1h_input_tokens") or 0.0,
        output=_number(found, "output_tokens") or 0.0,
        tier=_text(found, "service_tier"),
    )


def _anthropic_cost(found: Object) -> InvoiceLine | None:
    """Amounts are in cents."""
    start, end = _period(found, "starting_at", "ending_at")
    cents = _number(found, "amount")
    if cents is None:
        return None
    what = _text(found, "description", "cost_type") or ""
    return InvoiceLine(
        *(start, end, _text(found, "model")), usd=_dollars(cents, _text(found, "currency")) / 100, of=what
    )


def _console_usage(found: Object) -> InvoiceLine | None:
    start = _moment(found["usage_date_utc"])
    return InvoiceLine(
        *(start, start + (HOUR_US if len(found["usage_date_utc"]) > 10 else DAY_US), _text(found, "model_version")),
        uncached=_number(found, "usage_input_tokens_no_cache") or 0.0,
        cached=_number(found, "usage_input_tokens_cache_read") or 0.0,
        written=_number(found, "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write") or 0.0,
        written_1h=_number(found, "usage_input_tokens_cache_write_1h") or 0.0,
        output=_number(found, "usage_output_tokens") or 0.0,
        tier=_text(found, "usage_type") if (_text(found, "usage_type") or "") == "batch" else None,
    )


def _console_cost(found: Object) -> InvoiceLine | None:
    start = _moment(found["usage_date_utc"])
    end = start + (HOUR_US if len(found["usage_date_utc"]) > 10 else DAY_US)
    return InvoiceLine(
        start, end, _text(found, "model"), usd=_number(found, "cost_usd"), of=_text(found, "token_type") or ""
    )


def _openrouter_call(found: Object) -> InvoiceLine | None:
    start = _moment(found["created_at"])
    cached, prompt = _number(found, "tokens_cached") or 0.0, _number(found, "tokens_prompt") or 0.0
    return InvoiceLine(
        *(start, start + 1, _text(found, "model_permaslug")),
        usd=_number(found, "cost_total"),
        calls=1.0,
        uncached=max(0.0, prompt - cached),
        cached=cached,
        output=_number(found, "tokens_completion") or 0.0,
    )


def _openrouter_day(found: Object) -> InvoiceLine | None:
    """Prompt tokens include cached ones; how many those are is not exported."""
    start = _moment(_text(found, "Date", "date"))
    return InvoiceLine(
        *(start, start + DAY_US, _text(found, "Slug", "model_permaslug", "model")),
        usd=_number(found, "Usage", "usage"),
        calls=_number(found, "Requests", "requests"),
        uncached=_number(found, "Prompt Tokens", "prompt_tokens") or 0.0,
        output=_number(found, "Completion Tokens", "completion_tokens") or 0.0,
    )


def _focus(found: Object) -> InvoiceLine | None:
    """What is billed for usage; the SKU, the resource or the description names the model."""
    if (_text(found, "ChargeCategory") or "Usage").lower() != "usage":
        return None
    start, end = _period(found, "ChargePeriodStart", "ChargePeriodEnd")
    names = ("x_Model", "x_ModelName", "SkuMeter", "ResourceName", "SkuId", "ChargeDescription", "SkuPriceId")
    usd = _number(found, "BilledCost", "EffectiveCost")
    return InvoiceLine(
        start,
        end,
        _text(found, *names),
        usd=None if usd is None else _dollars(usd, _text(found, "BillingCurrency")),
        of=_text(found, "ServiceName") or "",
    )


# of two that fit the first counts
FORMS: Final = (
    Form("OpenAI cost export", "openai", ("start_time", "amount"), _openai_cost),
    Form("OpenAI cost export", "openai", ("start_time", "amount_value"), _openai_cost),
    Form("OpenAI usage export", "openai", ("start_time", "num_model_requests"), _openai_usage),
    Form("Anthropic usage report", "anthropic", ("starting_at", "uncached_input_tokens"), _anthropic_usage),
    Form("Anthropic cost report", "anthropic", ("starting_at", "amount"), _anthropic_cost),
    Form("Anthropic console usage", "anthropic", ("usage_date_utc", "usage_output_tokens"), _console_usage),
    Form("Anthropic console cost", "anthropic", ("usage_date_utc", "cost_usd"), _console_cost),
    Form("OpenRouter activity by call", None, ("generation_id", "cost_total", "created_at"), _openrouter_call),
    Form("OpenRouter activity by day", None, ("Date", "Slug", "Usage"), _openrouter_day),
    Form("OpenRouter activity by day", None, ("date", "model_permaslug", "usage"), _openrouter_day),
    Form("FOCUS table", None, ("ChargePeriodStart", "BilledCost"), _focus),
    Form("FOCUS table", None, ("ChargePeriodStart", "EffectiveCost"), _focus),
)
