"""`export --to grafana`: a dashboard for the exported metrics, to import into Grafana."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llmmon import __version__
from llmmon.output.export.promql import CALLS, quantile
from llmmon.output.renderers.json import dumps

_MODEL: Final = 'model=~"$model"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WINDOW: Final = "$__rate_interval"
_SPAN: Final = "$__range"


def _grown(name: str, window: str, by: str = "", more: str = "") -> str:
    chosen = f"{_MODEL}, {more}" if more else _MODEL
    return f"sum{f' by ({by}) ' if by else ''}(increase({name}{{{chosen}}}[{window}]))"


def _rate(name: str, by: str = "") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({name}{{{_MODEL}}}[{_WINDOW}]))"


def _latency(q: float, name: str, by: Sequence[str] = ()) -> str:
    return quantile(q, name, _WINDOW, by, _MODEL)


_SECONDS: Final = "llm_request_duration_seconds"
_FIRST: Final = "llm_time_to_first_token_seconds"
# heading, unit, decimals, query: figures of the whole time that is shown
_FIGURES: Final = (
    ("Calls", "short", 0, _grown(CALLS, _SPAN)),
    ("Failed", "percentunit", 2, f"{_grown('llm_errors_total', _SPAN)} / {_grown(CALLS, _SPAN)}"),
    ("Latency p95", "s", 2, quantile(0.95, _SECONDS, _SPAN, (), _MODEL)),
    ("Cost", "currencyUSD", 2, _grown("llm_cost_usd_total", _SPAN)),
    ("Tokens", "short", 0, _grown("llm_tokens_total", _SPAN)),
    ("Last call", "dateTimeFromNow", 0, "max(llm_last_event_timestamp_seconds) * 1000"),
)
# heading, unit, (query, legend) pairs, whether they are stacked
_CHARTS: Final = (
    ("Calls per minute, by model", "short", ((f"60 * {_rate(CALLS, 'model')}", "{{model}}"),), True),
    (
        "Share of failed calls, by model",
        "percentunit",
        ((f"{_rate('llm_errors_total', 'model')} / {_rate(CALLS, 'model')}", "{{model}}"),),
        False,
    ),
    (
        "Failed calls per minute, by type",
        "short",
        ((f"60 * {_rate('llm_errors_total', 'error_type')}", "{{error_type}}"),),
        True,
    ),
    ("Latency", "s", tuple((_latency(q, _SECONDS), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)), False),
    ("Latency p95, by model", "s", ((_latency(0.95, _SECONDS, ("model",)), "{{model}}"),), False),
    ("Time to the first token p95, by model", "s", ((_latency(0.95, _FIRST, ("model",)), "{{model}}"),), False),
    (
        "Cost per hour, by model",
        "currencyUSD",
        ((f"3600 * {_rate('llm_cost_usd_total', 'model')}", "{{model}}"),),
        True,
    ),
    ("Tokens per minute, by type", "short", ((f"60 * {_rate('llm_tokens_total', 'type')}", "{{type}}"),), True),
    (
        "Answers cut off, refused or empty, per minute",
        "short",
        tuple((f"60 * {_rate(f'llm_{kind}_answers_total')}", kind) for kind in ("truncated", "refused", "empty")),
        False,
    ),
    ("Quality", "percentunit", ((f"avg by (model) (llm_quality_score{{{_MODEL}}})", "{{model}}"),), False),
)


def dashboard() -> str:
    """The dashboard as JSON; its data source and models are chosen in Grafana."""
    panels = [_figure(at, *row) for at, row in enumerate(_FIGURES)]
    panels += [_chart(at, *row) for at, row in enumerate(_CHARTS)]
    made = {
        "title": "LLM calls",
        "uid": "llmmon",
        "description": f"Metrics of llmmon {__version__}, exported with --cumulative",
        "tags": ["llm", "llmmon"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_DATASOURCE, _MODELS]},
        "annotations": {"list": []},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }
    return dumps(made, indent=True) + "\n"


_DATASOURCE: Final = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
_MODELS: Final = {
    "name": "model",
    "label": "Model",
    "type": "query",
    "datasource": _SOURCE,
    "query": {"query": f"label_values({CALLS}, model)", "refId": "models"},
    "definition": f"label_values({CALLS}, model)",
    "refresh": 2,
    "multi": True,
    "includeAll": True,
    "allValue": ".*",
    "current": {"text": "All", "value": "$__all"},
}


def _figure(at: int, title: str, unit: str, decimals: int, query: str) -> dict[str, Any]:
    width = 24 // len(_FIGURES)
    return {
        **_panel("stat", title, unit, ((query, ""),), (at * width, 0, width, 4), decimals=decimals),
        "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none"},
    }


def _chart(at: int, title: str, unit: str, queries: Sequence[tuple[str, str]], stacked: bool) -> dict[str, Any]:
    place = (at % 2 * 12, 4 + at // 2 * 8, 12, 8)
    made = _panel("timeseries", title, unit, queries, place)
    made["fieldConfig"]["defaults"]["custom"] = {
        "fillOpacity": 30 if stacked else 0,
        "stacking": {"mode": "normal" if stacked else "none"},
        "showPoints": "never",
    }
    made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return made


def _panel(
    kind: str,
    title: str,
    unit: str,
    queries: Sequence[tuple[str, str]],
    place: tuple[int, int, int, int],
    decimals: int | None = None,
) -> dict[str, Any]:
    x, y, width, height = place
    defaults: dict[str, Any] = {"unit": unit, "min": 0}
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": defaults | ({} if decimals is None else {"decimals": decimals}), "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(queries)
        ],
    }
