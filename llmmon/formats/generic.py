"""Home-made logs: the mapping of a file from the names of its keys, and the rows of its objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from llmmon.formats.dialect import below
from llmmon.formats.dialects.bodies import body_in
from llmmon.formats.mapping import SLOTS, Binding, FieldMapping, Keys, Path, Picker, Slot, admit, shape_of, value_at
from llmmon.formats.written_times import date_order
from llmmon.metrics.record import TAG_PREFIX

_ALIASES: Final[dict[str, str]] = {
    "start": (
        "timestamp ts createdat starttime startedat time date datetime datetimeutc requesttime loggedat "
        "@timestamp tstamp created start arrivaltime requesttimestamp asctime @t instant "
        "eventtime eventtimestamp createdon createtime starttimestamp timestampms timestampus timestampns tsms"
    ),
    "end": "endtime endedat finishedat completedat finish end",
    "latency": (
        "latencyms durationms latency duration latencys latencysec latencyseconds elapsed elapsedtime elapsedms "
        "elapseds durations durationsec durationseconds responsetime responsetimems totalduration totaldurationms "
        "executiontime executiontimems processingtime processingtimems e2elatency e2elatencyms took tookms walls "
        "walltime timetaken latencyus latencyns durationus durationns responsems totaltime totaltimems"
    ),
    "ttft": (
        "timetofirsttokenms ttftms timetofirsttoken ttft ttfts firsttokenms firsttokenlatency firsttokenlatencyms "
        "timetofirstchunk timetofirstchunkms timetofirsttokens"
    ),
    "model": ("model modelname modelid modelused selectedmodel responsemodel deployment engine llm llmmodel"),
    "model_requested": "modelrequested requestedmodel requestmodel",
    "provider": "provider llmprovider vendor backend api",
    "operation": "operation calltype",
    "prompt_tokens": (
        "prompttokens inputtokens tokensin tokensinput inputtokencount prompttokencount numinputtokens numprompttokens "
        "nprompttokens contexttokens inputlength usage.input tokens.input tokens.prompt tokens.in usage.prompt prompt"
    ),
    "completion_tokens": (
        "completiontokens outputtokens tokensout tokensoutput outputtokencount completiontokencount generatedtokens "
        "numoutputtokens numcompletiontokens outputlength usage.output tokens.output tokens.completion tokens.out "
        "usage.completion completion"
    ),
    "total_tokens": "totaltokens tokensused tokens tokencount usagetotal usage.total tokens.total total",
    "cached_tokens": (
        "cachedtokens cachereadinputtokens cachereadtokens cachedinputtokens tokenscached cachehittokens "
        "promptcachehittokens prompttokensdetails.cachedtokens inputtokensdetails.cachedtokens tokens.cached"
    ),
    "cache_write_tokens": "cachecreationinputtokens cachewritetokens cachewriteinputtokens",
    "cache_write_1h_tokens": "cachewrite1htokens cachecreation1htokens",
    "reasoning_tokens": (
        "reasoningtokens reasoningoutputtokens thinkingtokens thoughtstokencount tokensreasoning "
        "completiontokensdetails.reasoningtokens outputtokensdetails.reasoningtokens"
    ),
    "cost": (
        "costusd cost totalcost totalcostusd costtotal estimatedcost estimatedcostusd price priceusd spend "
        "responsecost costcents costinusd cost.amount cost.total cost.usd"
    ),
    "cost_input": "inputcost promptcost inputcostusd cost.input",
    "cost_output": "outputcost completioncost outputcostusd cost.output",
    "service_tier": "servicetier",
    "cache_hit": "cachehit fromcache iscached",
    "written": "llmmoncall",
    "attempt": "attempt retryattempt retrycount retries attemptnumber",
    "success": "success ok succeeded issuccess",
    "failed": "iserror failed haserror",
    "outcome": "status responsestatus outcome state",
    "status_code": "statuscode httpstatus httpstatuscode responsecode httpcode",
    "error": "error exception err",
    "error_type": "errortype errorcode errorclass exceptiontype errorkind",
    "error_message": "errormessage errormsg errortext",
    "finish_reason": "finishreason stopreason finishreasons completionreason",
    "request_id": "requestid id callid reqid responseid runid uuid messageid",
    "trace": "traceid correlationid trace",
    "session": "sessionid conversationid threadid chatid session",
    "user": "userid user enduser customerid tenantid username useremail accountid",
    "feature": "feature step stage usecase phase agent task caller endpoint node source app appname",
    "prompt_version": "promptversion templateversion promptid prompttemplateversion",
    "quality_score": "qualityscore quality score rating",
    "prompt": "prompt messages input request query question usermessage promptpreview inputtext prompttext",
    "output": (
        "output response completion content answer text result responsepreview outputtext responsetext reply generation"
    ),
    "expected": "expected expectedoutput reference referenceanswer groundtruth",
    "context": "context contexts retrievedcontext documents",
    "system": "system systemprompt systemmessage systeminstruction",
    "schema": "schema responseformat responseschema outputschema jsonschema requiredkeys",
}
CONTAINERS: Final = frozenset(
    (
        "usage tokenusage tokens metrics metadata extra response request data payload properties result timing "
        "timings cost prompttokensdetails completiontokensdetails inputtokensdetails outputtokensdetails meta "
        "attributes"
    ).split()
)
# aliases whose own value decides: a count if it is a number, text if it is not
_TEXT_OR_COUNT: Final = frozenset({"prompt", "completion", "tokens", "total", "input", "output"})
_SUFFIXES: Final = (("ms", "ms"), ("us", "us"), ("ns", "ns"), ("seconds", "s"), ("sec", "s"), ("s", "s"))
# what remains of the name of a length of time when its unit is taken off
_STEMS: Final = frozenset(
    (
        "latency duration elapsed responsetime totalduration executiontime processingtime e2elatency took "
        "timetaken wall elapsedtime ttft timetofirsttoken firsttoken firsttokenlatency timetofirstchunk walltime "
        "totaltime response"
    ).split()
)
_TOP: Final = 100  # the reply of a provider inside the object ranks before its own keys
_NESTED: Final = 1000  # a key inside an object ranks behind every key at the top


def aliases_of(slot: str) -> list[str]:
    """The names that a slot goes by, most common first, as they are compared."""
    return _ALIASES[slot].split()


@lru_cache(maxsize=65536)
def fold(key: str) -> str:
    """A key as it is compared: lower case, no separators."""
    return key.lower().translate(_DROP)


_DROP: Final = {ord(sign): None for sign in "_-. "}


def _ranks() -> dict[str, tuple[tuple[str, int], ...]]:
    table: dict[str, list[tuple[str, int]]] = {}
    for slot, aliases in _ALIASES.items():
        for rank, alias in enumerate(aliases.split()):
            table.setdefault(alias, []).append((slot, rank))
    for stem in _STEMS & table.keys():  # every length of time in every unit
        for suffix, _ in _SUFFIXES:
            table.setdefault(stem + suffix, table[stem])
    return {alias: tuple(found) for alias, found in table.items()}


_RANKS: Final = _ranks()


@lru_cache(maxsize=65536)
def bindings_at(path: Path) -> tuple[Binding, ...]:
    """The bindings that a path's name suggests, units by suffix only."""
    return tuple(Binding(slot, rank, path, _suffix_unit(slot, path)) for slot, rank in _named(path) if slot in SLOTS)


def _named(path: Path) -> Iterator[tuple[str, int]]:
    keys = [fold(step) for step in path]
    if len(keys) == 1:
        for slot, rank in _RANKS.get(keys[0], ()):
            yield slot, rank + _TOP
        return
    dotted = ".".join(keys[-2:])
    for slot, rank in _RANKS.get(dotted, ()):
        yield slot, rank + _NESTED
    if dotted not in _RANKS and keys[-1] not in _TEXT_OR_COUNT:
        for slot, rank in _RANKS.get(keys[-1], ()):
            yield slot, rank + _NESTED * len(keys)


def _suffix_unit(slot: str, path: Path) -> str:
    key = fold(path[-1])
    if slot == "cost":
        return "cents" if key.endswith("cents") else "usd"
    if slot == "cached_tokens" and key == "cachereadinputtokens":
        return "exclusive"
    if slot == "prompt_tokens" and key == "inputtokens":
        return "input"
    if SLOTS[slot] is Slot.NUMBER and key in _TEXT_OR_COUNT:
        return "count"
    if SLOTS[slot] is not Slot.DURATION:
        return ""
    return next((unit for suffix, unit in _SUFFIXES if key.removesuffix(suffix) in _STEMS and key.endswith(suffix)), "")


def paths_of(row: dict[str, Any], without: str | None = None) -> Iterator[Path]:
    """The paths of a home-made object that may carry a field: its keys, and those one or two levels down.

    Nothing below the key `without`.
    """
    for key, value in row.items():
        yield (key,)
        if isinstance(value, dict) and key != without and fold(key) in CONTAINERS:
            for inner, below in value.items():
                yield (key, inner)
                if isinstance(below, dict) and fold(inner) in CONTAINERS:
                    for innermost in below:
                        yield (key, inner, innermost)


# where tags stand: in an object named for them, at the top, or in the other usual objects
TAG_PLACES: Final[tuple[Path, ...]] = (("tags",), (), ("metadata",), ("labels",), ("properties",), ("extra",))


def tag_bindings(tags: Sequence[str], places: Sequence[Path] = ()) -> list[Binding]:
    """Where a tag may stand: in the given places, else in the usual ones."""
    everywhere = (*places, *TAG_PLACES)
    return [Binding(TAG_PREFIX + tag, rank, (*at, tag)) for tag in tags for rank, at in enumerate(everywhere)]


GENERIC: Final = "generic"
_TIMES: Final = frozenset({"start", "end", "latency", "latency_part", "ttft", "first_output_at", "request_id"})
_BEHIND: Final = 5000  # added to the rank of what the wrapper around a reply knows better
_HUGE: Final = 1e300  # an integer beyond is no number of anything


def bindings_in(row: dict[str, Any]) -> Iterator[Binding]:
    """The bindings that an object's keys suggest; a provider's reply inside it is read as such."""
    body = body_in(row)
    if body is not None:
        key, dialect = body
        for binding in below(key, dialect.bindings):
            behind = _BEHIND if binding.slot in _TIMES else 0
            yield Binding(binding.slot, binding.rank + behind, binding.path, binding.unit)
    for path in paths_of(row, body[0] if body else None):
        yield from bindings_at(path)


def resolve(
    rows: Sequence[dict[str, Any]], overrides: Sequence[Binding], tags: Sequence[str], naive: str
) -> FieldMapping:
    """The mapping of a home-made file from the objects of its head; `tags` are the tags to read."""
    taken = {override.path for override in overrides}
    named = dict.fromkeys(binding for row in rows for binding in bindings_in(row) if binding.path not in taken)
    fitting = [binding for binding in named if any(_admitted(binding, row) is not None for row in rows)]
    bindings = [*overrides, *(_with_unit(binding, rows) for binding in fitting), *tag_bindings(tags)]
    return FieldMapping(GENERIC, tuple(sorted(bindings)), shape_of(rows), closed=True, naive=naive)


def _admitted(binding: Binding, row: dict[str, Any]) -> Any:
    return admit(binding, value_at(row, binding.path))


def _with_unit(binding: Binding, rows: Sequence[dict[str, Any]]) -> Binding:
    if binding.kind is Slot.TIME and not binding.unit:
        order = date_order(value_at(row, binding.path) for row in rows)
        return Binding(binding.slot, binding.rank, binding.path, order) if order == "dmy" else binding
    if binding.kind is not Slot.DURATION or binding.unit:
        return binding
    pairs = [(value_at(row, binding.path), _completion_tokens(row)) for row in rows]
    numbers = [(float(v), tokens) for v, tokens in pairs if type(v) in (int, float) and 0 < v < _HUGE]
    return Binding(binding.slot, binding.rank, binding.path, unit_of(numbers))


def _completion_tokens(row: dict[str, Any]) -> float:
    for binding in bindings_in(row):
        if binding.slot == "completion_tokens" and type(value := _admitted(binding, row)) in (int, float):
            return float(value) if abs(value) < _HUGE else 0.0
    return 0.0


def unit_of(lengths: Sequence[tuple[float, float]]) -> str:
    """The unit of unsuffixed lengths of time, from pairs (length, completion tokens of the same call).

    The unit that implies 1 to 2000 output tokens a second at the median; failing that, whole numbers with a
    median of 50 or more are milliseconds, and so are fractions with a median of 120 or more.
    """
    if not lengths:
        return "ms"
    speeds = [tokens / length for length, tokens in lengths if tokens > 0]
    if speeds:
        speed = _median(speeds)
        plausible = [unit for unit, scale in (("s", 1.0), ("ms", 1000.0)) if 1 <= speed * scale <= 2000]
        if len(plausible) == 1:
            return plausible[0]
    whole = all(length == int(length) for length, _ in lengths)
    return "s" if _median(length for length, _ in lengths) < (50 if whole else 120) else "ms"


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


class HomeMadeRows:
    """Rows of home-made objects: by the file's mapping where its head had the key, by name where not."""

    def __init__(self, mapping: FieldMapping | None, slots: frozenset[str], keys: Keys) -> None:
        self._keys = keys
        self._slots = slots | {"output"}
        self._bound: dict[Path, list[Binding]] = {}
        self._always: list[Binding] = []
        for binding in mapping.bindings if mapping else ():
            self._bound.setdefault(binding.path, []).append(binding)
            if binding.rank < 0 or binding.slot not in SLOTS:
                self._always.append(binding)
        self._known = {path for path, _ in mapping.shape} if mapping else set()
        self._by_shape: dict[tuple[Any, ...], Picker] = {}

    def row(self, found: dict[str, Any]) -> dict[str, Any]:
        """The values of one object."""
        shape = _shape_key(found)
        picker = self._by_shape.get(shape)
        if picker is None:
            if len(self._by_shape) >= _MOST_SHAPES:
                self._by_shape.clear()
            picker = self._by_shape[shape] = Picker(self._bindings(found), self._keys)
        return picker(found)

    def _bindings(self, found: dict[str, Any]) -> list[Binding]:
        named = [
            binding
            for each in bindings_in(found)
            for binding in (self._bound.get(each.path, ()) if each.path in self._known else (each,))
        ]
        return [binding for binding in dict.fromkeys([*named, *self._always]) if binding.slot in self._slots]


_MOST_SHAPES: Final = 4096


def _shape_key(found: dict[str, Any]) -> tuple[Any, ...]:
    """What the bindings of an object depend on: its keys, those of the objects in it, the reply in it."""
    key: list[Any] = [tuple(found)]
    for name, value in found.items():
        if type(value) is dict:
            key.append((name, *value))
            key += [(name, inner, *below) for inner, below in value.items() if type(below) is dict]
    body = body_in(found)
    return (*key, body[0], body[1].name) if body else tuple(key)


def is_stamped(row: dict[str, Any]) -> bool:
    """Whether an object has a time of its own at the top."""
    return any(binding.slot in ("start", "end") for key in row for binding in bindings_at((key,)))
