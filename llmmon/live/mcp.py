"""`mcp`: the commands as read-only tools for assistants, by the Model Context Protocol over stdio (extra `mcp`).

A tool reads the logs that the server was started for, and no other file; its answer is the JSON of the command, cut to
a size that fits into a conversation, with what was left out and how to see more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import msgspec

from llmmon import __version__
from llmmon.config import Config
from llmmon.errors import LlmmonError, UsageError, missing_extra
from llmmon.ingest import sources
from llmmon.ingest.query import Query, Read
from llmmon.ingest.remote import is_url
from llmmon.ingest.report import SourceReport
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.filters import all_of
from llmmon.output.renderers.json import dumps, source_data
from llmmon.output.views import View
from llmmon.text.times import to_us, utc_now

MOST_CHARS: Final = 20_000  # of an answer, about 5,000 tokens
_MOST_ROWS: Final = 200
_LONGEST_TEXT: Final = 2_000
_MORE: Final = "ask again with a larger limit, or for less: a window, `where`, `by`, another `sort`"
_INSTRUCTIONS: Final = """\
Figures from the request logs of LLM applications: calls, costs, latency, errors, incidents, sessions of agents.
All tools only read. Times are UTC; `window` is minutes or a duration such as 2h or 3d before the last call, `since` and
`until` are ISO times. `where` is a condition such as "model=gpt-4o* and latency_ms>2000" or "error". `log` names one of
the files that the tool `logs` lists; without it all are read. Answers are cut: `left_out` says by how much."""


class Reach(msgspec.Struct, frozen=True):
    """What the tools may read and show: the logs, the rules of a configuration, texts of calls or not."""

    query: Query
    config: Config
    allow_text: bool = False
    most_chars: int = MOST_CHARS


class Tools:
    """The tools, each a method; a parameter that is left out is the command's default."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._query = reach.query

    def logs(self) -> dict[str, Any]:
        """List the log files that can be read, with their sizes in bytes."""
        rows = [{"log": path, "bytes": None if is_url(path) else Path(path).stat().st_size} for path in self._paths()]
        return {"data": {"logs": rows}}

    def summarize(
        self,
        by: list[str] | None = None,
        every: str | None = None,
        sort: str = "request_count",
        where: str | None = None,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        log: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """Totals (calls, errors, latency, tokens, cost), groups `by` fields such as model, user, feature or tag.X
        (default: model), errors by type; with `every` (1h, 1d) a time series."""
        from llmmon.output.views.summary import view_summary
        from llmmon.reports.summary import summarize
        from llmmon.text.times import width_us

        query = self._chosen(where, window, since, until, log)
        fields = tuple(by or ("model",))
        series_by = fields if by and every else ()
        every_us = width_us(every) if every else None
        report, found = summarize(query, by=fields, every_us=every_us, series_by=series_by, sort=sort, limit=0)
        return self._answer(view_summary(report, found.source), found, limit)

    def requests(
        self,
        where: str | None = None,
        sort: str | None = None,
        show_text: bool = False,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        log: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """Single calls with file and line: in the order of the log, or largest first by a metric such as latency_ms,
        cost_usd or prompt_tokens. `show_text` adds prompts and outputs where the server allows it."""
        from llmmon.output.views.requests import view_requests
        from llmmon.reports.requests import list_requests

        if show_text and not self._reach.allow_text:
            raise UsageError("texts are not allowed", hint="start the server with `llmmon mcp --allow-text`")
        query = self._chosen(where, window, since, until, log)
        report, found = list_requests(query, sort=sort, limit=_rows(limit), show_text=show_text)
        return self._answer(view_requests(report), found, limit)

    def anomalies(
        self,
        by: list[str] | None = None,
        sensitivity: str = "medium",
        where: str | None = None,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        log: str | None = None,
        limit: int = 10,
    ) -> dict[str, Any]:
        """Incidents: what broke, when, by how much and what contributed, learned from the whole history of the logs.
        `sensitivity` is low, medium or high."""
        from llmmon.anomaly.analysis import MonitorPlan, find_anomalies
        from llmmon.anomaly.detectors import Sensitivity
        from llmmon.output.views.anomalies import view_anomalies
        from llmmon.text.names import lookup

        lookup({level.value: level for level in Sensitivity}, sensitivity, "sensitivity")
        query = self._chosen(where, window, since, until, log)
        report, found = find_anomalies(query, MonitorPlan(by=tuple(by or ("model",)), sensitivity=sensitivity))
        view = view_anomalies(report, found.source)
        kept = {name: value for name, value in view.data.items() if name != "anomalies"}  # the incidents name them
        return self._answer(msgspec.structs.replace(view, data=kept), found, limit)

    def cost(
        self,
        by: list[str] | None = None,
        as_model: list[str] | None = None,
        waste: bool = False,
        where: str | None = None,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        log: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """What calls cost: logged against recalculated, how certain that is, unpriced models; `as_model`: what the same
        calls would cost with another model; `waste`: money that bought nothing."""
        query, fields = self._chosen(where, window, since, until, log), tuple(by or ("model",))
        if waste:
            from llmmon.output.views.waste import view_waste
            from llmmon.reports.waste import find_waste

            wasted, found = find_waste(query, by=fields, show=None)
            return self._answer(view_waste(wasted, query.tz), found, limit)
        from llmmon.output.views.costs import view_costs
        from llmmon.reports.costs import audit_costs

        report, found = audit_costs(query, by=fields, as_models=tuple(as_model or ()), every_us=0)
        return self._answer(view_costs(report), found, limit)

    def compare(
        self,
        at: str | None = None,
        split: str | None = None,
        by: list[str] | None = None,
        metric: list[str] | None = None,
        where: str | None = None,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """What changed: calls before and after a time (`at`), or between two values of a field (`split`, such as
        prompt_version or model=A,B), with confidence intervals and verdicts."""
        from llmmon.output.views.compare import view_compare
        from llmmon.reports.compare import ComparePlan, compare
        from llmmon.reports.sides import Split
        from llmmon.text.times import time_point

        if at is None and split is None:
            raise UsageError("nothing to compare", hint="give `at`, a time, or `split`, a field")
        query = self._chosen(where, window, since, until, None)
        plan = ComparePlan(
            split=Split.parse(split, time_point(at, query.tz) if at else None),
            by=tuple(by or ("model", "feature")),
            metrics=tuple(metric or ()),
        )
        report, source, _ = compare(query, plan)
        return self._bounded(view_compare(report, query.tz), source, limit)

    def sessions(
        self,
        session: str | None = None,
        by: list[str] | None = None,
        sort: str = "cost_usd",
        where: str | None = None,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        log: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """What sessions of agents cost and how they ended, with findings; `session` (an id or its beginning) shows one
        step by step."""
        from llmmon.output.views.sessions import view_sessions, view_timeline
        from llmmon.reports.session_timeline import session_timeline
        from llmmon.reports.sessions import report_sessions

        query = self._chosen(where, window, since, until, log)
        if session is not None:
            timeline, found = session_timeline(query, session, ())
            return self._answer(view_timeline(timeline, query.tz), found, limit)
        report, found = report_sessions(query, by=tuple(by or ()), sort=sort)
        return self._answer(view_sessions(report, query.tz), found, limit)

    def rules(self, limit: int = 50) -> dict[str, Any]:
        """The alert rules that apply, and what a check of them finds wrong."""
        from llmmon.alerting.lint import lint
        from llmmon.output.views.rules import view_lint
        from llmmon.text.times import MINUTE_US, duration_text

        config = self._reach.config
        found = lint(config.active_rules, config.channels, 5 * MINUTE_US)
        rules = [
            {
                "name": rule.name,
                "metric_name": rule.metric_name,
                "aggregation": rule.aggregation or None,
                "condition": str(rule.condition),
                "threshold": rule.threshold,
                "window": duration_text(rule.window_us),
                "severity": rule.severity.value,
                "by": list(rule.by),
                "where": rule.where or None,
                "kind": "incident" if rule.anomaly else "threshold" if rule.basis is None else "change or budget",
            }
            for rule in config.active_rules
        ]
        view = view_lint(config.active_rules, config.channels, found)
        return self._bounded(
            msgspec.structs.replace(view, data={"rules": rules, "findings": view.data["findings"]}), None, limit
        )

    def _chosen(
        self, where: str | None, window: str | None, since: str | None, until: str | None, log: str | None
    ) -> Query:
        query, wall_us = self._query, to_us(utc_now())
        time = query.time
        if window or since or until:
            time = TimeRequest.parse(wall_us=wall_us, window=window, since=since, until=until, tz=query.tz)
        conditions = [text for text in (query.where.text if query.where else "", where or "") if text]
        paths = self._paths()
        if log is not None:
            paths = [
                path
                for path in paths
                if path == log or (not is_url(path) and os.path.realpath(path) == os.path.realpath(log))
            ]
        if not paths:
            raise UsageError(
                f"{log or 'no log'} is not among the logs of this server", hint="the tool `logs` lists them"
            )
        return msgspec.structs.replace(
            query, logs=tuple(paths), wall_us=wall_us, time=time, where=all_of(conditions), rejects=None, progress=None
        )

    def _paths(self) -> list[str]:
        """The logs that may be read now: those that lie where the server's logs are, links out of there not."""
        found: list[str] = []
        for name in self._query.logs:
            expanded = sources.expand([name]).paths
            if is_url(name) or not (Path(name).is_dir() or any(sign in name for sign in "*?[")):
                found += expanded
                continue
            root = os.path.realpath(_fixed(name))
            found += [path for path in expanded if os.path.realpath(path).startswith(root.rstrip("/") + "/")]
        return list(dict.fromkeys(found))

    def _answer(self, view: View, found: Read, limit: int) -> dict[str, Any]:
        return self._bounded(view, found.source, limit)

    def _bounded(self, view: View, source: SourceReport | None, limit: int) -> dict[str, Any]:
        known = {} if source is None else source_data(source)
        about = {name: known[name] for name in ("requests", "start", "end", "warnings") if known.get(name)}
        answer = bounded({"source": about, "data": view.data}, _rows(limit), self._reach.most_chars)
        return dict(_without_keys(answer))


_MESSAGES: Final = frozenset({"error_message", "message"})


def _without_keys(value: Any) -> Any:
    """An answer without the credentials that texts of errors repeat."""
    from llmmon.quality.redaction import redact_keys

    if isinstance(value, list):
        return [_without_keys(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: redact_keys(one) if key in _MESSAGES and isinstance(one, str) else _without_keys(one)
        for key, one in value.items()
    }


TOOLS: Final = ("logs", "summarize", "requests", "anomalies", "cost", "compare", "sessions", "rules")


def _rows(limit: int) -> int:
    return min(limit if limit > 0 else _MOST_ROWS, _MOST_ROWS)


def _fixed(name: str) -> str:
    """The folder that a name is about: itself, or what comes before the first wildcard."""
    if Path(name).is_dir():
        return name
    parts = name.split("/")
    first = next(at for at, part in enumerate(parts) if any(sign in part for sign in "*?["))
    return "/".join(parts[:first]) or ("/" if name.startswith("/") else ".")


def bounded(answer: Mapping[str, Any], rows: int, chars: int) -> dict[str, Any]:
    """The answer with at most so many rows in each list, fewer where it would be longer than `chars`.

    `left_out` says how many rows of each list there were beyond these, and `to_see_more` what to do.
    """
    texts = _LONGEST_TEXT
    while True:
        left: dict[str, int] = {}
        cut = _cut(answer, rows, texts, "", left)
        if left:
            cut = {**cut, "left_out": left, "to_see_more": _MORE}
        if len(dumps(cut)) <= chars or (rows <= 1 and texts <= 50):
            return dict(cut)
        rows, texts = max(1, rows // 2), max(50, texts // 2)


def _cut(value: Any, rows: int, texts: int, place: str, left: dict[str, int]) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(inner, rows, texts, f"{place}.{name}".strip("."), left) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > rows:
            left[place] = left.get(place, 0) + len(value) - rows
        return [_cut(inner, rows, texts, place, left) for inner in value[:rows]]
    if isinstance(value, str) and len(value) > texts:
        return f"{value[:texts]}… ({len(value):,} characters)"
    return value


def serve(reach: Reach) -> None:
    """Answer an assistant over stdin and stdout until it leaves; raises `UsageError` without the extra."""
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError:
        raise missing_extra("mcp", "llmmon mcp") from None
    if "-" in reach.query.logs:
        raise UsageError("logs cannot come by stdin, which the assistant speaks on", hint="llmmon mcp logs/")
    server = MCPServer("llmmon", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = Tools(reach)
    only_reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    for name in TOOLS:
        server.add_tool(
            _said(getattr(tools, name), ToolError), name=name, annotations=only_reads, structured_output=False
        )
    server.run("stdio")


def _said(tool: Callable[..., dict[str, Any]], failure: type[Exception]) -> Callable[..., str]:
    """A tool whose answer is text, and whose errors are the protocol's."""

    @wraps(tool)
    def run(*args: Any, **given: Any) -> str:
        try:
            return dumps(tool(*args, **given))
        except (LlmmonError, OSError) as error:
            hint = f" (try: {error.hint})" if isinstance(error, LlmmonError) and error.hint else ""
            raise failure(f"{error}{hint}") from None

    run.__annotations__ = {**tool.__annotations__, "return": "str"}
    return run
