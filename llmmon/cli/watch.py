"""`llmmon watch`."""

import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmmon.cli.options import By, accepted_of, fields_of, with_logs
from llmmon.errors import UsageError

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.live.screen import LiveScreen
    from llmmon.live.watcher import Limit, LiveReport, Watcher, WatchPlan


Sort = Annotated[
    str, typer.Option(help="Sort by request_count, error_rate, latency_p95_ms or cost_total_usd.", metavar="METRIC")
]
Interval = Annotated[
    str | None, typer.Option(help="Time between updates. Default: 1s, or 10s if stdout is not a terminal.", metavar="D")
]
Count = Annotated[int | None, typer.Option(help="Exit after this many updates.", min=1, metavar="N")]
State = Annotated[Path | None, typer.Option(help="State file of `check`, for its alerts.", metavar="FILE")]
NoAnomalies = Annotated[bool, typer.Option("--no-anomalies", help="Skip anomaly detection.")]
_SHORTEST_S = 0.1


@partial(with_logs, without={"engine"})  # only new lines are read
def watch(
    query: "Query",
    output: "Output",
    config: "Config",
    by: By = None,
    sort: Sort = "request_count",
    interval: Interval = None,
    count: Count = None,
    state: State = None,
    no_anomalies: NoAnomalies = False,
) -> int:
    """Show growing logs live: rates, latency, cost and alerts.

    Examples:
      llmmon watch sample_logs/
      llmmon watch sample_logs/ --count 1
    """
    import sys

    import msgspec

    from llmmon.live.watcher import Watcher

    live = output.format == "table" and output.file is None and sys.stdout.isatty()
    every_s = _interval(interval, live=live)
    plan = _plan(query, output, by, sort, config.state_path(state, os.environ), no_anomalies)
    plan = msgspec.structs.replace(plan, accepted=lambda: accepted_of(config, state), limits=_limits(config))
    watcher = Watcher(query, plan, lambda: time.time_ns() // 1000)
    try:
        watcher.poll()
        if not live:
            if watcher.is_waiting:
                output.say(f"no log yet, waiting for {', '.join(query.logs)}")
            _print(watcher, output, every_s, count)
            return 0
        from llmmon.live.screen import LiveScreen

        with LiveScreen() as screen:
            _Display(watcher, screen, colour=output.colour()).run(every_s, count)
    finally:
        watcher.close()
    return 0


def _interval(text: str | None, *, live: bool) -> float:
    from llmmon.text.times import duration_us

    seconds = duration_us(text, plain="s") / 1e6 if text else 1.0 if live else 10.0
    if seconds < _SHORTEST_S:
        raise UsageError(f"--interval must be at least {_SHORTEST_S} s")
    return seconds


def _plan(
    query: "Query", output: "Output", by: list[str] | None, sort: str, state: Path | None, no_anomalies: bool
) -> "WatchPlan":
    from llmmon.live.rolling import LONGEST_US
    from llmmon.live.watcher import SORTS, WatchPlan
    from llmmon.text.names import lookup
    from llmmon.text.times import SECOND_US

    if query.time.since is not None or query.time.until is not None:
        raise UsageError("watch shows the last --window; --since and --until do not apply")
    if isinstance(query.time.now, int):
        raise UsageError("watch: --now must be wall or log")
    if query.rejects is not None:
        raise UsageError("watch does not keep rejected lines", hint="llmmon inspect LOGS --rejects FILE")
    if remote := next((name for name in query.logs if "://" in name), None):
        raise UsageError(
            f"{remote}: only logs on this machine can be followed", hint="`llmmon summarize` reads it once"
        )
    if "-" in query.logs:
        raise UsageError(
            "watch follows files, not standard input",
            hint="save the stream with `tee app.jsonl`, then llmmon watch app.jsonl",
        )
    if output.format not in ("table", "json", "jsonl") or output.file is not None:
        raise UsageError("watch writes to the screen, or one JSON object per line with -f jsonl")
    lookup({name: name for name in SORTS}, sort, "sort column")
    window_us = WatchPlan().window_us if query.time.window_us is None else query.time.window_us
    if not 10 * SECOND_US <= window_us <= LONGEST_US:
        raise UsageError("--window of watch must be from 10s to 24h")
    return WatchPlan(
        window_us=window_us,
        by=fields_of(by, "model"),
        sort=sort,
        state=state,
        anomalies=not no_anomalies,
    )


def _print(watcher: "Watcher", output: "Output", every_s: float, count: int | None) -> None:
    """Print one line per update, until nobody reads any more."""
    from llmmon.live.line import line_of, row_of
    from llmmon.output.renderers.json import dumps
    from llmmon.text.figures import plain

    started = time.monotonic()
    number = 0
    while True:
        watcher.tend()
        report = watcher.report()
        number += 1
        text = plain(line_of(report)) if output.format == "table" else dumps(row_of(report))
        if not _is_written(text) or number == count:
            return
        time.sleep(max(0.0, started + number * every_s - time.monotonic()))
        watcher.poll()


def _is_written(text: str) -> bool:
    """Print a line; whether there was somebody to read it."""
    import sys

    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return False
    return True


class _Display:
    """The loop on a terminal: keys at once, what is new every so often."""

    def __init__(self, watcher: "Watcher", screen: "LiveScreen", *, colour: bool) -> None:
        from llmmon.live.display import Screen

        self._watcher = watcher
        self._screen = screen
        self._shown = Screen(*screen.size, colour)
        self._report: LiveReport = watcher.report()

    def run(self, every_s: float, count: int | None) -> None:
        due = time.monotonic() + every_s
        shown = 1
        self._draw()
        while shown != count:
            left = due - time.monotonic()
            for key in _KEY.findall(self._screen.keys(left)) if left > 0 else ():
                if key == "\x04" or (key in "qQ" and not self._shown.typing):
                    return
                self._press(key)
            if time.monotonic() >= due:
                due = max(due + every_s, time.monotonic())
                shown += 1
                self._watcher.poll()
                self._watcher.tend()
                if not self._watcher.paused:
                    self._report = self._watcher.report()
            self._draw()

    def _press(self, key: str) -> None:
        if self._shown.typing:
            self._type(key)
        elif key in ("\x1b[A", "\x1b[B", "\x1bOA", "\x1bOB"):
            self._select(-1 if key.endswith("A") else 1)
        elif key in ("\r", "\n"):
            self._open()
        elif key in ("\x1b", "\x7f", "\x08"):
            self._back()
        elif key in _TOGGLES:
            self._set(**{_TOGGLES[key]: not getattr(self._shown, _TOGGLES[key])})
        else:
            self._steer(key)

    def _steer(self, key: str) -> None:
        """The keys that change what the watcher reports."""
        watcher = self._watcher
        actions: dict[str, Callable[[], None]] = {
            "g": watcher.next_group,
            "s": watcher.next_sort,
            "w": lambda: watcher.change_window(1),
            "+": lambda: watcher.change_window(1),
            "=": lambda: watcher.change_window(1),
            "-": lambda: watcher.change_window(-1),
            "p": watcher.toggle_pause,
        }
        if key in actions:
            actions[key]()
            self._report = watcher.report()

    def _type(self, key: str) -> None:
        """A key of the filter that is being typed."""
        text = self._shown.filter
        if key in ("\r", "\n"):
            self._set(typing=False)
        elif key == "\x1b":
            self._set(typing=False, filter="")
        elif key in ("\x7f", "\x08"):
            self._set(filter=text[:-1])
        elif key.isprintable():
            self._set(filter=text + key, selected=None)

    def _select(self, step: int) -> None:
        from llmmon.live.display import matching

        last = len(matching(self._report, self._shown.filter)) - 1
        at = self._shown.selected
        if last >= 0:
            self._set(selected=(0 if step > 0 else last) if at is None else min(max(at + step, 0), last))

    def _open(self) -> None:
        from llmmon.live.display import matching

        rows = matching(self._report, self._shown.filter)
        if rows and self._report.opened is None:
            at = min(self._shown.selected or 0, len(rows) - 1)
            self._watcher.opened = tuple(rows[at].key.values())
            self._set(selected=at, errors=False)
            self._report = self._watcher.report()

    def _back(self) -> None:
        """Leave the innermost of what was opened."""
        if self._shown.errors or self._shown.help:
            self._set(errors=False, help=False)
        elif self._watcher.opened is not None:
            self._watcher.opened = None
            self._report = self._watcher.report()
        else:
            self._set(filter="", selected=None)

    def _set(self, **changes: object) -> None:
        import msgspec

        self._shown = msgspec.structs.replace(self._shown, **changes)

    def _draw(self) -> None:
        from llmmon.live.display import frame

        width, height = self._screen.size
        self._set(width=width, height=height)
        self._screen.draw(frame(self._report, self._shown))


_KEY = re.compile(r"\x1b[\[O][A-Z]|[\s\S]")
_TOGGLES = {"?": "help", "e": "errors", "/": "typing"}  # key -> what it turns on or off


def _limits(config: "Config") -> "tuple[Limit, ...]":
    """The thresholds of the rules that are about a statistic of all calls, or of the groups that are shown."""
    from llmmon.alerting.sentences import statistic_of_name
    from llmmon.live.watcher import Limit

    found = []
    for rule in config.active_rules:
        statistic = statistic_of_name(rule.metric_name, rule.aggregation)
        if statistic is not None and rule.basis is None and not rule.anomaly and not rule.where:
            grave = rule.severity.rank >= 2
            found.append(Limit(statistic.name, rule.condition, rule.threshold, rule.by, grave))
    return tuple(found)
