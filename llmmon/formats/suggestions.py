"""Help where no call is found: the keys that were seen, and the `--map` options that may fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from llmmon.formats.aliases import unit_named
from llmmon.formats.mapping import Binding, Path, Shape

_MOST_KEYS: Final = 12
_KINDS: Final = {
    "str": "text",
    "int": "number",
    "float": "number",
    "bool": "true/false",
    "list": "list",
    "dict": "object",
}
# field -> the kind of its value, and the words that a key for it may hold, the most telling first
_LIKELY: Final[tuple[tuple[str, str, str], ...]] = (
    ("timestamp", "text number", r"time(?!out|_?taken)|stamp|date|(^|_)(ts|at|when)$"),
    ("model", "text", r"model|engine|deployment|llm|(^|[._])(m|mdl)$"),
    ("latency_ms", "number", r"latency|duration|elapsed|took|_ms$|_s$|seconds|millis|dur$"),
    ("prompt_tokens", "number", r"(prompt|input|in|req|sent).*tok|tok.*(prompt|input|in\b|in$|sent)"),
    (
        "completion_tokens",
        "number",
        r"(completion|output|out|gen|resp|recv).*tok|tok.*(completion|out|gen|recv)",
    ),
    ("total_tokens", "number", r"total.*tok|tok.*total|tokens?$|tok$"),
    ("cost_usd", "number", r"cost|price|spend|usd|dollar"),
    ("prompt", "text", r"prompt|question|query|(^|[._])(q|input)$"),
    ("output", "text", r"answer|output|completion|response|reply|(^|[._])a$"),
    ("error_message", "text", r"err|exception|fail"),
)


def keys_seen(shapes: Iterable[Shape]) -> list[tuple[Path, str]]:
    """The paths of values (not of the objects around them) in samples of logs, each with its kind."""
    found: dict[Path, str] = {}
    for shape in shapes:
        for path, types in shape:
            kinds = {_KINDS[name] for name in types if name in _KINDS} - {"object"}
            if kinds and not any(step.isdigit() for step in path):
                found.setdefault(path, " or ".join(sorted(kinds)))
    return list(found.items())


def keys_text(seen: Sequence[tuple[Path, str]]) -> str:
    """`call.m (text), call.took (number), and 3 more`, "" where nothing was seen."""
    if not seen:
        return ""
    shown = [f"{written(path)} ({kind})" for path, kind in seen[:_MOST_KEYS]]
    more = [f"and {len(seen) - _MOST_KEYS} more"] if len(seen) > _MOST_KEYS else []
    return ", ".join((*shown, *more))


def map_options(seen: Sequence[tuple[Path, str]]) -> list[str]:
    """The `--map` options that the names of the keys suggest, as far as they say it."""
    options, taken = [], set[Path]()
    for field, kinds, words in _LIKELY:
        for path, kind in seen:
            key = written(path)
            if path not in taken and kind in kinds and re.search(words, key, re.IGNORECASE):
                taken.add(path)
                unit = unit_named(path[-1]) if field == "latency_ms" else ""
                options.append(f"--map {field}={key}{':' + unit if unit else ''}")
                break
    return options


def written(path: Path) -> str:
    """A path as `--map` takes it."""
    return ".".join(step.replace(".", "\\.") for step in path)


def toml_of(dialect: str | None, root: str | None, overrides: Sequence[Binding]) -> Iterator[str]:
    """The lines of `llmmon.toml` that say the same as `--dialect`, `--root` and `--map`."""
    if dialect:
        yield f'dialect = "{dialect}"'
    if root:
        yield f"root = '{root}'"
    if overrides:
        yield f"map = {{ {', '.join(map(_entry, overrides))} }}"


def _entry(binding: Binding) -> str:
    unit = f":{binding.unit}" if binding.unit and (binding.slot, binding.unit) != ("cost", "usd") else ""
    return f"{FIELD_OF_SLOT.get(binding.slot, binding.slot)} = '{written(binding.path)}{unit}'"


FIELD_OF_SLOT: Final = {
    "start": "timestamp",
    "latency": "latency_ms",
    "ttft": "time_to_first_token_ms",
    "cost": "cost_usd",
    "outcome": "status",
}
