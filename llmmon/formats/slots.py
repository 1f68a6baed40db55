"""What a dialect may say about a call, before it is made canonical: the table of slots.

A dialect binds paths of its objects to slots; `formats.canonical` turns slots into the record's fields.
One slot may be bound to several paths: per call the first that holds a usable value wins.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from llmmon.record import NAMES, TEXTS

CALL_KEY: Final = "call_key"  # a name column of the calls that a log may repeat: what tells them apart


class Slot(StrEnum):
    """How the values of a slot are read."""

    TIME = "time"  # a moment: ISO text or a number since the epoch
    DURATION = "duration"  # a length of time in the binding's unit
    NUMBER = "number"  # a count or an amount
    NAME = "name"  # a short text
    FLAG = "flag"  # true or false
    OUTCOME = "outcome"  # anything that tells success from failure
    TEXT = "text"  # long text, or the structure that holds it


SLOTS: Final[dict[str, Slot]] = {
    "start": Slot.TIME,
    "end": Slot.TIME,
    "first_output_at": Slot.TIME,
    "latency": Slot.DURATION,
    "latency_part": Slot.DURATION,  # where no latency is logged: all parts are added
    "ttft": Slot.DURATION,
    "prompt_tokens": Slot.NUMBER,  # unit "exclusive": cache reads and writes are not in it
    "completion_tokens": Slot.NUMBER,  # unit "exclusive": reasoning is not in it
    "total_tokens": Slot.NUMBER,
    "cached_tokens": Slot.NUMBER,
    "cache_write_tokens": Slot.NUMBER,
    "cache_write_1h_tokens": Slot.NUMBER,
    "reasoning_tokens": Slot.NUMBER,
    "cost": Slot.NUMBER,  # unit "usd" or "cents"
    "cost_input": Slot.NUMBER,
    "cost_output": Slot.NUMBER,
    "quality_score": Slot.NUMBER,
    "status_code": Slot.NUMBER,
    "attempt": Slot.NUMBER,
    "success": Slot.FLAG,
    "failed": Slot.FLAG,
    "cache_hit": Slot.FLAG,
    "written": Slot.FLAG,  # llmmon wrote the row, as a call that carries nothing which would show that it is one
    "outcome": Slot.OUTCOME,  # a status word, a status code, or an object with either
    "error": Slot.OUTCOME,  # the error itself: text, an object, or true
    **{name: Slot.NAME for name in NAMES if name != "status"},
    **dict.fromkeys(TEXTS, Slot.TEXT),
}

# field -> the slots it is made from
_OUTCOME: Final = ("success", "failed", "outcome", "error", "error_type", "error_message", "status_code")
_LATENCY: Final = ("latency", "latency_part", "start", "end")
# all of them tell together whether anything was counted, and what is inside what
_TOKENS: Final = (
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "total_tokens",
    "completion_tokens",
    "reasoning_tokens",
)
SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "timestamp": _LATENCY,
    "latency_ms": _LATENCY,
    "time_to_first_token_ms": ("ttft", "first_output_at", *_LATENCY),
    "prompt_tokens": _TOKENS,
    "completion_tokens": _TOKENS,
    "total_tokens": _TOKENS,
    "cached_tokens": _TOKENS,
    "cache_write_tokens": _TOKENS,
    "cache_write_1h_tokens": ("cache_write_1h_tokens", *_TOKENS),
    "reasoning_tokens": _TOKENS,
    "cost_usd": ("cost", "cost_input", "cost_output"),
    "status": (*_OUTCOME, "completion_tokens", *_LATENCY, "finish_reason"),
    "error_type": _OUTCOME,
    "error_message": _OUTCOME,
    "status_code": ("status_code", "outcome"),
    "model": ("model", "model_requested"),
}

# a home-made row is a call if it carries one of these; they are read whatever the command needs
EVIDENCE: Final = (
    *("model", "model_requested", "prompt_tokens", "completion_tokens", "total_tokens", "latency", "quality_score"),
    "written",
)
COMPLETENESS: Final = ("total_tokens", "latency_ms")  # what the most complete of a call's rows is told by


def sources_of(fields: frozenset[str]) -> frozenset[str]:
    """The slots to read so that `fields` can be made; tags are slots of their own name."""
    return frozenset(slot for name in fields for slot in SOURCES.get(name, (name,)))
