"""Reading the price list: which entry a model name means, and what it costs in a tier at a time.

The entries are plain objects with the attributes of `genai_prices.types` (see `pricedata`).
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from math import nan
from pathlib import PurePath
from types import ModuleType, SimpleNamespace
from typing import Any, Final, Protocol

import msgspec

from llmmon.pricing.doubts import Doubt
from llmmon.pricing.units import LIST_MODULE, units
from llmmon.text.times import DAY_US

KINDS: Final = units()  # by name; the base kinds first


class Rates(msgspec.Struct, frozen=True):
    """What each kind of usage costs.

    `rows` has one row per context tier, in the order of `KINDS`, in nano-dollars for one stored unit of the record's
    field (a token, a request, a search); NaN where the kind has no price. Row i+1 replaces row i for calls with more
    than `starts[i]` prompt tokens: a cliff, the higher rate is paid for all of them.
    """

    rows: tuple[tuple[float, ...], ...]
    starts: tuple[int, ...] = ()

    def times(self, factor: float) -> Rates:
        """All prices, scaled."""
        return Rates(tuple(tuple(price * factor for price in row) for row in self.rows), self.starts)

    def of(self, kind: str) -> float:
        """The price of a kind for short prompts; NaN where it has none."""
        return self.rows[0][list(KINDS).index(kind)]


class Quote(msgspec.Struct, frozen=True):
    """The rates of one model, tier and time; `doubt` where a name, region, date or tier had to be guessed."""

    rates: Rates
    doubt: Doubt | None
    model: str  # as the price list names it

    @property
    def certain(self) -> bool:
        """Whether nothing had to be guessed."""
        return self.doubt is None


FREE: Final = Rates(((0.0,) * len(KINDS),))


def with_stand_ins(prices: Mapping[str, float]) -> tuple[float, ...]:
    """Prices of all kinds, in the order of `KINDS`, in nano-dollars; a kind without one takes its stand-in's."""
    filled: dict[str, float] = {}
    for kind, unit in KINDS.items():
        default = 0.0 if kind == "request" else filled[unit.stand_in] if unit.stand_in else nan
        filled[kind] = prices[kind] * unit.nano if kind in prices else default
    return tuple(filled.values())


PACKAGE: Final = "genai-prices"

_MODULE: Final = LIST_MODULE
_CLASSES: Final = (
    "Provider ModelInfo ModelPrice TieredPrices Tier ConditionalPrice PriceVariant StartDateConstraint "
    "TimeOfDateConstraint ClauseStartsWith ClauseEndsWith ClauseContains ClauseRegex ClauseEquals ClauseOr "
    "ClauseAnd UsageExtractor UsageExtractorMapping ArrayMatch"
).split()
_BROKEN: Final = (ImportError, OSError, SyntaxError, NameError, AttributeError, TypeError, ValueError, KeyError)


class PriceSource(Protocol):
    """Where a price table takes its list prices from; nothing is read before `providers` or `digest` is called."""

    def providers(self) -> Sequence[Any]:
        """The providers with their models, with the attributes of `genai_prices.types.Provider`."""

    def version(self) -> str:
        """The name and version of the list."""

    def digest(self) -> str:
        """A hash of the list's content."""


class BundledPrices(msgspec.Struct, frozen=True):
    """The list in the installed `genai-prices` package; its network updates are never used."""

    def providers(self) -> Sequence[Any]:
        """All providers; empty if the package is missing."""
        return _providers()

    def version(self) -> str:
        """`genai-prices 0.2.3`, or `no price list` if the package is missing."""
        from importlib.metadata import PackageNotFoundError, version  # slow to import

        try:
            return f"{PACKAGE} {version(PACKAGE)}"
        except PackageNotFoundError:
            return "no price list"

    def digest(self) -> str:
        """The hash of the list's file."""
        return _digest()


def stand_in(**fields: Any) -> SimpleNamespace:
    """An object with the given attributes: what the list's constructors make when read without the package."""
    return SimpleNamespace(**fields)


@cache
def _providers() -> tuple[Any, ...]:
    try:
        return tuple(_read_alone())
    except _BROKEN:
        return tuple(_read_by_import())


def _read_alone() -> Sequence[Any]:
    spec = _data_spec()
    module = module_from_spec(spec)
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
    if spec.loader is None:
        raise ImportError(_MODULE)
    spec.loader.exec_module(module)
    found: Sequence[Any] = module.providers
    return found


def _read_by_import() -> Sequence[Any]:
    try:
        from genai_prices.data import providers
    except ImportError:
        return ()
    return providers


def _data_spec() -> ModuleSpec:
    """The path of the list; finding a top-level package does not import it."""
    package = find_spec(_MODULE)
    folders = package.submodule_search_locations if package else None
    if not folders:
        raise ImportError(_MODULE)
    spec = spec_from_file_location(f"{_MODULE}.data", str(PurePath(folders[0], "data.py")))
    if spec is None:
        raise ImportError(_MODULE)
    return spec


def _import(
    name: str,
    globals_: Mapping[str, Any] | None = None,
    locals_: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] = (),
    level: int = 0,
) -> ModuleType:
    """`import` as the list's module sees it: its own package's classes are the stand-ins."""
    if level == 0:
        return builtins.__import__(name, globals_, locals_, fromlist, level)
    module = ModuleType(name)
    vars(module).update(dict.fromkeys(_CLASSES, stand_in))
    return module


@cache
def _digest() -> str:
    from hashlib import sha256  # only reports that show the digest need it

    try:
        loader: Any = _data_spec().loader
        return sha256(loader.get_data(loader.path)).hexdigest()
    except _BROKEN:
        module = sys.modules.get(f"{_MODULE}.data")
        return sha256(repr(getattr(module, "providers", ())).encode()).hexdigest()


NEWEST_US: Final = 1 << 62  # later than every price change
STANDARD_TIERS: Final = frozenset({"", "default", "standard", "auto", "scale", "on_demand", "ondemand", "on-demand"})
BATCH: Final = frozenset({"batch", "batches", "batch_api"})
BATCH_SHARE: Final = 0.5  # what all vendors that sell batches ask, where the list has no batch price for the time
_MOST_DAYS: Final = 36_525  # a hundred years: no log is longer, and times that differ by more are faults
_EPOCH: Final = date(1970, 1, 1)


class Listing(msgspec.Struct, frozen=True, eq=False):
    """All prices of one model over time; `own` if they are an override or a free model's."""

    model: str
    guessed: bool
    own: Rates | None = None
    parts: tuple[Any, ...] = ()  # entries with `prices` and perhaps a `constraint`, a later one wins
    variants: tuple[Any, ...] = ()  # entries that apply `when` the request was of a kind, an earlier one wins

    @property
    def doubt(self) -> Doubt | None:
        """What is uncertain about it being the model's."""
        return Doubt.MODEL_GUESSED if self.guessed else None

    def breaks(self, start_us: int, end_us: int) -> list[int]:
        """The times in (start, end] at which the price may change, in microseconds, ascending."""
        conditions = (_condition(entry) for entry in (*self.parts, *self.variants))
        return sorted({time for condition in conditions for time in _breaks_of(condition, start_us, end_us)})

    def at(self, time_us: int, tier: str) -> Quote | None:
        """The rates at a time in a service tier; None where the list has no token price for the model."""
        if self.own is not None:
            return Quote(self.own, self.doubt, self.model)
        active = tuple(_active(_condition(entry), time_us) for entry in (*self.parts, *self.variants))
        return _quote(self, tier, active)


@lru_cache(maxsize=16_384)
def _quote(listing: Listing, tier: str, active: tuple[bool, ...]) -> Quote | None:
    """The quote in a tier while the given entries (parts, then variants) are active."""
    known = len(listing.parts)
    current = [part for part, holds in zip(listing.parts, active[:known], strict=True) if holds]
    prices = dict(vars((current or listing.parts)[-1 if current else 0].prices))
    matched = tier in STANDARD_TIERS
    for variant, holds in reversed(list(zip(listing.variants, active[known:], strict=True))):
        if holds and _selects(variant.when, _contexts(tier)):
            prices |= {key: price for key, price in vars(variant.prices).items() if price is not None}
            matched = True
    rates = _rates_of(prices)
    if rates is not None and not matched and tier in BATCH:
        rates = rates.times(BATCH_SHARE)
    doubt = listing.doubt or (None if matched else Doubt.DISCOUNT_GUESSED)
    return None if rates is None else Quote(rates, doubt, listing.model)


def _condition(entry: Any) -> Any:
    return getattr(entry, "constraint", None)


def _rates_of(prices: Mapping[str, Any]) -> Rates | None:
    """Rates from a model's entry in the list; None where it has no price for tokens or requests."""
    found = {
        kind: next((prices[key] for key in unit.list_keys if prices.get(key) is not None), None)
        for kind, unit in KINDS.items()
    }
    listed = {kind: price for kind, price in found.items() if price is not None}
    if not listed:
        return None
    starts = sorted({int(tier.start) for price in listed.values() for tier in getattr(price, "tiers", ())})
    sizes = [0, *(start + 1 for start in starts)]
    rows = (with_stand_ins({kind: _price_at(price, size) for kind, price in listed.items()}) for size in sizes)
    return Rates(tuple(rows), tuple(starts))


def _price_at(price: Any, prompt_tokens: int) -> float:
    tiers = getattr(price, "tiers", None)
    if tiers is None:
        return float(price)
    reached = [tier for tier in tiers if prompt_tokens > tier.start]
    return float(max(reached, key=lambda tier: tier.start).price if reached else price.base)


def _contexts(tier: str) -> Mapping[str, str]:
    """What the price list calls a service tier."""
    if tier in BATCH:
        return {"processing": "batch"}
    return {"service_tier": tier, "speed": tier}


def _selects(when: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(wanted.get(key) == value for key, value in when.items())


def _active(condition: Any, time_us: int) -> bool:
    """Whether a price's condition holds; a kind of condition that is not known never does."""
    if condition is None:
        return True
    if hasattr(condition, "start_date"):
        return time_us >= _midnight_us(condition.start_date)
    if hasattr(condition, "start_time"):
        start, end, now = _clock_us(condition.start_time), _clock_us(condition.end_time), time_us % DAY_US
        return start <= now < end if start <= end else now >= start or now < end
    return False


def _breaks_of(condition: Any, start_us: int, end_us: int) -> Iterator[int]:
    if hasattr(condition, "start_date"):
        yield from (time for time in (_midnight_us(condition.start_date),) if start_us < time <= end_us)
    elif hasattr(condition, "start_time") and end_us - start_us < _MOST_DAYS * DAY_US:
        for clock in (_clock_us(condition.start_time), _clock_us(condition.end_time)):
            first = start_us - (start_us - clock) % DAY_US + DAY_US
            yield from range(first, end_us + 1, DAY_US)


def _midnight_us(day: date) -> int:
    return (day - _EPOCH).days * DAY_US


def _clock_us(clock: Any) -> int:
    """A time of day in microseconds, UTC unless it says otherwise."""
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
    offset = clock.utcoffset()
    local = seconds * 1_000_000 + int(clock.microsecond)
    return int(local - (offset.total_seconds() * 1_000_000 if offset else 0)) % DAY_US


def _holds(clause: Any, text: str) -> bool:
    """Whether a matching clause of the price list holds for a name in lower case."""
    match vars(clause):
        case {"equals": str(wanted)}:
            return text == wanted.lower()
        case {"starts_with": str(wanted)}:
            return text.startswith(wanted.lower())
        case {"ends_with": str(wanted)}:
            return text.endswith(wanted.lower())
        case {"contains": str(wanted)}:
            return wanted.lower() in text
        case {"regex": str(wanted)}:
            return re.search(wanted, text) is not None
        case {"or_": clauses}:
            return any(_holds(part, text) for part in clauses)
        case {"and_": clauses}:
            return all(_holds(part, text) for part in clauses)
        case _:
            return False


def listing_of(provider: Any, model: Any, *, guessed: bool) -> Listing | None:
    """A provider's entry for a model as a listing; None if it has no prices at all."""
    prices = model.prices
    # another vendor's request variants say nothing about this provider's
    variants = getattr(model, "price_variants", None) if any(model is own for own in provider.models) else None
    parts = tuple(prices) if isinstance(prices, list) else (model,)
    return Listing(f"{provider.id}/{model.id}", guessed, None, parts, tuple(variants or ())) if parts else None


def find(providers: Sequence[Any], wanted: str | None, model: str) -> tuple[Any, Any] | None:
    """The provider and its entry for a model name; without a provider, the one that the name belongs to."""
    for provider in providers:
        if provider.id == wanted if wanted else _owns(provider, model):
            found = _find_model(provider, model) or _find_elsewhere(providers, provider, model)
            return None if found is None else (provider, found)
    return None


def _owns(provider: Any, model: str) -> bool:
    clause = getattr(provider, "model_match", None)
    return clause is not None and _holds(clause, model)


def _find_model(provider: Any, model: str) -> Any | None:
    return next((entry for entry in provider.models if _holds(entry.match, model) and _is_meant(entry, model)), None)


# what may follow a model's name (or stand before it) without making it another model
_SAME: Final = frozenset(
    (
        "preview latest exp experimental beta rc v rev default us eu apac ap jp au ca global instruct chat it thinking "
        "high medium low minimal xhigh none k m online nitro floor extended batch free"
    ).split()
)


def _is_meant(entry: Any, name: str) -> bool:
    """Whether a name that fits a model's clause is the model's, and does not only begin like it: `gpt-9-weird`."""
    parts = _parts_that_hold(entry.match, name)
    if not parts or name == entry.id.lower() or name.startswith("ft:") or ".ft-" in name:
        return True
    rest = name
    for part in sorted({*parts, entry.id.lower()}, key=len, reverse=True):
        before, found, after = rest.partition(part)
        rest = rest if not found else f"{'' if before.endswith(('.', '/', ':')) else before} {after}"
    return all(word in _SAME for word in re.findall(r"[a-z]+", rest))


def _parts_that_hold(clause: Any, name: str) -> list[str]:
    """The texts of the clauses that hold without being the whole name; none if one is the whole, or its pattern."""
    found: list[str] = []
    for each in _leaves(clause):
        if _holds(each, name):
            match vars(each):
                case {"starts_with": str(part)} | {"ends_with": str(part)} | {"contains": str(part)}:
                    found.append(part.lower())
                case {"regex": str(pattern)} if pattern.startswith("^(?!"):
                    continue  # says only what the name is not
                case _:
                    return []
    return found


def _leaves(clause: Any) -> Iterator[Any]:
    inner = vars(clause).get("or_") or vars(clause).get("and_")
    if inner is None:
        yield clause
    else:
        for each in inner:
            yield from _leaves(each)


def _find_elsewhere(providers: Sequence[Any], provider: Any, model: str) -> Any | None:
    """A model that a provider sells for another vendor."""
    vendors: Iterable[str] = getattr(provider, "fallback_model_providers", None) or ()
    found = (_find_model(other, model) for vendor in vendors for other in providers if other.id == vendor)
    return next((entry for entry in found if entry is not None), None)


def find_by_deployment(providers: Sequence[Any], name: str) -> tuple[Any, Any] | None:
    """The longest model id inside a deployment's name, such as `gpt-4o` in `prod-gpt-4o-eu`."""
    hosts = [provider for provider in providers if provider.id in ("azure", "openai")]
    ids = (model.id for host in hosts for model in host.models if _names(name, model.id))
    longest = max(ids, key=len, default=None)
    return None if longest is None else find(providers, "azure", longest.lower())


def _names(deployment: str, model: str) -> bool:
    return re.search(rf"(?<![a-z0-9.]){re.escape(model.lower())}(?![a-z0-9.])", deployment) is not None
