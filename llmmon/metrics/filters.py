"""`--where`: a small language of conditions on the fields of a call. It evaluates no code.

    model=gpt-4o* and (latency_ms>2000 or error) and not user=null

Names compare with `=` and `!=` and take `*` and `?`; numbers also with `<`, `<=`, `>`, `>=`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.metrics.columns import BoolArray, Columns, FloatArray
from llmmon.metrics.definitions import ALIASES, METRICS, MetricKind
from llmmon.metrics.record import FIELDS, TAG_PREFIX, FieldKind
from llmmon.text.names import unknown
from llmmon.text.patterns import lazy

_FORM: Final = lazy(r"\s*([\w.]+)\s*(>=|<=|!=|==|=|>|<)\s*(\S(?:.*\S)?)\s*\Z")
_SCALAR_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


class Check(msgspec.Struct, frozen=True):
    """A condition of `--fail-on` (or another check), whether it failed, and what there was instead."""

    name: str
    failed: bool
    message: str = ""


def checks_of(
    conditions: Sequence[str], figures: Mapping[str, Any], scales: Mapping[str, Sequence[str]]
) -> tuple[Check, ...]:
    """The conditions of `--fail-on`, each with its figure; a missing figure fails none.

    `scales` are ordered words, such as severities from low to critical; a figure may be a set of words. Raises
    `UsageError` for unknown names.
    """
    return tuple(
        Check(condition, _met(condition, figures, scales), _figure_text(condition, figures)) for condition in conditions
    )


def _figure_text(condition: str, figures: Mapping[str, Any]) -> str:
    form = _FORM.match(condition)
    name = form[1] if form is not None else ""
    figure = figures.get(name)
    if isinstance(figure, (set, frozenset, list, tuple)):
        figure = ", ".join(sorted(map(str, figure))) or "none"
    return f"{name} is {'unknown' if figure is None else f'{figure:.6g}' if isinstance(figure, float) else figure}"


def _met(condition: str, figures: Mapping[str, Any], scales: Mapping[str, Sequence[str]]) -> bool:
    form = _FORM.match(condition)
    if form is None:
        raise UsageError(f"--fail-on {condition!r} is not a condition", hint="for example --fail-on 'error_rate>0.05'")
    name, sign, text = form.groups()
    if name not in figures:
        raise UsageError("--fail-on: " + unknown("figure", name, figures))
    compare, figure = _SCALAR_OPERATORS[sign], figures[name]
    if name in scales:
        order = {word: place for place, word in enumerate(scales[name])}
        if text not in order:
            raise UsageError("--fail-on: " + unknown(name, text, order))
        return any(compare(order[word], order[text]) for word in figure)
    if isinstance(figure, (set, frozenset)):
        return (text in figure) == (sign in {"=", "=="})
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"--fail-on {condition!r}: {text!r} is not a number") from None
    return figure is not None and compare(figure, number)


Mask = Callable[[Columns], BoolArray]
_TOKEN: Final = lazy(
    r"\s*(?:(?P<sign>\(|\)|!=|>=|<=|==|=|>|<)|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|'(?P<single>[^']*)'|(?P<word>[^\s()=!<>\"']+))"
)
_OPERATORS: Final[dict[str, Callable[[FloatArray, float], BoolArray]]] = {
    "=": np.equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}
_NULL: Final = frozenset({"null", "none", "missing"})
_DEEPEST: Final = 50  # parentheses within parentheses
_MOST_TERMS: Final = 500  # each is looked at for every call


class Filter(msgspec.Struct, frozen=True):
    """A parsed condition: its text, the fields that it reads, and the calls that it keeps."""

    text: str
    fields: frozenset[str]
    mask: Mask

    def __reduce__(self) -> tuple[Callable[[str], Filter], tuple[str]]:
        """Pickle as its text, since the mask is made of functions."""
        return parse, (self.text,)


def parse(text: str) -> Filter:
    """Parse a condition; raises `UsageError` that points at the place."""
    parser = _Parser(text)
    mask = parser.either(0)
    if parser.peek() is not None:
        raise parser.error("expected 'and' or 'or'")
    return Filter(text, frozenset(parser.fields), mask)


def all_of(texts: Sequence[str]) -> Filter | None:
    """Several conditions that must all hold; None for none."""
    found = [parse(text) for text in texts]  # each, so that an error points into the text that was given
    if len(found) > 1:
        return parse(" and ".join(f"({text})" for text in texts))
    return found[0] if found else None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[str] = set()
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.error("cannot read this", at)
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self._next = 0
        self._terms = 0

    def error(self, message: str, at: int | None = None) -> UsageError:
        if at is None:
            at = self._tokens[self._next][2] if self._next < len(self._tokens) else len(self.text)
        return UsageError(f"--where: {message}\n  {self.text}\n  {' ' * at}^")

    def peek(self) -> str | None:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else None

    def _word(self, *words: str) -> bool:
        if self._next >= len(self._tokens):
            return False
        kind, text, _ = self._tokens[self._next]
        found = kind in {"word", "sign"} and text.lower() in words
        self._next += found
        return found

    def _take(self) -> tuple[str, str, int]:
        if self._next >= len(self._tokens):
            raise self.error("something is missing here")
        self._next += 1
        return self._tokens[self._next - 1]

    def either(self, depth: int) -> Mask:
        masks = [self.both(depth)]
        while self._word("or"):
            masks.append(self.both(depth))
        return masks[0] if len(masks) == 1 else lambda columns: np.logical_or.reduce([mask(columns) for mask in masks])

    def both(self, depth: int) -> Mask:
        masks = [self.single(depth)]
        while self._word("and"):
            masks.append(self.single(depth))
        return masks[0] if len(masks) == 1 else lambda columns: np.logical_and.reduce([mask(columns) for mask in masks])

    def single(self, depth: int) -> Mask:
        if depth > _DEEPEST:
            raise self.error("too many parentheses")
        if self._word("not"):
            inner = self.single(depth + 1)
            return lambda columns: ~inner(columns)
        if self._word("("):
            inner = self.either(depth + 1)
            if not self._word(")"):
                raise self.error("expected ')'")
            return inner
        return self._condition()

    def _condition(self) -> Mask:
        self._terms += 1
        if self._terms > _MOST_TERMS:
            raise UsageError(f"--where: more than {_MOST_TERMS} conditions", hint="name a pattern: user=test-*")
        kind, name, at = self._take()
        if kind != "word":
            raise self.error("expected a field", at)
        name = ALIASES.get(name, name)
        if self.peek() in _OPERATORS:
            _, operator, _ = self._take()
            kind, value, value_at = self._take()
            if kind == "sign":
                raise self.error("expected a value", value_at)
            return self._comparison(name, at, operator, value, quoted=kind != "word")
        if name == "ok":
            name, negate = "error", True
        else:
            negate = False
        metric = METRICS.get(name)
        if metric is None or metric.kind is not MetricKind.EVENT:
            raise (
                self.error(f"{name!r} needs a comparison, such as {name}=...", at)
                if name in FIELDS
                else self._no(name, at)
            )
        self.fields |= metric.needs
        wanted = 0.0 if negate else 1.0
        return lambda columns: _numbers(columns, name) == wanted

    def _comparison(self, name: str, at: int, operator: str, value: str, *, quoted: bool) -> Mask:
        field = FIELDS.get(name)
        if name.startswith(TAG_PREFIX) or (field is not None and field.kind is FieldKind.NAME):
            self.fields.add(name)
            return self._name_comparison(name, operator, value, is_null=not quoted and value.lower() in _NULL)
        if name in METRICS or (field is not None and field.kind is FieldKind.NUMBER):
            self.fields |= METRICS[name].needs if name in METRICS else {name}
            return self._number_comparison(name, at, operator, value)
        raise self._no(name, at)

    def _no(self, name: str, at: int) -> UsageError:
        known = {*METRICS, *(f.name for f in FIELDS.values() if f.kind in {FieldKind.NAME, FieldKind.NUMBER})}
        return self.error(unknown("field", name, known) + f" (a tag is written tag.{name})", at)

    def _name_comparison(self, name: str, operator: str, value: str, *, is_null: bool) -> Mask:
        if operator not in {"=", "==", "!="}:
            raise self.error(f"{name} is a name: compare it with = or !=")
        wanted = operator != "!="

        def mask(columns: Columns) -> BoolArray:
            names = columns.name(name)
            table = np.array([not is_null and fnmatchcase(known, value) for known in names.values] + [is_null])
            kept: BoolArray = table[names.codes] == wanted
            return kept

        return mask

    def _number_comparison(self, name: str, at: int, operator: str, value: str) -> Mask:
        if value.lower() in _NULL:
            missing = operator != "!="
            return lambda columns: np.isnan(_numbers(columns, name)) == missing
        try:
            number = float(value)
        except ValueError:
            raise self.error(f"{name} is a number, {value!r} is not", at) from None
        compare = _OPERATORS[operator]
        return lambda columns: compare(_numbers(columns, name), number) & ~np.isnan(_numbers(columns, name))


def _numbers(columns: Columns, name: str) -> FloatArray:
    """A metric or number field in its public unit, NaN for missing."""
    if name in METRICS:
        rows = METRICS[name].rows(columns)
        return np.full(columns.size, np.nan) if rows is None else rows / METRICS[name].scale
    return columns.public(name)
