"""What a shell can complete: fields, statistics, models, rules, channels, and words that an option takes."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_MODEL: Final = re.compile(rb'"(?:model|model_name|modelId|gen_ai\.request\.model)"\s*:\s*"([^"\\]{1,200})"')
_TAIL_BYTES, _MOST_FILES = 128 << 10, 8  # that are looked at for names of models


def attach(parameters: Iterable[Any]) -> None:
    """Let the options of a command complete their values."""
    for parameter in parameters:
        if parameter.name in _SOURCES:
            parameter._custom_shell_complete = _complete  # noqa: SLF001 - the library has no other place for it


def _complete(ctx: Any, parameter: Any, incomplete: str) -> list[Any]:
    from typer._click.shell_completion import CompletionItem

    before, equals, _ = incomplete.rpartition("=")
    if parameter.name == "where" and equals:
        found = [f"{before}={value}" for value in _values(before.split()[-1] if before else "", ctx)]
    else:
        found = list(_SOURCES[parameter.name](ctx))
    return [CompletionItem(text) for text in sorted(set(found)) if text.startswith(incomplete)]


def _values(field: str, ctx: Any) -> Iterable[str]:
    return {"model": _models, "rule": _rules}.get(field, lambda _ctx: ())(ctx)


def _fields(_ctx: Any) -> Iterable[str]:
    from llmmon.metrics.record import FIELDS, FieldKind

    return [field.name for field in FIELDS.values() if field.kind is FieldKind.NAME]


def _statistics(_ctx: Any) -> Iterable[str]:
    from llmmon.metrics.vocabulary import usual_names

    return usual_names()


def _conditions(ctx: Any) -> Iterable[str]:
    return [*(f"{name}=" for name in _fields(ctx)), "error", "latency_ms>", "cost_usd>"]


def _models(ctx: Any) -> Iterable[str]:
    """The models in the ends of the newest of the logs that are named, or configured."""
    named = ctx.params.get("logs") or _configuration().get("logs") or []
    here = [path for name in named for path in ([Path(name)] if Path(name).exists() else Path().glob(str(name)))]
    files = [file for path in here for file in (path.rglob("*.jsonl") if path.is_dir() else [path])]
    for path in sorted(files, key=lambda path: -path.stat().st_mtime)[:_MOST_FILES]:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            yield from (name.decode("utf-8", "replace") for name in set(_MODEL.findall(file.read())))


def _configuration() -> dict[str, Any]:
    """The configuration as it is written, {} where there is none that can be read."""
    from tomllib import loads

    from llmmon.config import find

    try:
        path = find(None, os.environ, Path.cwd())
        return loads(path.read_text("utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}


def _rules(_ctx: Any) -> Iterable[str]:
    found = _configuration()
    return [str(one["name"]) for key in ("rules", "slos", "budgets") for one in found.get(key, ()) if "name" in one]


def _channels(_ctx: Any) -> Iterable[str]:
    return list(_configuration().get("notify", {}))


def _words(*words: str) -> Any:
    return lambda _ctx: words


# the parameter of a command -> what its values can be
_SOURCES: Final = {
    **dict.fromkeys(("by", "who"), _fields),
    **dict.fromkeys(("sort", "metric", "fail_on", "threshold"), _statistics),
    "where": _conditions,
    "as_model": _models,
    "prices": _models,
    "explain": _rules,
    "rule": _rules,
    "channel": _channels,
    "format": _words("table", "json", "jsonl", "csv", "markdown"),
    "cost": _words("auto", "logged", "calculated", "none"),
    "every": _words("1h", "day", "week", "month"),
}
