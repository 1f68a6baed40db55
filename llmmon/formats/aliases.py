"""The names that home-made logs give their fields, most common first.

Keys are compared in lower case without `_`, `-`, `.` and spaces. A dotted alias is a key inside an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from llmmon.formats.mapping import Binding, Path
from llmmon.formats.slots import SLOTS, Slot
from llmmon.record import TAG_PREFIX

_ALIASES: Final[dict[str, str]] = {
    "start": (
        "timestamp ts createdat starttime startedat time date datetime datetimeutc requesttime loggedat "
        "@timestamp tstamp created start arrivaltime requesttimestamp"
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
