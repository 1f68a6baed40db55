"""The price list that `genai-prices` ships: read on its own, because the package imports pydantic and httpx.

The list is a Python module of constructor calls. It is run here with plain stand-ins for its classes, which
takes a fifth of the time of importing the package; where that fails (another layout), the package is imported.
Both give objects with the same attributes, and the rest of the program reads nothing but attributes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import PurePath
from types import ModuleType, SimpleNamespace
from typing import Any, Final, Protocol

import msgspec

PACKAGE: Final = "genai-prices"

_MODULE: Final = "genai_prices"
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


class NoPrices(msgspec.Struct, frozen=True):
    """No list prices at all: only the overrides of a table count."""

    def providers(self) -> Sequence[Any]:
        """None."""
        return ()

    def version(self) -> str:
        """`no price list`."""
        return "no price list"

    def digest(self) -> str:
        """64 zeros."""
        return "0" * 64


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
    """Where the list stands; finding a top-level package does not import it."""
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
