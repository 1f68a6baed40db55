"""The options that commands share, spelled the same everywhere, and the query that is made of them.

A command declares a `query` and an `output` parameter; `with_logs` replaces them by the shared options.
"""

import functools
import inspect
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from llmmon.errors import UsageError

if TYPE_CHECKING:
    from llmmon.alerting.rules import AlertRule
    from llmmon.alerting.state import StateFile
    from llmmon.anomaly.incidents import Accepted
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query


class Shared(NamedTuple):
    """One shared option: its name as a parameter, its type with help, its default."""

    name: str
    annotation: Any
    default: Any = None


def _option(text: str, *names: str, kind: Any = str | None, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*names, help=text, show_default=False, **more)]


LOGS: Final = Shared(
    "logs",
    Annotated[
        list[str] | None,
        typer.Argument(metavar="[LOGS]...", help="Files, globs, folders, or - for stdin.", show_default=False),
    ],
)
_MANY: Final = list[str] | None

By = Annotated[
    list[str] | None, typer.Option(help="Group by this field or tag.X; repeatable. Default: model.", metavar="FIELD")
]


def limit_of(what: str) -> Any:
    """The option `--limit` of a command; `with_logs` gives its parameter the number that applies (0: all)."""
    return typer.Option(
        help=f"Number of {what} to show; 0 shows all.",
        min=0,
        metavar="N",
        show_default=False,
    )


StateOption = Annotated[
    Path | None, typer.Option("--state", help="State file. Default: the configuration's.", metavar="FILE")
]

READING: Final = (
    Shared("window", _option("Only the last minutes (60), or a duration such as 2h.", metavar="W")),
    Shared("since", _option("Start of the time range: a time, 2h or 3d (ago), today, yesterday.", metavar="TIME")),
    Shared("until", _option("End of the time range, in the same forms.", metavar="TIME")),
    Shared(
        "now",
        _option("What 2h and --window count back from: log (its end), wall (the clock), or a time.", metavar="TIME"),
    ),
    Shared("tz", _option("Time zone of days and of output. Default: UTC.", "--tz", metavar="ZONE")),
    Shared("naive_tz", _option("Time zone of timestamps without one. Default: UTC.", "--naive-tz", metavar="ZONE")),
    Shared("where", _option("Only calls such as 'model=gpt-4o* and latency_ms>2000'.", kind=_MANY, metavar="COND")),
    Shared("dialect", _option("Read the logs as this dialect.", metavar="NAME")),
    Shared("map", _option("Read a field from this key: latency_ms=took:s.", kind=_MANY, metavar="FIELD=PATH[:UNIT]")),
    Shared("root", _option("The object that is the call, such as call or data.llm.", "--root", metavar="PATH")),
    Shared("cost", _option("auto, logged, calculated or none. Default: auto.", metavar="MODE")),
    Shared("dedup", _option("Count calls with the same request id once.", "--dedup", kind=bool), False),
    Shared("jobs", _option("Worker processes. Default: one per processor.", kind=int | None, min=1, metavar="N")),
    Shared("engine", _option("local, or a Dask cluster: dask://HOST:PORT.", metavar="ENGINE")),
    Shared("no_cache", _option("Do not use the cache of parsed columns.", "--no-cache", kind=bool), False),
    Shared("rejects", _option("Write unreadable lines to this file.", kind=Path | None, metavar="FILE")),
    Shared("config", _option("Configuration file.", metavar="FILE")),
)
WRITING: Final = (
    Shared("format", _option("table, json, jsonl, csv, markdown, junit or sarif.", "--format", "-f", metavar="FORMAT")),
    Shared("output_file", _option("Write to this file; its ending sets the format.", "-o", "--output", metavar="FILE")),
    Shared("force", _option("Replace a file that is an input or holds something else.", "--force", kind=bool), False),
    Shared("quiet", _option("Suppress progress and notes on stderr.", "--quiet", "-q", kind=bool), False),
)


_GIVEN: Final = frozenset({"query", "output", "config"})  # parameters that are made of the options


def with_logs(
    command: Callable[..., int | None],
    *,
    optional: bool | Callable[[Mapping[str, Any]], bool] = False,
    unless: str = "",
    rows_apart: bool = False,
    without: AbstractSet[str] = frozenset(),
) -> Callable[..., None]:
    """Give a command the shared options; its return value is the exit code.

    The wrapped function takes `query`, `output` or `config` and whatever options it declares of its own. Where logs are
    `optional` (maybe by what is given), or the option `unless` is given, none are read unless they are named; `without`
    are options that do not apply. With `rows_apart`, `-o` gets only the rows, and the screen the rest.
    """
    wanted = _GIVEN & inspect.signature(command).parameters.keys()
    own = [_unset(p) for p in inspect.signature(command).parameters.values() if p.name not in _GIVEN]
    tables_show = getattr(inspect.signature(command).parameters.get("limit"), "default", 0)
    shared = [option for option in (*READING, *WRITING) if option.name not in without]
    absent = dict.fromkeys(without)
    parameters = [
        inspect.Parameter(LOGS.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LOGS.annotation),
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
        *(
            inspect.Parameter(s.name, inspect.Parameter.KEYWORD_ONLY, default=s.default, annotation=s.annotation)
            for s in shared
        ),
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = ReadingOptions(**{name: (given | absent)[name] for name in ReadingOptions._fields})
        output = _with_tags(_output(given | absent), given.get("by"))
        config = load_config(options.config, output)
        if "limit" in given:
            given["limit"] = output.limit(given["limit"], tables_show, rows_apart=rows_apart)
        without_logs = optional(given) if callable(optional) else optional
        query = options.resolve(config, output, logs_optional=without_logs or bool(unless and given[unless]))
        if not (given | absent)["force"]:
            _check_outputs(given | absent, query, output, config)
        ready = {"query": query, "output": output, "config": config}
        code = command(**{name: ready[name] for name in wanted}, **{p.name: given[p.name] for p in own})
        raise typer.Exit(code or 0)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _unset(parameter: inspect.Parameter) -> inspect.Parameter:
    """The same parameter; that of `--limit` as one that may not be given, whose default is for tables only."""
    if parameter.name != "limit":
        return parameter
    (option,) = parameter.annotation.__metadata__
    option.help += f" Default: {parameter.default} in tables on the screen, else all."
    return parameter.replace(annotation=Annotated[int | None, option], default=None)


def _check_outputs(given: dict[str, Any], query: "Query", output: "Output", config: "Config") -> None:
    """Raise `UsageError` for an option that names a file to write which is an input, or of another kind."""
    named = {
        "-o": output.file,
        "--rejects": query.rejects,
        "--write": given.get("write"),
        "--state": given.get("state"),
    }
    written = {option: path for option, path in named.items() if path is not None and path.exists()}
    if not written:
        return
    from llmmon.cli.output import check_kind, check_replaceable
    from llmmon.ingest.sources import expand

    inputs = (*expand([name for name in query.logs if name != "-"]).paths, *([str(config.path)] if config.path else []))
    for option, path in written.items():
        check_replaceable(option, path, inputs)
        if option == "--write":
            raise UsageError(f"--write {path}: the file exists", hint="write elsewhere, or replace it with --force")
    if output.file is not None:
        check_kind(output.file, given["format"] or "")


class ReadingOptions(NamedTuple):
    """The options of `READING` as they were given: texts that have not been looked at."""

    logs: list[str] | None
    window: str | None
    since: str | None
    until: str | None
    now: str | None
    tz: str | None
    naive_tz: str | None
    where: list[str] | None
    dialect: str | None
    map: list[str] | None
    root: str | None
    cost: str | None
    dedup: bool
    jobs: int | None
    engine: str | None
    no_cache: bool
    rejects: Path | None
    config: str | None

    def resolve(self, config: "Config", output: "Output", *, logs_optional: bool = False) -> "Query":
        """Make the query of these options and the configuration; raises `UsageError` for what cannot be read.

        Where logs are optional, only those that are named count.
        """
        from llmmon.formats.mapping import parse_override
        from llmmon.ingest.cache import ColumnCache, cache_folder
        from llmmon.ingest.query import Query
        from llmmon.ingest.time_range import TimeRequest
        from llmmon.metrics.filters import all_of
        from llmmon.pricing.cost_modes import CostMode
        from llmmon.text.names import lookup
        from llmmon.text.times import zone

        tz, naive_tz = self.tz or config.timezone, self.naive_tz or config.naive_timezone
        for name in {tz, naive_tz} - {"UTC"}:
            zone(name)
        wall_us = time.time_ns() // 1000
        return Query(
            logs=tuple(self.logs or ()) if logs_optional else logs_of(self.logs, config),
            wall_us=wall_us,
            time=TimeRequest.parse(
                wall_us=wall_us, window=self.window, since=self.since, until=self.until, now=self.now, tz=tz
            ),
            where=all_of(self.where or ()),
            prices=config.prices,
            tz=tz,
            naive_tz=naive_tz,
            dialect=_dialect(self.dialect or config.dialect),
            overrides=tuple(parse_override(text) for text in (*(self.map or ()), *_configured(config.map, self.map))),
            root=self.root or config.root,
            cost=lookup({mode.value: mode for mode in CostMode}, self.cost or "auto", "cost mode"),
            jobs=self.jobs,
            engine=self._scheduler(),
            dedup=self.dedup,
            rejects=self.rejects,
            cache=None if self.no_cache else ColumnCache(cache_folder(os.environ)),
            progress=output.progress(),
            say=output.say,
            warn=output.warn,
        )

    def _scheduler(self) -> str | None:
        """The Dask scheduler of `--engine`, as HOST:PORT; None for this machine."""
        engine = self.engine or "local"
        if engine == "local":
            return None
        if not re.fullmatch(r"dask://[^/@]+:\d+", engine):
            raise UsageError(f"unknown engine '{engine}'", hint="--engine local, or --engine dask://HOST:PORT")
        if self.rejects:
            raise UsageError("--rejects needs --engine local: the files of the workers are on other machines")
        return engine.removeprefix("dask://")


def _configured(configured: Mapping[str, str], given: list[str] | None) -> list[str]:
    """The entries of `[map]` for fields that `--map` does not name."""
    named = {text.partition("=")[0] for text in given or ()}
    return [f"{field}={path}" for field, path in configured.items() if field not in named]


def _output(given: dict[str, Any]) -> "Output":
    from llmmon.cli.output import Output

    private = bool(given.get("keep_text") or given.get("show_text"))
    return Output.of(given["format"], given["output_file"], quiet=given["quiet"], private=private)


def _with_tags(output: "Output", by: list[str] | None) -> "Output":
    """The output that says so where no call has a tag of `--by`."""
    if not by:
        return output
    import msgspec

    from llmmon.metrics.record import FIELDS, TAG_PREFIX

    names = [name.strip() for name in names_of(by)]
    tags = (name if name.startswith(TAG_PREFIX) else f"{TAG_PREFIX}{name}" for name in names if name not in FIELDS)
    return msgspec.structs.replace(output, tags=tuple(tags))


def _dialect(name: str | None) -> str | None:
    """The name of a dialect, checked; raises `UsageError`."""
    if name:
        from llmmon.formats import DIALECTS
        from llmmon.text.names import lookup

        lookup(dict.fromkeys((*DIALECTS, "generic", "llmmon")), name, "dialect")
    return name


def load_config(chosen: str | None, output: "Output") -> "Config":
    """The configuration that applies; its path is noted on stderr."""
    from llmmon.config import load

    config = load(chosen, os.environ, Path.cwd())
    if config.path is not None:
        output.say(f"configuration: {config.path}")
    return config


def logs_of(given: list[str] | None, config: "Config") -> tuple[str, ...]:
    """The logs named, else those of the configuration, of $LLMMON_LOGS, of stdin."""
    if given:
        return tuple(given)
    if config.logs:
        return config.logs
    if named := os.environ.get("LLMMON_LOGS"):
        return tuple(re.split(rf"{re.escape(os.pathsep)}(?!//)", named))  # a URL has a colon, too
    if _stdin_has_data():
        return ("-",)
    raise UsageError(
        "no logs named",
        hint="llmmon COMMAND LOGS..., or `logs = [...]` in llmmon.toml, or $LLMMON_LOGS, or a pipe into stdin",
    )


def _stdin_has_data() -> bool:
    """Whether stdin is a pipe, a socket or a file, rather than a terminal, /dev/null or closed."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def active_rules(config: "Config", output: "Output") -> "tuple[AlertRule, ...]":
    """The rules that apply; a note on stderr says so where they are the default ones."""
    if not config.rules:
        output.say("no rules are configured: the two default rules apply (`llmmon init` writes a file)")
    return config.active_rules


def fields_of(by: list[str] | None, *default: str, option: str = "--by") -> tuple[str, ...]:
    """The fields of `--by`, which may be repeated and take several with commas; raises `UsageError`."""
    if not by:
        return default
    from llmmon.metrics.vocabulary import name_field

    return tuple(name_field(name.strip(), option=option) for name in names_of(by))


def names_of(given: list[str] | None, *default: str) -> tuple[str, ...]:
    """Names as they were given, which may be repeated and come several with commas between them."""
    return tuple(name for text in given for name in text.split(",")) if given else default


@contextmanager
def opened_state(
    chosen: str | None, state: Path | None, output: "Output | None" = None
) -> "Iterator[tuple[StateFile, Config]]":
    """Open the state file of the configuration; raises `UsageError` without either."""
    from llmmon.alerting.state import StateFile
    from llmmon.cli.output import Output

    output = output or Output.of(None, None, quiet=False)
    found = load_config(chosen, output)
    path = found.state_path(state, os.environ)
    if path is None:
        raise UsageError(
            "no configuration, so there is no state file", hint="name one with --config FILE or --state FILE"
        )
    with StateFile(path) as store:
        yield store, found


def accepted_of(config: "Config", state: Path | None = None) -> "Accepted":
    """The new levels that the configuration or people accepted as the baseline."""
    from llmmon.anomaly.incidents import Accepted

    path = config.state_path(state, os.environ)
    if path is None or not path.exists():
        return Accepted(before_us=config.accepted_before_us)
    from llmmon.alerting.actions import accepted_incidents

    return Accepted(accepted_incidents(path), config.accepted_before_us)
