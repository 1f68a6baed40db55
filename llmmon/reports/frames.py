"""Calls as a data frame of pandas, Polars or Arrow: for notebooks, by the one loader of all commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmmon.config import Config, load
from llmmon.errors import UsageError, missing_extra
from llmmon.formats.mapping import parse_override
from llmmon.ingest.cache import ColumnCache, cache_folder
from llmmon.ingest.parquet import Arrow, arrow
from llmmon.ingest.query import Query
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.filters import all_of
from llmmon.metrics.record import TAG_PREFIX
from llmmon.pricing.cost_modes import CostMode
from llmmon.reports.tables import Asked, calls_table, columns_of_calls, make, read_calls, tags_of
from llmmon.text.names import lookup, unknown
from llmmon.text.times import to_us, utc_now, zone

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_TABLES: Final = ("calls", "sessions", "tools", "incidents")


def read(
    logs: str | Path | Iterable[str | Path],
    *,
    table: str = "calls",
    columns: Iterable[str] | None = None,
    keep_text: bool = False,
    where: str | Iterable[str] = (),
    window: str | None = None,
    since: str | None = None,
    until: str | None = None,
    now: str | None = None,
    tz: str = "UTC",
    naive_tz: str = "UTC",
    dialect: str | None = None,
    map: Mapping[str, str] | None = None,  # noqa: A002 - as the option is called
    cost: str = CostMode.AUTO,
    dedup: bool = False,
    jobs: int | None = None,
    config: str | Path | None = None,
    frame: str | None = None,
) -> pd.DataFrame | pl.DataFrame | Arrow:
    """Read the calls of logs (or the `table` sessions, tools or incidents) as a data frame, one row each.

    `logs` are files, folders, globs or URLs. `columns` names the columns of calls to read (all but texts without it;
    fewer are read faster); `keep_text` adds prompts and outputs. `frame` is pandas, polars or arrow; without it, the
    first of them that is installed. The other parameters are the command line's options of the same name. `config`
    names an `llmmon.toml` for prices, time zones and fields; none is looked for. Times are UTC, missing is null.

    Raises `UsageError` for parameters, `InputError` for logs that cannot be used, as the commands do.
    """
    library = _library(frame)
    query = _query(
        (str(logs),) if isinstance(logs, (str, Path)) else tuple(str(log) for log in logs),
        config=Config() if config is None else load(str(config), os.environ, Path.cwd()),
        where=(where,) if isinstance(where, str) else tuple(where),
        time={"window": window, "since": since, "until": until, "now": now},
        tz=tz,
        naive_tz=naive_tz,
        dialect=dialect,
        fields=map or {},
        cost=cost,
        dedup=dedup,
        jobs=jobs,
    )
    lookup(dict.fromkeys(_TABLES), table, "table")
    if table != "calls":
        if columns is not None or keep_text:
            raise UsageError(f"columns and keep_text do not apply to the table {table!r}")
        return _FRAMES[library](make(table, Asked(query=query))[0])
    return _FRAMES[library](_calls(query, columns, keep_text=keep_text))


def _calls(query: Query, columns: Iterable[str] | None, *, keep_text: bool) -> Arrow:
    known = columns_of_calls(texts=keep_text)
    asked = None if columns is None else tuple(dict.fromkeys(columns))
    if asked is None:
        fields, tags = tuple(known), tags_of(query)
    else:
        fields = tuple(name for name in asked if not name.startswith(TAG_PREFIX))
        for name in fields:
            if name not in known:
                hint = "keep_text=True adds texts" if name in columns_of_calls(texts=True) else None
                raise UsageError(unknown("column", name, known), hint=hint)
        tags = tuple(name.removeprefix(TAG_PREFIX) for name in asked if name.startswith(TAG_PREFIX))
    found, seen = read_calls(query, fields or ("timestamp",), tags)
    table = calls_table(found, fields, tags, seen.scanned)
    return table if asked is None else table.select(list(asked))


def _query(
    logs: tuple[str, ...],
    *,
    config: Config,
    where: tuple[str, ...],
    time: Mapping[str, str | None],
    tz: str,
    naive_tz: str,
    dialect: str | None,
    fields: Mapping[str, str],
    cost: str,
    dedup: bool,
    jobs: int | None,
) -> Query:
    if not logs:
        raise UsageError("no logs named", hint='llmmon.read("logs/")')
    for name in {tz, naive_tz} - {"UTC"}:
        zone(name)
    if dialect:
        from llmmon.formats import DIALECTS

        lookup(dict.fromkeys((*DIALECTS, "generic", "llmmon")), dialect, "dialect")
    wall_us = to_us(utc_now())
    mapped = {**config.map, **fields}
    return Query(
        logs=logs,
        wall_us=wall_us,
        time=TimeRequest.parse(wall_us=wall_us, tz=tz, **time),
        where=all_of(where),
        prices=config.prices,
        tz=tz,
        naive_tz=naive_tz,
        dialect=dialect or config.dialect,
        overrides=tuple(parse_override(f"{name}={path}") for name, path in mapped.items()),
        root=config.root,
        cost=lookup({mode.value: mode for mode in CostMode}, cost, "cost mode"),
        jobs=jobs,
        dedup=dedup,
        cache=ColumnCache(cache_folder(os.environ)),
    )


def _library(name: str | None) -> str:
    """The library that makes the frame; raises `UsageError` where it is not installed."""
    from importlib.util import find_spec

    arrow("llmmon.read")
    if name is not None:
        lookup(_FRAMES, name, "frame")
        if name != "arrow" and find_spec(name) is None:
            raise missing_extra(name, f"frame={name!r}")
        return name
    return next((one for one in _FRAMES if one != "arrow" and find_spec(one) is not None), "arrow")


def _pandas(table: Arrow) -> pd.DataFrame:
    """Names are categories, whole numbers with gaps `Int64`, times UTC."""
    import pandas as pd

    types = {"int64": pd.Int64Dtype(), "bool": pd.BooleanDtype()}
    found: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: types.get(str(kind)))
    return found


def _polars(table: Arrow) -> pl.DataFrame:
    import polars as pl

    found = pl.from_arrow(table)
    if not isinstance(found, pl.DataFrame):
        raise TypeError("a table is a data frame")
    return found


_FRAMES: Final[dict[str, Callable[[Arrow], Any]]] = {"pandas": _pandas, "polars": _polars, "arrow": lambda table: table}
