"""`--fail-on`: a condition on the figures of a result, such as `error_rate>0.05`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmmon.errors import UsageError
from llmmon.names import unknown

_FORM: Final = re.compile(r"\s*([\w.]+)\s*(>=|<=|!=|==|=|>|<)\s*(\S(?:.*\S)?)\s*\Z")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


def any_met(conditions: Sequence[str], figures: Mapping[str, Any], scales: Mapping[str, Sequence[str]]) -> bool:
    """Whether any condition holds; a missing figure meets none. Raises `UsageError` for unknown names.

    `scales` are ordered words, such as severities from low to critical; a figure may be a set of words.
    """
    met = [_met(condition, figures, scales) for condition in conditions]  # all, so that each is checked
    return any(met)


def _met(condition: str, figures: Mapping[str, Any], scales: Mapping[str, Sequence[str]]) -> bool:
    form = _FORM.match(condition)
    if form is None:
        raise UsageError(f"--fail-on {condition!r} is no condition", hint="for example --fail-on 'error_rate>0.05'")
    name, sign, text = form.groups()
    if name not in figures:
        raise UsageError("--fail-on: " + unknown("figure", name, figures))
    compare, figure = _OPERATORS[sign], figures[name]
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
