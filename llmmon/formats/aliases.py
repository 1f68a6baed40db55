"""The names that fields go by in home-made logs: keys as people write them -> slots, ranks and units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from llmmon.formats.mapping import SLOTS, Binding, Path, Slot
from llmmon.metrics.record import LIMITS, USAGE


def _in_counts(words: str) -> str:
    """Short names of counts, each in the usual objects of counts: `usage.input`, `tokens.input`."""
    return " ".join(f"{at}.{word}" for at in _COUNTS_IN for word in words.split())


_COUNTS_IN: Final = ("usage", "tokens", "tokenusage", "tokencount", "tokencounts", "llmusage", "usagedetails")


def _limit_aliases(what: str) -> str:
    """What the header with a limit is called, by OpenAI and those like it, and by Anthropic."""
    return f"limit{what} xratelimitlimit{what} ratelimitlimit{what} anthropicratelimit{what}limit"


_ALIASES: Final[dict[str, str]] = {
    "start": (
        "timestamp ts createdat starttime startedat time date datetime datetimeutc requesttime loggedat "
        "@timestamp tstamp created start arrivaltime requesttimestamp asctime @t instant "
        "eventtime eventtimestamp createdon createtime starttimestamp timestampms timestampus timestampns tsms"
    ),
    "end": "endtime endedat finishedat completedat finish end",
    "latency": (
        "llmlatency llmduration apilatency calllatency modellatency "
        "latencyms durationms latency duration latencys latencysec latencyseconds elapsed elapsedtime elapsedms "
        "elapseds durations durationsec durationseconds responsetime responsetimems totalduration totaldurationms "
        "executiontime executiontimems processingtime processingtimems e2elatency e2elatencyms took tookms walls "
        "walltime timetaken latencyus latencyns durationus durationns responsems totaltime totaltimems "
        "requestduration requestlatency responselatency inferencetime generationtime modelduration elapsedseconds dur "
        "eventduration event.duration timing.totalms timings.totalms timing.total timings.total"
    ),
    "ttft": (
        "timetofirsttokenms ttftms timetofirsttoken ttft ttfts firsttokenms firsttokenlatency firsttokenlatencyms "
        "timetofirstchunk timetofirstchunkms timetofirsttokens"
    ),
    "model": (
        "model modelname modelid modelused selectedmodel responsemodel deployment engine llm llmmodel llmmodelname "
        "genairesponsemodel aimodelid aimodel"
    ),
    "model_requested": "modelrequested requestedmodel requestmodel genairequestmodel",
    "provider": "provider llmprovider vendor backend api",
    "operation": "operation calltype",
    "prompt_tokens": (
        "prompttokens inputtokens tokensin tokensinput inputtokencount prompttokencount numinputtokens numprompttokens "
        "nprompttokens contexttokens inputlength promptevalcount prompttokenscount inputtokenscount "
        f"inputtoken requesttokens llmtokencountprompt {_in_counts('input prompt in')} prompt input"
    ),
    "completion_tokens": (
        "completiontokens outputtokens tokensout tokensoutput outputtokencount completiontokencount generatedtokens "
        "numoutputtokens numcompletiontokens outputlength evalcount completiontokenscount outputtokenscount "
        "candidatestokencount candidatetokencount numgeneratedtokens generatedtokencount "
        f"outputtoken responsetokens llmtokencountcompletion {_in_counts('output completion out')} completion output"
    ),
    "total_tokens": (
        "totaltokens tokensused tokens tokencount totaltokencount totaltokenscount usagetotal "
        f"{_in_counts('total')} total"
    ),
    "cached_tokens": (
        "cachedtokens cachereadinputtokens cachereadtokens cachedinputtokens tokenscached cachehittokens "
        "promptcachehittokens cacheread cachereads inputcachedtokens inputcachereadtokens inputcacheread "
        "promptcachedtokens cachedprompttokens cachedtokencount cachedcontenttokencount cachereadtokencount "
        "cachereadinputtokencount cachereadinputtokenscount numcachedtokens inputtokenscached prompttokenscached "
        f"prompttokensdetails.cachedtokens inputtokensdetails.cachedtokens {_in_counts('cached cacheread')} cache.read"
    ),
    "cache_write_tokens": (
        "cachecreationinputtokens cachewritetokens cachewriteinputtokens cachewrite cachewrites cachecreationtokens "
        "inputcachewritetokens inputcachewrite inputcachecreation inputcachecreationtokens cachecreationtokencount "
        "cachewritetokencount cachewriteinputtokencount cachecreationinputtokencount cache.write"
    ),
    "cache_write_1h_tokens": (
        "cachewrite1htokens cachecreation1htokens cachewritetokens1h ephemeral1hinputtokens "
        "cachecreation.ephemeral1hinputtokens"
    ),
    "reasoning_tokens": (
        "reasoningtokens reasoningoutputtokens thinkingtokens thoughtstokencount tokensreasoning outputreasoningtokens "
        "outputreasoning reasoningtokencount thinkingtokencount completionreasoningtokens thoughttokens "
        "completiontokensdetails.reasoningtokens outputtokensdetails.reasoningtokens"
    ),
    **{name: name.replace("_", "") for name in USAGE},
    "input_audio_tokens": (
        "inputaudiotokens audioinputtokens promptaudiotokens prompttokensdetails.audiotokens "
        "inputtokensdetails.audiotokens inputtokendetails.audiotokens"
    ),
    "input_image_tokens": (
        "inputimagetokens imageinputtokens promptimagetokens prompttokensdetails.imagetokens "
        "inputtokensdetails.imagetokens inputtokendetails.imagetokens"
    ),
    "output_audio_tokens": (
        "outputaudiotokens audiooutputtokens completionaudiotokens completiontokensdetails.audiotokens "
        "outputtokensdetails.audiotokens outputtokendetails.audiotokens"
    ),
    "output_image_tokens": (
        "outputimagetokens imageoutputtokens completiontokensdetails.imagetokens outputtokensdetails.imagetokens"
    ),
    "cache_audio_read_tokens": "cacheaudioreadtokens cachedaudiotokens",
    "web_searches": "websearches websearchrequests websearchcount servertooluse.websearchrequests",
    "rerank_searches": "reranksearches searchunits billedunits.searchunits",
    "input_document_pages": "inputdocumentpages pagesprocessed usageinfo.pagesprocessed",
    "cost": (
        "costusd cost totalcost totalcostusd costtotal estimatedcost estimatedcostusd price priceusd spend "
        "responsecost costcents costinusd costdollars costindollars costincents pricecents totalcostcents "
        "totalcostinusd costmicros costmicrousd costusdmicros costinmicros cost.amount cost.total cost.usd"
    ),
    "cost_input": "inputcost promptcost inputcostusd cost.input",
    "cost_output": "outputcost completioncost outputcostusd cost.output",
    "service_tier": "servicetier",
    "speed": "speed",
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
    "span": "spanid span",
    "session": "sessionid conversationid threadid chatid session",
    "user": "userid user enduser customerid tenantid username useremail accountid",
    "feature": "feature step stage usecase phase agent task caller endpoint node source app appname",
    "prompt_version": "promptversion templateversion promptid prompttemplateversion",
    "subagent": "subagent subagentid subagentname",
    "parent_session": "parentsession parentsessionid parentthreadid parentconversationid",
    "folder": "folder cwd workingdirectory workspace projectfolder",
    **{name: _limit_aliases(name.removeprefix("limit").replace("_", "")) for name in LIMITS},
    "quality_score": "qualityscore quality score rating",
    "done": "done",
    "role": "role author.role message.role",
    "grouped": (
        "nrequests numrequests requestcount requestscount nummodelrequests numberofrequests totalrequests apirequests "
        "requests ncalls numcalls callcount totalcalls calls countobservations counttraces uncachedinputtokens"
    ),
    "prompt": "prompt messages input request query question usermessage promptpreview inputtext prompttext",
    "output": (
        "output response completion content answer text result responsepreview outputtext responsetext reply "
        "generation message.content message.text"
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
        "attributes tokencount tokencounts stats costs llmusage servertooluse billedunits usageinfo inputtokendetails "
        "outputtokendetails cachecreation event"
    ).split()
)
# aliases whose own value decides: a count if it is a number, text if it is not
_TEXT_OR_COUNT: Final = frozenset({"prompt", "completion", "tokens", "total", "input", "output"})
_SUFFIXES: Final = tuple(
    (f"{before}{word}", unit)
    for words, unit in (
        ("milliseconds millis msec msecs ms", "ms"),
        ("microseconds micros usec us µs", "us"),
        ("nanoseconds nanos nsec ns", "ns"),
        ("minutes mins min", "min"),
        ("seconds secs sec s", "s"),
    )
    for word in words.split()
    for before in ("", "in")
)
# what remains of the name of a length of time when its unit is taken off
_STEMS: Final = frozenset(
    (
        "latency duration elapsed responsetime totalduration executiontime processingtime e2elatency took "
        "timetaken wall elapsedtime ttft timetofirsttoken firsttoken firsttokenlatency timetofirstchunk walltime "
        "totaltime response modelduration llmduration llmlatency apilatency calllatency requestduration requestlatency "
        "responselatency inferencetime generationtime runtime dur modellatency"
    ).split()
)


def aliases_of(slot: str) -> list[str]:
    """The names that a slot goes by, most common first, as they are compared."""
    return _ALIASES[slot].split()


@lru_cache(maxsize=65536)
def fold(key: str) -> str:
    """A key as it is compared: lower case, no separators or brackets: `Latency (ms)` is `latencyms`."""
    return key.lower().translate(_DROP)


_DROP: Final = {ord(sign): None for sign in "_-. ()[]$"}


def _ranks() -> dict[str, tuple[tuple[str, int], ...]]:
    table: dict[str, list[tuple[str, int]]] = {}
    for slot, aliases in _ALIASES.items():
        for rank, alias in enumerate(aliases.split()):
            table.setdefault(alias, []).append((slot, rank))
    for alias in [alias for slot in _PREFIXED for alias in _ALIASES[slot].split()]:
        if "." not in alias and alias not in _TEXT_OR_COUNT:
            for prefix in _PREFIXES:
                table.setdefault(prefix + alias, table[alias])
    for stem in _STEMS & table.keys():  # every length of time in every unit
        for suffix, _ in _SUFFIXES:
            table.setdefault(stem + suffix, table[stem])
    return {alias: tuple(found) for alias, found in table.items()}


# what an application puts before the names of what belongs to its calls
_PREFIXES: Final = ("llm", "ai", "openai", "usage", "llmusage", "genaiusage", "aiusage")
_PREFIXED: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "cost")
_RANKS: Final = _ranks()


def is_running_total(path: Path) -> bool:
    """Whether a key counts all calls so far, such as `accumulated_cost`, and not those of its line."""
    return any(fold(step).startswith(_RUNNING) or fold(step).endswith(_SO_FAR) for step in path)


_RUNNING: Final = ("accumulated", "accumulative", "cumulative", "running", "sofar")
_SO_FAR: Final = ("sofar", "todate", "accumulated", "cumulative")


@lru_cache(maxsize=65536)
def bindings_at(path: Path) -> tuple[Binding, ...]:
    """The bindings that a path's name suggests, the commonest name first; units by suffix only."""
    return tuple(Binding(slot, rank, path, suffix_unit(slot, path)) for slot, rank in _named(path) if slot in SLOTS)


def _named(path: Path) -> Iterator[tuple[str, int]]:
    keys = [fold(step) for step in path]
    if len(keys) == 1:
        yield from _RANKS.get(keys[0], ())
        return
    dotted = ".".join(keys[-2:])
    yield from _RANKS.get(dotted, ())
    if dotted not in _RANKS and keys[-1] not in _TEXT_OR_COUNT:
        yield from _RANKS.get(keys[-1], ())


def suffix_unit(slot: str, path: Path) -> str:
    """The unit that the last key of a path names, "" where it names none."""
    key = fold(path[-1])
    if slot == "cost":
        return "cents" if key.endswith("cents") else "usd_micros" if "micro" in key else "usd"
    if slot == "cached_tokens" and key == "cachereadinputtokens":
        return "exclusive"
    if slot == "prompt_tokens" and key == "inputtokens":
        return "input"
    if slot == "completion_tokens" and key == "candidatestokencount":
        return "exclusive"  # Gemini counts the thoughts beside it
    if slot in SLOTS and SLOTS[slot] is Slot.NUMBER and key in _TEXT_OR_COUNT:
        return "count"
    if slot not in SLOTS or SLOTS[slot] is not Slot.DURATION:
        return ""
    return next((unit for suffix, unit in _SUFFIXES if key.removesuffix(suffix) in _STEMS and key.endswith(suffix)), "")


_UNIT_WORDS: Final = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "s"),
    **dict.fromkeys(("us", "µs", "usec", "usecs", "micros", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanoseconds"), "ns"),
    **dict.fromkeys(("min", "mins", "minutes"), "min"),
}


def unit_named(key: str) -> str:
    """The unit of time that is the last word of any key (`took_s`, `elapsedMs`, `seconds`), "" where there is none."""
    words = re.findall(r"[A-ZÀ-Þ]?[a-zß-ÿµ]+|[A-Z]+(?![a-z])", key)
    return _UNIT_WORDS.get(words[-1].lower(), "") if words else ""


_MODEL_NAMES: Final = frozenset(
    (
        "model modelname modelid modelused selectedmodel responsemodel llmmodel modelrequested requestedmodel "
        "requestmodel genairesponsemodel genairequestmodel"
    ).split()
)
_OF_OTHERS: Final = frozenset({"inputlength", "outputlength", "usagetotal", "evalcount"})
_COUNT_NAMES: Final = frozenset(
    prefix + alias
    for prefix in ("", *_PREFIXES)
    for slot in ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    for alias in _ALIASES[slot].split()
    if "." not in alias and alias not in _TEXT_OR_COUNT and alias not in _OF_OTHERS
)


def is_plain_count(binding: Binding) -> bool:
    """Whether a count is called `input` or `output` alone, which means tokens only beside a model."""
    return binding.unit == "count" and len(binding.path) == 1 and fold(binding.path[0]) in ("input", "output")


def is_model(folded: str) -> bool:
    """Whether a key names a model, and nothing else that could stand in a log of no calls."""
    return folded in _MODEL_NAMES


def is_count(folded: str) -> bool:
    """Whether a key counts tokens by its own name."""
    return folded in _COUNT_NAMES
