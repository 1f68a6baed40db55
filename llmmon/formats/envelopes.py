"""Objects around the objects that matter: exports, container runtimes, cloud log services, log libraries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats import DIALECTS, claimant, replier
from llmmon.formats.dialect import Dialect, Object
from llmmon.formats.dialects.bodies import BODY_KEYS
from llmmon.formats.home_made import holds, is_extended
from llmmon.formats.json_text import UnreadableError, object_of, stamped, text_object
from llmmon.formats.mapping import OPENED_TEXTS, embedded

Claimed = tuple[Dialect | None, Object]
_LISTS: Final = (
    "records",
    "data",
    "runs",
    "observations",
    "events",
    "spans",
    "logs",
    "logEvents",
    "items",
    "result",
    "results",
    "rows",
)
_TEXTS: Final = OPENED_TEXTS
_OBJECTS: Final = ("data", "jsonPayload", "record", "_source", "result", "hits", "streams", "line")
_ALL: Final = frozenset({*_LISTS, *_TEXTS, *_OBJECTS})
_TIMES: Final = (
    *("time", "@timestamp", "timestamp", "ts", "instant", "Timestamp", "date", "datetime", "asctime", "eventTime"),
    *("event_time", "created_at", "__REALTIME_TIMESTAMP"),
)
_DEEPEST: Final = 3
# a value beside the list that says that the object is a record itself, not a wrapper
_OWN: Final = frozenset({"model", "usage", "latency", "latency_ms", "duration", "duration_ms", "prompt_tokens"})


def objects_in(found: Object, forced: str | None = None, depth: int = _DEEPEST) -> list[Claimed]:
    """The records in an object with the dialect of each (None: home-made); most often the object itself."""
    if forced is None:
        dialect = claimant(found)
        if dialect is not None:
            return [(None if is_extended(found, dialect) else dialect, found)]
    elif (named := DIALECTS.get(forced)) is not None and named.claims(found):
        return [(named, found)]
    inner = (opened(found) or _event_in(found) or _calls_listed(found) or _text_decoded(found)) if depth else None
    if inner is not None:
        return [each for one in inner for each in objects_in(one, forced, depth - 1)]
    return [(None if forced is None else DIALECTS.get(forced), found)]


def opened(found: Object) -> list[Object] | None:
    """The objects in an envelope, None if it is none."""
    if found.keys().isdisjoint(_ALL):
        return None
    for way in (_docker, _listed, _texted, _held):
        if (inner := way(found)) is not None:
            return inner
    return None


def _docker(found: Object) -> list[Object] | None:
    """Docker's json-file: `{"log": "...", "stream": "stdout", "time": "..."}`; also lines that hold no JSON."""
    if "log" not in found or "stream" not in found or not isinstance(found["log"], str):
        return None
    return list(_in_text(found, found["log"]))


def _listed(found: Object) -> list[Object] | None:
    results = found.get("results")
    if isinstance(results, list) and results and all(isinstance(each, list) for each in results):
        return [row for each in results if (row := _fields(each))] or None
    if not found.keys().isdisjoint(_OWN):
        return None
    for key in _LISTS:
        inner = found.get(key)
        if isinstance(inner, list) and inner and all(isinstance(each, dict) for each in inner):
            return inner
    return None


def _text_decoded(found: Object) -> list[Object] | None:
    """The object with the call, or the request and the response, that stand as JSON in its texts."""
    opened: Object = {}
    for key, value in found.items():
        if type(value) is str and value.startswith("{"):
            inner = embedded(value)
            if isinstance(inner, dict) and holds(inner) and not (key in BODY_KEYS and replier(inner)):
                opened[key] = inner
    return [{**found, **opened}] if opened else None


def _event_in(found: Object) -> list[Object] | None:
    """The event of a stream under any key of an object: what it means depends on those before it."""
    for value in found.values():
        if type(value) is dict and "type" in value:
            dialect = claimant(value)
            if dialect is not None and dialect.name in _EVENTS:
                return [stamped(value, _time_of(found))]
    return None


_EVENTS: Final = frozenset({"anthropic_event", "openai_event"})


def _fields(row: list[Any]) -> Object:
    """A row of CloudWatch's Logs Insights: a list of fields with their values."""
    pairs = [each for each in row if isinstance(each, dict) and isinstance(each.get("field"), str)]
    return {each["field"]: each.get("value") for each in pairs}


def _calls_listed(found: Object) -> list[Object] | None:
    """Calls in a list under any key of an object that is none itself; what stands around the list completes them."""
    if holds(found):
        return None
    for key, value in found.items():
        if type(value) is list and value and type(value[0]) is dict and key not in _LISTS:
            calls = [each for each in value if type(each) is dict and holds(each)]
            if calls:
                around = {name: each for name, each in found.items() if not isinstance(each, (list, dict))}
                return [{**around, **each} for each in calls]
    return None


def _texted(found: Object) -> list[Object] | None:
    for key in _TEXTS:
        text = found.get(key)
        if isinstance(text, str) and "{" in text and found.keys().isdisjoint(_OWN):
            inner = list(_in_text(found, text))
            if inner:
                return inner
    return None


def _in_text(found: Object, text: str) -> Iterator[Object]:
    text = text.strip()
    try:
        inner = object_of(text.encode("utf-8", "replace")) if text.startswith("{") else text_object(text)
    except UnreadableError:
        return
    yield stamped(inner, _time_of(found))


def _held(found: Object) -> list[Object] | None:
    """One object inside another: `data` of an API's reply, Google Cloud's `jsonPayload`, loguru's `record.extra`."""
    if isinstance(payload := found.get("jsonPayload"), dict):
        return [stamped(payload, _time_of(found))]
    if (exported := _exported(found)) is not None:
        return exported
    if isinstance(data := found.get("data"), dict) and len(found) <= 2 and claimant(data) is not None:
        return [data]
    record = found.get("record")
    if isinstance(record, dict) and "text" in found and isinstance(extra := record.get("extra"), dict) and extra:
        time = record.get("time")
        return [stamped(extra, time.get("timestamp") if isinstance(time, dict) else None)]
    return None


def _exported(found: Object) -> list[Object] | None:
    """Hits of Elasticsearch (`_source`), results of Splunk (`_raw` in `result`), and streams of Loki."""
    source, result, hits = found.get("_source"), found.get("result"), found.get("hits")
    if isinstance(source, dict) and "_index" in found:
        return [source]
    if isinstance(hits, dict) and isinstance(listed := hits.get("hits"), list):
        return [each for each in listed if isinstance(each, dict)]
    if isinstance(result, dict) and (found.keys() & {"preview", "offset", "lastrow"} or "_raw" in result):
        raw = result.get("_raw")
        inner = list(_in_text({"time": result.get("_time")}, raw)) if isinstance(raw, str) and "{" in raw else []
        return inner or [stamped(result, result.get("_time"))]
    if isinstance(line := found.get("line"), str) and "labels" in found and "{" in line:
        return list(_in_text(found, line)) or None  # as `logcli` prints it
    streams = found.get("data") if isinstance(found.get("data"), dict) else found
    listed = streams.get("result", streams.get("streams")) if isinstance(streams, dict) else None
    if isinstance(listed, list) and listed and all(isinstance(each, dict) and "values" in each for each in listed):
        return [one for stream in listed for one in _loki(stream.get("values"))]
    return None


def _loki(values: Any) -> Iterator[Object]:
    """The lines of a stream: pairs of nanoseconds, as a text, and a text."""
    for pair in values if isinstance(values, list) else ():
        if isinstance(pair, list) and len(pair) >= 2 and isinstance(pair[1], str) and "{" in pair[1]:
            yield from _in_text({"time": pair[0]}, pair[1])


def _time_of(found: Object) -> Any:
    return next((found[key] for key in _TIMES if found.get(key) is not None), None)
