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
from llmmon.metrics.definitions import ALIASES, METRICS, MetricKind, meant_statistics
from llmmon.metrics.record import FIELDS, TAG_PREFIX, FieldKind
from llmmon.metrics.vocabulary import figure_called, name_field, number_field, unit_of, units_for, value_of
from llmmon.text.figures import milliseconds, money_text
from llmmon.text.names import unknown
from llmmon.text.patterns import lazy

_FORM: Final = lazy(r"\s*([\w.][\w./ -]*?)\s*(>=|<=|!=|==|=|>|<)\s*(\S(?:.*\S)?)\s*\Z")
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
    return tuple(_check(condition, figures, scales) for condition in conditions)


def figure_in(condition: str) -> str | None:
    """The figure that a condition compares with a limit, None if it is of another form."""
    form = _FORM.match(condition)
    return form[1] if form else None


def statistics_in(conditions: Sequence[str]) -> tuple[str, ...]:
    """The statistics that conditions of `--fail-on` name, so that they are computed."""
    names = (form[1] for form in map(_FORM.match, conditions) if form is not None)
    return tuple(one for name in names for one in meant_statistics(name)[:1])


def _check(condition: str, figures: Mapping[str, Any], scales: Mapping[str, Sequence[str]]) -> Check:
    form = _FORM.match(condition)
    if form is None:
        raise UsageError(f"--fail-on {condition!r} is not a condition", hint="for example --fail-on 'error_rate>5%'")
    said, sign, text = form.groups()
    name = figure_called(said, figures, meant_statistics(said))
    if name is None:
        raise UsageError("--fail-on: " + unknown("figure", said, figures))
    compare, figure = _SCALAR_OPERATORS[sign], figures[name]
    message = f"{name} is {_figure_text(name, figure)}"
    if name in scales:
        order = {word: place for place, word in enumerate(scales[name])}
        if text not in order:
            raise UsageError("--fail-on: " + unknown(name, text, order))
        return Check(condition, any(compare(order[word], order[text]) for word in figure), message)
    if isinstance(figure, (set, frozenset)):
        return Check(condition, (text in figure) == (sign in {"=", "=="}), message)
    number = value_of(text, name)
    if number is None:
        raise UsageError(f"--fail-on {condition!r}: {text!r} is not a number", hint=f"for example {units_for(name)}")
    return Check(condition, figure is not None and bool(compare(figure, number)), message)


def _figure_text(name: str, figure: Any) -> str:
    """A figure in the unit that its name ends in, with enough digits to compare it."""
    if figure is None:
        return "unknown"
    if isinstance(figure, (set, frozenset, list, tuple)):
        return ", ".join(sorted(map(str, figure))) or "none"
    if unit_of(name) == "usd":
        return money_text(figure)
    if unit_of(name) == "ms":
        return milliseconds(figure)
    if name.endswith(("_rate", "_share")):
        return f"{100 * figure:.4g} %"
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.4g}"


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
_JOINING: Final = frozenset({"and", "or", "not"})
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

    def _more_words(self) -> int:
        """How many words follow that belong to a name such as `tokens in`, which an operator ends."""
        at = self._next
        while at < len(self._tokens) and self._tokens[at][0] == "word" and self._tokens[at][1].lower() not in _JOINING:
            at += 1
        return at - self._next if at < len(self._tokens) and self._tokens[at][1] in _OPERATORS else 0

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
        for _ in range(self._more_words()):
            name += f"_{self._take()[1]}"
        name = _field_called(name, compared=self.peek() in _OPERATORS)
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
        number = value_of(value, name)
        if number is None:
            raise self.error(f"{name} is a number such as {units_for(name)}, {value!r} is not", at)
        compare = _OPERATORS[operator]
        return lambda columns: compare(_numbers(columns, name), number) & ~np.isnan(_numbers(columns, name))


def _field_called(name: str, *, compared: bool) -> str:
    """The field, metric or tag that a name means; the name itself where it means none."""
    name = ALIASES.get(name, name)
    if name in METRICS or name in FIELDS or name.startswith(TAG_PREFIX) or name == "ok":
        return name
    meant = number_field(name)
    if meant != name or not compared:
        return meant
    try:
        return name_field(name, option="--where")
    except UsageError:
        return name  # named with the place where it stands


def _numbers(columns: Columns, name: str) -> FloatArray:
    """A metric or number field in its public unit, NaN for missing."""
    if name in METRICS:
        rows = METRICS[name].rows(columns)
        return np.full(columns.size, np.nan) if rows is None else rows / METRICS[name].scale
    return columns.public(name)
