"""Money that bought nothing: which calls, of what kind, found in rows of hashes, times and token counts.

A block of calls becomes rows: calls that are waste by their own outcome, requests to be compared with each other, and
steps of sessions whose cached prompts are followed. Rows of one key are compared once all of them are there. Texts
come as hashes only.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.columns import MISSING_TIME, BoolArray, Columns, FloatArray, IntArray
from llmmon.metrics.definitions import truncations
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import Status
from llmmon.pricing.costs import Quoted, price, quote, token_prices
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.units import BASE
from llmmon.pricing.usage import Usage, gateway_hits, usage_of
from llmmon.text.times import HOUR_US, MINUTE_US


class Waste(StrEnum):
    """A class of waste; a call that fits several counts in the first of them."""

    FAILED = "failed"
    CANCELLED = "cancelled"
    EMPTY = "empty"
    CUT_OFF = "cut_off"
    RETRIED = "retried"
    ANSWERED_BEFORE = "answered_before"
    CACHE_MISSED = "cache_missed"
    CACHE_UNREAD = "cache_unread"


class Evidence(StrEnum):
    """What says that two requests are the same."""

    OUTCOME = "outcome"  # no other request is needed
    TEXT = "text"
    HASH = "hash"
    ATTEMPT = "attempt"
    SIZE = "size"  # the same session sent a prompt of the same size to the same model
    CACHE = "cache"  # the counts of cached tokens


CLASSES: Final = tuple(Waste)
EVIDENCE: Final = tuple(Evidence)
PROMPT_HASH: Final = "prompt_hash"  # columns that `hashed` makes
_OUTPUT_EMPTY: Final = "output_empty"
RETRY_US: Final = 10 * MINUTE_US  # an identical request of the same asker within this time is a retry
AGAIN_US: Final = HOUR_US  # within which an answer that was cut off is asked for again
TTL_US: Final = 5 * MINUTE_US  # of a cached prompt, after its last use
_LONG_TTL_US: Final = HOUR_US
_NOT_TEXT: Final = ("input_image_tokens", "input_audio_tokens", "input_video_tokens")
_NO_HASH: Final = frozenset({"cache off", "none", "null"})
_TOOLS: Final = frozenset({"tool_calls", "tool_use", "function_call", "tool_call"})
_NO_ANSWERS: Final = ("embed", "rerank", "moderation", "transcri", "speech", "image", "count_tokens")

Rows = NDArray[Any]
FOUND: Final = np.dtype(
    [
        *(("position", "i8"), ("rank", "i4"), ("time", "i8"), ("amount", "i8"), ("partner", "i8"), ("group", "i4")),
        *(("waste", "i1"), ("evidence", "i1")),
    ]
)
REQUESTS: Final = np.dtype(
    [
        *(("key", "u8"), ("asker", "u8"), ("position", "i8"), ("rank", "i4"), ("time", "i8"), ("end", "i8")),
        *(("amount", "i8"), ("group", "i4"), ("attempt", "i4"), ("evidence", "i1"), ("cut", "?"), ("lost", "?")),
    ]
)
STEPS: Final = np.dtype(
    [
        *(("key", "u8"), ("model", "u8"), ("position", "i8"), ("rank", "i4"), ("time", "i8"), ("amount", "i8")),
        *(("group", "i4"), ("prompt", "u4"), ("read", "u4"), ("written", "u4"), ("ttl", "i8"), ("premium", "f8")),
        *(("input_price", "f4"), ("write_price", "f4"), ("read_price", "f4"), ("alone", "?")),
    ]
)
UNKNOWN: Final = -1  # an amount that is not known, a partner that there is none of


class WastePlan(msgspec.Struct, frozen=True):
    """Which calls are looked at: the prices, the fields to group by, and the logged hashes that there are."""

    table: PriceTable
    by: tuple[str, ...]
    undated_us: int | None = None
    hash_tags: tuple[str, ...] = ()


def hashed(columns: Columns) -> Columns:
    """The calls with a hash of what was asked and whether the answer is empty, without the texts themselves."""
    prompts, outputs = columns.texts.get("prompt"), columns.texts.get("output")
    systems = columns.text("system") if "system" in columns.texts else None
    numbers: dict[str, FloatArray] = {}
    if prompts is not None:
        pairs = zip(prompts, systems or [None] * columns.size, strict=True)
        numbers[PROMPT_HASH] = np.array([_number_of(text, system) for text, system in pairs], np.float64)
    if outputs is not None:
        numbers[_OUTPUT_EMPTY] = np.array([np.nan if t is None else float(not t.strip()) for t in outputs], np.float64)
    return msgspec.structs.replace(columns, texts={}, numbers={**columns.numbers, **numbers})


_SHORTENED: Final = ("…", "[truncated]", "(truncated)")  # what loggers put at the end of the beginning of a text


def _number_of(text: str | None, system: str | None) -> float:
    """A hash of 52 bits, which a float holds; NaN for no text, and for one that was shortened."""
    if not text or text.rstrip().endswith(_SHORTENED):
        return float("nan")
    whole = text if system is None else f"{system}\0{text}"
    return float(int.from_bytes(blake2b(whole.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 12)


class Block(msgspec.Struct, frozen=True, eq=False):
    """What a block of calls adds: `counts` by name, and rows whose `group` is a place in the fold's groups."""

    counts: dict[str, int]
    totals: dict[int, tuple[int, int]]  # group: calls, cost
    found: Rows
    requests: Rows
    steps: Rows


def rows_of(columns: Columns, plan: WastePlan, index: GroupIndex) -> Block:
    """The rows of a block of calls; `columns` carry `cost_usd` as logged, and `hashed` was applied."""
    calls = _Calls(columns, plan, index)
    own = calls.own
    found = np.zeros(int(np.count_nonzero(own >= 0)), FOUND)
    calls.fill(found, own >= 0)
    found["waste"] = own[own >= 0]
    requests = [rows for rows in (calls.by_text(), *calls.by_attempt(), calls.by_size()) if len(rows)]
    return Block(
        counts=calls.counts(),
        totals=calls.totals(),
        found=found,
        requests=np.concatenate(requests) if requests else np.zeros(0, REQUESTS),
        steps=calls.steps(),
    )


class _Calls:
    """The calls of a block with what decides whether they are waste; arrays have shape (calls,)."""

    def __init__(self, columns: Columns, plan: WastePlan, index: GroupIndex) -> None:
        self.columns = columns
        self._plan = plan
        self.groups, _ = Grouping(plan.by).rows(columns, index)
        self.usage: Usage = usage_of(columns)
        self.quoted: Quoted = quote(columns, plan.table, plan.undated_us)
        priced = price(columns, plan.table, undated_us=plan.undated_us)
        self.cost = priced.number("cost_usd")
        self.unpriced: BoolArray = np.isnan(self.cost) & (priced.number("unpriced") == 1)
        self.billed: BoolArray = ((self.cost > 0) | self.unpriced) & ~gateway_hits(columns)
        self.rank = _rank(columns)
        self.own = self._own()
        self._keys, self._by_hash, self.identified = self._identity()

    def fill(self, rows: Rows, chosen: BoolArray) -> None:
        """Write what all kinds of rows have."""
        columns = self.columns
        rows["position"] = UNKNOWN if columns.positions is None else columns.positions[chosen]
        rows["rank"] = self.rank[chosen]
        rows["time"] = columns.timestamp[chosen]
        rows["amount"] = np.nan_to_num(self.cost[chosen], nan=UNKNOWN)
        rows["group"] = self.groups[chosen]
        if "partner" in (rows.dtype.names or ()):
            rows["partner"] = UNKNOWN

    def _own(self) -> IntArray:
        """The class of calls that are waste by their own outcome, -1 for the others."""
        own = np.full(self.columns.size, UNKNOWN, np.int64)
        own[self.billed & self._empty()] = CLASSES.index(Waste.EMPTY)
        own[self.billed & self._named("status", {Status.CANCELLED})] = CLASSES.index(Waste.CANCELLED)
        own[self.billed & self._named("status", {Status.ERROR})] = CLASSES.index(Waste.FAILED)
        return own

    def _named(self, field: str, wanted: set[Any] | frozenset[str]) -> BoolArray:
        names = self.columns.name(field)
        table = np.array([value.strip().lower() in wanted for value in names.values] + [False])
        found: BoolArray = table[names.codes]
        return found

    def _empty(self) -> BoolArray:
        """Calls whose answer holds nothing: no token, only reasoning, or an empty text."""
        tokens, reasoning = self.columns.number("completion_tokens"), self.columns.number("reasoning_tokens")
        silent = (tokens == 0) | ((tokens > 0) & (reasoning >= tokens)) | (self.columns.number(_OUTPUT_EMPTY) == 1)
        answers = np.ones(self.columns.size, np.bool_)
        for field in ("operation", "model"):
            names = self.columns.name(field)
            table = np.array([not any(w in value.lower() for w in _NO_ANSWERS) for value in names.values] + [True])
            answers &= table[names.codes]
        prices = np.array([each.rates.of("output") != 0 for each in self.quoted.quotes] + [True])
        media = sum((np.nan_to_num(self.columns.number(f"output_{kind}_tokens")) for kind in ("audio", "image")), 0.0)
        found: BoolArray = silent & answers & prices[self.quoted.index] & (media == 0)
        return found & ~self._named("finish_reason", _TOOLS)

    @property
    def cut(self) -> BoolArray:
        """Calls whose answer was cut off at a limit."""
        found = truncations(self.columns)
        return np.zeros(self.columns.size, np.bool_) if found is None else found == 1

    def _requests(self, chosen: BoolArray, keys: NDArray[np.uint64], evidence: Evidence) -> Rows:
        rows = np.zeros(int(np.count_nonzero(chosen)), REQUESTS)
        self.fill(rows, chosen)
        latency = np.nan_to_num(self.columns.number("latency_ms")[chosen]).astype(np.int64)  # microseconds
        rows["end"] = np.where(rows["time"] == MISSING_TIME, MISSING_TIME, rows["time"] + latency)
        rows["key"], rows["evidence"] = keys[chosen], EVIDENCE.index(evidence)
        failed = self._named("status", {Status.ERROR, Status.CANCELLED})
        rows["cut"], rows["lost"] = self.cut[chosen], (failed | (self.own >= 0))[chosen]
        rows["asker"] = self._of_names("user", "session", first=True)[chosen]
        rows["attempt"] = np.nan_to_num(self.columns.number("attempt")[chosen], nan=UNKNOWN)
        return rows

    def _identity(self) -> tuple[NDArray[np.uint64], BoolArray, BoolArray]:
        """A hash of what each call asked, whether the log gave it, and whether there is one."""
        texts = self.columns.number(PROMPT_HASH)
        known = ~np.isnan(texts)
        keys = np.nan_to_num(texts).astype(np.uint64)
        by_hash = np.zeros(self.columns.size, np.bool_)
        for tag in self._plan.hash_tags:
            names = self.columns.name(f"tag.{tag}")
            new = ~known & (names.codes >= 0) & ~self._named(f"tag.{tag}", _NO_HASH)
            keys = np.where(new, _of_values(names.values, names.codes)[names.codes], keys)
            known, by_hash = known | new, by_hash | new
        for field in _NOT_TEXT:
            known &= ~(self.columns.number(field) > 0)
        return keys, by_hash, known

    def by_text(self) -> Rows:
        """Billed, whole calls whose prompt, or a hash of it, is logged."""
        same = _mixed(self._keys, self._of_names("model"), self._of_number("prompt_tokens"))
        chosen = self.identified & self.billed & (self.own < 0)
        rows = self._requests(chosen, same, Evidence.TEXT)
        rows["evidence"][self._by_hash[chosen]] = EVIDENCE.index(Evidence.HASH)
        return rows

    def by_attempt(self) -> Iterator[Rows]:
        """Calls that are logged with the number of their attempt, by their id and by what they belong to."""
        attempts = self.columns.number("attempt")
        known = ~np.isnan(attempts)
        if not known.any():
            return
        ids = self.columns.name("request_id")
        chosen = known & (self.billed | (self.own >= 0) | self._named("status", {Status.ERROR, Status.CANCELLED}))
        yield self._requests(chosen & (ids.codes >= 0), _mixed(self._of_names("request_id"), 1), Evidence.ATTEMPT)
        owner = self._of_names("trace", "session", "user", first=True)
        size = self._of_number("prompt_tokens")
        keys = _mixed(owner, size, self._of_names("feature"))
        yield self._requests(chosen & (owner != 0) & (size != 0), keys, Evidence.ATTEMPT)

    def by_size(self) -> Rows:
        """Calls without a text, by session, model and size of the prompt: one that was cut off may be asked again."""
        owner, size = self._of_names("session", "trace", first=True), self._of_number("prompt_tokens")
        chosen = ~self.identified & self.billed & (self.own < 0) & (owner != 0) & (size != 0)
        if not chosen.any():
            return np.zeros(0, REQUESTS)
        keys = _mixed(owner, size, self._of_names("model"), self._of_names("user"), self._of_names("feature"))
        return self._requests(chosen, keys, Evidence.SIZE)

    def steps(self) -> Rows:
        """Calls of models that cache prompts; `alone` without a session, where only the model tells who reads."""
        columns, usage = self.columns, self.usage
        if usage.cache_read is None and usage.cache_write is None and usage.cache_write_1h is None:
            counted = ~np.isnan(columns.number("cached_tokens"))
        else:
            counted = ~np.isnan(columns.number("cached_tokens")) | ~np.isnan(columns.number("cache_write_tokens"))
        chosen = counted & self.billed & columns.dated & (usage.prompt > 0)
        rows = np.zeros(int(np.count_nonzero(chosen)), STEPS)
        self.fill(rows, chosen)
        session, model = self._of_names("session", "trace", first=True), self._of_names("model")
        rows["key"], rows["model"] = _mixed(session, model)[chosen], model[chosen]
        rows["alone"] = session[chosen] == 0
        short, hour = (np.zeros(columns.size) if it is None else it for it in (usage.cache_write, usage.cache_write_1h))
        read = np.zeros(columns.size) if usage.cache_read is None else usage.cache_read
        for name, tokens in (("prompt", usage.prompt), ("read", read), ("written", short + hour)):
            rows[name] = np.minimum(tokens[chosen], 2.0**32 - 1)
        rows["ttl"] = np.where(hour[chosen] > 0, _LONG_TTL_US, TTL_US)
        prices = token_prices(usage, self.quoted)
        of = {name: prices[:, BASE.index(name)] for name in ("input", "cache_read", "cache_write", "cache_write_1h")}
        paid = short * of["cache_write"] + hour * of["cache_write_1h"]
        with np.errstate(invalid="ignore", divide="ignore"):
            average = np.where(short + hour > 0, paid / (short + hour), of["input"])
        rows["premium"] = (paid - (short + hour) * of["input"])[chosen]
        rows["input_price"], rows["write_price"] = of["input"][chosen], average[chosen]
        rows["read_price"] = of["cache_read"][chosen]
        return rows

    def counts(self) -> dict[str, int]:
        """How many of the billed calls carry what the classes rest on."""
        columns, billed = self.columns, self.billed

        def how_many(known: BoolArray) -> int:
            return int(np.count_nonzero(known & billed))

        cached = ~np.isnan(columns.number("cached_tokens"))
        return {
            "calls": columns.size,
            "billed": int(np.count_nonzero(billed)),
            "unpriced": int(np.count_nonzero(self.unpriced)),
            "cost": int(np.nansum(self.cost)),
            "identified": how_many(self.identified),
            "attempts": how_many(~np.isnan(columns.number("attempt"))),
            "outcomes": how_many(columns.name("status").codes >= 0),
            "finished": how_many(columns.name("finish_reason").codes >= 0),
            "answers": how_many(~np.isnan(columns.number("completion_tokens"))),
            "cached": how_many(cached),
            "in_sessions": how_many(cached & (self._of_names("session", "trace", first=True) != 0)),
            "dated": how_many(columns.dated),
        }

    def totals(self) -> dict[int, tuple[int, int]]:
        """Calls and cost of each group."""
        calls = np.bincount(self.groups)
        cost = np.bincount(self.groups, np.nan_to_num(self.cost))
        return {group: (int(calls[group]), int(cost[group])) for group in np.flatnonzero(calls).tolist()}

    def _of_names(self, *fields: str, first: bool = False) -> NDArray[np.uint64]:
        """A hash of the names, 0 where there is none; with `first` that of the first field which has one."""
        found = np.zeros(self.columns.size, np.uint64)
        for number, field in enumerate(fields, 1):
            names = self.columns.name(field)
            if not names.values or (names.codes < 0).all():
                continue
            values = _mixed(_of_values(names.values, names.codes)[names.codes], number)
            values[names.codes < 0] = 0
            found = np.where(found == 0, values, found) if first else _mixed(found, values)
        return found

    def _of_number(self, field: str) -> NDArray[np.uint64]:
        """A count plus one, 0 where it is missing."""
        values: NDArray[np.uint64] = np.nan_to_num(self.columns.number(field) + 1, nan=0.0).clip(0).astype(np.uint64)
        return values


def _rank(columns: Columns) -> IntArray:
    """Which of the calls of its line each is."""
    if columns.positions is None:
        return np.arange(columns.size)
    new = np.append(True, columns.positions[1:] != columns.positions[:-1])[: columns.size]
    starts = np.flatnonzero(new)
    return np.arange(columns.size) - np.repeat(starts, np.diff(np.append(starts, columns.size)))


def _of_values(values: list[str], codes: NDArray[np.int32] | None = None) -> NDArray[np.uint64]:
    """Hashes of names, those that `codes` use, and 0 for the missing one behind them."""
    hashes = np.zeros(len(values) + 1, np.uint64)
    used = range(len(values)) if codes is None else np.unique(codes[codes >= 0]).tolist()
    for code in used:
        digest = blake2b(values[code].encode("utf-8", "replace"), digest_size=8).digest()
        hashes[code] = int.from_bytes(digest, "big") | 1
    return hashes


def _mixed(*parts: NDArray[np.uint64] | int) -> NDArray[np.uint64]:
    """One hash of several (splitmix64)."""
    found: NDArray[np.uint64] = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            found = (found ^ np.asarray(part, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            found = found ^ (found >> np.uint64(31))
    return found
