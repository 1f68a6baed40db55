"""`llmmon config`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from llmmon.config import Config
    from llmmon.output.views import View

File = Annotated[str | None, typer.Option("--config", help="Configuration file.", show_default=False, metavar="FILE")]
Format = Annotated[
    str | None,
    typer.Option("--format", "-f", help="table, json, jsonl, csv or markdown.", show_default=False, metavar="FORMAT"),
]
ClearCache = Annotated[
    bool, typer.Option("--clear-cache", help="Delete the cached columns of logs; judge scores stay.")
]


def config(config: File = None, format: Format = None, clear_cache: ClearCache = False) -> None:  # noqa: A002
    """Show the settings in use, the state file and the cache.

    Examples:
      llmmon config
      llmmon config -f json
      llmmon config --clear-cache
    """
    from llmmon.cli.output import Output
    from llmmon.config import load
    from llmmon.ingest.cache import ColumnCache, cache_folder
    from llmmon.ingest.report import SourceReport
    from llmmon.text.figures import size
    from llmmon.text.tables import parse_toml

    output = Output.of(format, None, quiet=False)
    found = load(config, os.environ, Path.cwd())
    cache = ColumnCache(cache_folder(os.environ))
    before = cache.bytes_used
    if clear_cache:
        cache.clear()
        output.say(f"deleted {size(before - cache.bytes_used)} of cached columns")
    given = parse_toml(found.path.read_bytes()) if found.path is not None else {}
    view = _view(found, _settings(found, given), _places(found, cache.root))
    raise typer.Exit(output.finish("config", view, SourceReport(), set()))


def _settings(found: "Config", given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each setting with its value and where that comes from; never a secret."""
    from llmmon.text.times import duration_text, iso

    origin = dict.fromkeys(given, found.path.name if found.path else "")
    logs: Iterable[str] = found.logs
    if not found.logs and os.environ.get("LLMMON_LOGS"):
        from llmmon.cli.options import logs_of

        logs, origin["logs"] = logs_of(None, found), "$LLMMON_LOGS"
    values = {
        "logs": list(logs),
        "timezone": found.timezone,
        "naive_timezone": found.naive_timezone,
        "dialect": found.dialect,
        "root": found.root,
        "map": dict(found.map),
        "prices": sorted(found.prices),
        "score": dict(found.score_thresholds),
        "name": found.instance,
        "labels": dict(found.labels),
        "late": duration_text(found.late_us),
        "accepted_before": iso(found.accepted_before_us) if found.accepted_before_us else None,
        "rules": [rule.name for rule in found.active_rules],
        "slos": [slo.name for slo in found.slos],
        "budgets": [str(one.get("name")) for one in given.get("budgets", ())],
        "mutes": len(found.mutes) or None,
        "tests": len(found.tests) or None,
        "notify": {channel.name: given["notify"][channel.name]["type"] for channel in found.channels},
        "serve": {key: str(value) for key, value in given.get("serve", {}).items() if not key.startswith("token")},
        **{key: given.get(key) for key in ("runbook", "dashboard")},
    }
    default = {"name": "host name"}
    return [
        {"key": key, "value": value, "from": origin.get(key, default.get(key, "default"))}
        for key, value in values.items()
    ]


def _places(found: "Config", columns: Path) -> dict[str, dict[str, Any]]:
    """The state file and what is cached, each with its place and size."""
    from llmmon.quality.judge_client import JudgeCache

    state = found.state_path(None, os.environ)
    verdicts = JudgeCache.of(os.environ).folder or ""
    return {
        "state": {"path": None if state is None else str(state), "bytes": None if state is None else _bytes(state)},
        "cache": {"path": str(columns), "bytes": _bytes(columns)},
        "judge_scores": {"path": str(verdicts), "bytes": _bytes(Path(verdicts))},
    }


def _bytes(path: Path) -> int | None:
    """The size of a file (a database with its journals) or of a folder; None for one that is not there."""
    try:
        if path.is_dir():
            return sum(one.lstat().st_size for one in path.rglob("*") if not one.is_dir())
        return sum(one.lstat().st_size for one in path.parent.glob(f"{path.name}*")) if path.exists() else None
    except OSError:
        return None


def _view(found: "Config", settings: list[dict[str, Any]], places: dict[str, dict[str, Any]]) -> "View":
    from llmmon.output.views import Column, Kind, Table, View

    shown = [row for row in settings if row["value"] or row["from"] != "default"]
    unset = [row["key"] for row in settings if row not in shown]
    names = {"state": "state", "cache": "cache", "judge_scores": "judge scores"}
    return View(
        data={"path": None if found.path is None else str(found.path), "settings": settings, **places},
        rows=settings,
        title=f"configuration: {_short(str(found.path)) if found.path else 'no llmmon.toml, so defaults apply'}",
        tables=(
            Table(
                "settings",
                (Column("key", right=False), Column("value", right=False, kind=Kind.TEXT), Column("from", right=False)),
                tuple((row["key"], _text(row["value"]), row["from"]) for row in shown),
                note=f"not set: {', '.join(unset)}" if unset else "",
            ),
        ),
        lines=tuple(f"{name:<13} {_place_text(places[key])}" for key, name in names.items()),
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {text}" for key, text in value.items()) or "-"
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value or "-")


def _place_text(place: Mapping[str, Any]) -> str:
    """`~/.cache/llmmon/columns, 3.2 MB`."""
    from llmmon.text.figures import size

    if place["path"] is None:
        return "none without a configuration"
    return f"{_short(place['path'])}, {'empty' if place['bytes'] is None else size(place['bytes'])}"


def _short(path: str) -> str:
    """A path, with `~` for the home folder."""
    home = os.environ.get("HOME", "")
    return f"~{path.removeprefix(home)}" if home and path.startswith(f"{home.rstrip('/')}/") else path
