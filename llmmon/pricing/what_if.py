"""What the same calls would have cost with another model."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, Names
from llmmon.pricing.costs import calculate
from llmmon.pricing.model_names import parse
from llmmon.pricing.price_list import NEWEST_US
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.usage import gateway_hits, usage_of

# Tokens of one text differ between vendors' tokenizers by about this much for English; more for code and others.
SPREAD: Final = 0.2

# first words of model names (without prefixes) whose vendors' models share a tokenizer
_TOKENIZERS: Final = (
    ("gpt-4o", "o200k"),
    ("gpt-4.1", "o200k"),
    ("gpt-4.5", "o200k"),
    ("gpt-5", "o200k"),
    ("chatgpt-4o", "o200k"),
    ("o1", "o200k"),
    ("o3", "o200k"),
    ("o4", "o200k"),
    ("gpt-4", "cl100k"),
    ("gpt-3.5", "cl100k"),
    ("gpt-35", "cl100k"),
    ("text-embedding-3", "cl100k"),
    ("text-embedding-ada", "cl100k"),
    ("claude-3", "claude-3"),
    ("gemini-1.5", "gemini"),
    ("gemini-2", "gemini"),
    ("gemini-3", "gemini"),
    ("deepseek", "deepseek"),
)


class Alternative(msgspec.Struct, frozen=True):
    """Sums over the calls that can be compared, in nano-dollars; `left_out` calls cannot."""

    calls: int = 0
    left_out: int = 0
    actual: int = 0
    cost: int = 0
    foreign: int = 0  # the part of `cost` from calls counted by another tokenizer

    def __add__(self, other: Alternative) -> Alternative:
        return Alternative(
            self.calls + other.calls,
            self.left_out + other.left_out,
            self.actual + other.actual,
            self.cost + other.cost,
            self.foreign + other.foreign,
        )


def check_models(models: tuple[str, ...], table: PriceTable) -> None:
    """Raise `UsageError` for a model whose price is not known."""
    for model in models:
        listing = table.listing(model, None)
        if listing is None or listing.at(NEWEST_US, "") is None:
            raise UsageError(
                f"--as {model}: no price is known", hint=f'add it as [prices."{model}"], or write it as provider/model'
            )


def alternative(
    columns: Columns, actual: FloatArray, model: str, table: PriceTable, undated_us: int | None = None
) -> Alternative:
    """What the calls would cost as `model`, each at its own date, tier, context size and cache rates.

    `actual` is what they cost (nano-dollars, NaN unknown; shape (calls,)). Left out are calls without usage or cost,
    gateway cache hits, and calls of another kind: without output for a model that is paid for its output.
    """
    comparable = ~np.isnan(actual) & ~gateway_hits(columns) & _same_kind(columns, model, table)
    rows = columns.take(comparable)
    costs = calculate(as_model(rows, model), table, undated_us)
    known = ~np.isnan(costs)
    costs[~known] = 0.0
    foreign = costs[known & _foreign(rows, model)]
    return Alternative(
        calls=int(known.sum()),
        left_out=columns.size - int(known.sum()),
        actual=int(actual[comparable][known].sum()),
        cost=int(costs.sum()),
        foreign=int(foreign.sum()),
    )


def as_model(columns: Columns, model: str) -> Columns:
    """The calls as if they had gone to another model at its own provider."""
    names = {name: column for name, column in columns.names.items() if name != "provider"}
    return msgspec.structs.replace(columns, names={**names, "model": Names(np.zeros(columns.size, np.int32), [model])})


def _same_kind(columns: Columns, model: str, table: PriceTable) -> BoolArray:
    listing = table.listing(model, None)
    quoted = listing.at(NEWEST_US, "") if listing else None
    if quoted is None:
        return np.zeros(columns.size, np.bool_)
    usage = usage_of(columns)
    answers: BoolArray = usage.output > 0 if usage.reasoning is None else (usage.output > 0) | (usage.reasoning > 0)
    paid = quoted.rates.of("output")
    return answers if paid > 0 else (~answers if np.isnan(paid) else np.ones(columns.size, np.bool_))


def _foreign(columns: Columns, model: str) -> BoolArray:
    """Calls whose tokens another tokenizer counted, or perhaps did; shape (calls,)."""
    own, wanted = parse(model, None).bare, tokenizer_of(model)
    names = columns.name("model")
    same = [
        (parse(name, None).bare == own) or (wanted is not None and tokenizer_of(name) == wanted)
        for name in names.values
    ]
    foreign: BoolArray = ~np.array([*same, False])[names.codes]
    return foreign


def tokenizer_of(model: str) -> str | None:
    """The tokenizer of a model by its name, or None where it is not known."""
    bare = parse(model, None).bare
    return next((tokenizer for prefix, tokenizer in _TOKENIZERS if bare.startswith(prefix)), None)
