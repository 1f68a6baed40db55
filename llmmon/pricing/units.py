"""What is billed: the kinds of usage that prices are given for, taken from the registry of the price list.

A kind is billed at its own price where a model has one, else as the wider kind that holds it: image tokens as prompt
tokens, say. A new unit of the list needs a field of the same name in the record, and nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import PurePath
from typing import Any, Final

import msgspec

from llmmon.metrics.record import FIELDS, NANO_DOLLARS, USAGE

LIST_MODULE: Final = "genai_prices"


class Unit(msgspec.Struct, frozen=True):
    """A kind of usage: the record's field that counts it, and what prices of it are called and are for.

    `key` is its name in `[prices]`, `list_keys` those in the price list, the first that has a price counts. A price of
    1 is a dollar for `per` units. `stand_in` is the kind whose price it takes where it has none; `inside` are all kinds
    of which it is a part. `differs`: it seldom costs the same as they do, so that the price of none stands in for it.
    """

    name: str
    field: str | None
    key: str
    list_keys: tuple[str, ...]
    per: float
    stand_in: str | None = None
    inside: tuple[str, ...] = ()
    differs: bool = False

    @property
    def nano(self) -> float:
        """Nano-dollars for one of the field's stored units at a price of 1."""
        scale = FIELDS[self.field].scale if self.field else 1
        return NANO_DOLLARS / self.per / scale


_PER_MILLION: Final = 1_000_000.0
# these come first, in this order: they are disjoint parts of the prompt and the completion in `costs.Usage`
_BASE: Final = (
    Unit("input", "prompt_tokens", "input", ("input_mtok",), _PER_MILLION),
    Unit("cache_read", "cached_tokens", "cache_read", ("cache_read_mtok",), _PER_MILLION, "input", ("input",)),
    Unit(
        *("cache_write", "cache_write_tokens", "cache_write", ("cache_write_5m_mtok", "cache_write_mtok")),
        *(_PER_MILLION, "input", ("input",)),
    ),
    Unit(
        *("cache_write_1h", "cache_write_1h_tokens", "cache_write_1h", ("cache_write_1h_mtok",)),
        *(_PER_MILLION, "cache_write", ("input", "cache_write")),
    ),
    Unit("output", "completion_tokens", "output", ("output_mtok",), _PER_MILLION),
    Unit("reasoning", "reasoning_tokens", "reasoning", ("output_reasoning_mtok",), _PER_MILLION, "output", ("output",)),
    Unit("request", None, "request", ("requests_kcount",), 1_000.0),
)
BASE: Final = tuple(unit.name for unit in _BASE)
# what the registry calls the kinds above
_NAMES: Final = {
    "input_tokens": "input",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_tokens": "output",
    "output_reasoning_tokens": "reasoning",
    "requests": "request",
}
_DIFFERS: Final = tuple(
    {"family": "tokens", "direction": direction, "modality": modality}
    for modality, direction in (("audio", "input"), ("audio", "output"), ("image", "output"), ("video", "output"))
)


@cache
def units() -> dict[str, Unit]:
    """All kinds by name, those that hold others before them; those of the registry that the record has a field for."""
    registry = _registry()
    found = {unit.name: unit for unit in _BASE}
    counted = {name: unit for name, unit in registry.items() if name in USAGE}
    for name, unit in sorted(counted.items(), key=lambda item: len(item[1]["dimensions"])):
        found[name] = _unit(name, unit, registry)
    return found


def _unit(name: str, unit: Mapping[str, Any], registry: Mapping[str, Any]) -> Unit:
    dimensions = unit["dimensions"]
    price_key = str(unit["price_key"])
    wider = [
        other
        for other, known in registry.items()
        if other != name and known["dimensions"].items() < dimensions.items() and (other in _NAMES or other in USAGE)
    ]
    is_tokens = dimensions["family"] == "tokens"
    return Unit(
        name=name,
        field=name,
        key=price_key.removesuffix("_mtok") if is_tokens else price_key,
        list_keys=(price_key,),
        per=float(unit["per"]),
        inside=tuple(_NAMES.get(other, other) for other in wider),
        differs=dimensions in _DIFFERS,
    )


def _registry() -> Mapping[str, Mapping[str, Any]]:
    """The units of the price list's package, which is not imported for it; empty where it is missing."""
    try:
        package = find_spec(LIST_MODULE)
        folders = package.submodule_search_locations if package else None
        spec = spec_from_file_location(f"{LIST_MODULE}.data_units", str(PurePath(folders[0], "data_units.py")))  # type: ignore[index]
        module = module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        found: Mapping[str, Mapping[str, Any]] = module.unit_data
    except (ImportError, OSError, SyntaxError, AttributeError, TypeError):
        return {}
    return found
