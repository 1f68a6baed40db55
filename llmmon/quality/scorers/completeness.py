"""Completeness: cut off before the end, or empty. Exact where the finish reason is logged."""

from __future__ import annotations

import re
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Signal, linear
from llmmon.quality.scorers.texts import Batch

_TAIL_CHARS: Final = 3_000
_END_CHARS: Final = 8
_CUT_REASONS: Final = frozenset(
    {
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_length",
        "model_length",
        "model_context_window_exceeded",
        "incomplete",
    }
)
_ENDED_REASONS: Final = frozenset(
    {"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "finished"}
)
_TOOL_REASONS: Final = frozenset({"tool_calls", "tool_use", "function_call", "tool_call"})

_HANGING: Final = frozenset(
    """a an the of and or to in for with on at by from that which is are was were be as but if than into your their
    our his her its this these those can will would should may not such because while when where who whom whose
    about between like including i you we they he she it has have had do does so then also very more most each every
    some any no one through during under over without within using based due both either""".split()
)
ENDED: Final = re.compile(r"[.!?…。！？][\"'”’)\]*_`~]{0,4}\Z")
ITEM: Final = re.compile(r"\s{0,12}(?:[-*•+]\s|\d{1,3}[.)]|#{1,6}\s|\|)")
BARE_ITEM: Final = re.compile(r"\s{0,12}(?:[-*•+]|\d{1,3}[.)]?|#{1,6})\s{0,4}\*{0,2}\s{0,4}")
_CLOSINGS: Final = (
    "hope this", "hope that", "hope these", "let me know", "in conclusion", "overall", "in summary", "enjoy",
    "good luck", "sincerely", "best regards", "feel free", "happy to", "remember", "ultimately", "by following",
    "thank you", "thanks",
)  # fmt: skip
_SIGN_OFFS: Final = (
    "regards,", "sincerely,", "best,", "cheers,", "yours,", "faithfully,", "truly,", "thanks,", "thank you,", "love,",
    "wishes,", "respectfully,",
)  # fmt: skip
LAST_WORD: Final = re.compile(r"[^\W\d_]{1,30}\Z")


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """truncated and empty of each output; `detail` says whether the finish reason told."""
    rows = zip(
        batch.outputs,
        batch.column("finish_reasons"),
        batch.numbers("reasoning_tokens"),
        strict=True,
    )
    found = [_signals(text, (reason or "").lower(), thought) for text, reason, thought in rows]
    return {"truncated": [row[0] for row in found], "empty": [row[1] for row in found]}


def _signals(text: str, reason: str, thought: float | None) -> tuple[Signal, Signal]:
    if not text or text.isspace():
        return UNKNOWN if reason not in _CUT_REASONS else Signal(1.0, (), "finish_reason"), _empty(reason, thought)
    if reason in _CUT_REASONS:
        return Signal(1.0, ((max(0, len(text) - 1), len(text)),), "finish_reason"), CLEAN
    if reason in _ENDED_REASONS or reason in _TOOL_REASONS:
        return Signal(0.0, (), "finish_reason"), CLEAN
    strength = linear(features(text), WEIGHTS, BIAS)
    end = len(text.rstrip())
    return Signal(strength, ((end - 1, end),) if strength >= 0.5 else ()), CLEAN


def _empty(reason: str, thought: float | None) -> Signal:
    if reason in _TOOL_REASONS:
        return CLEAN  # the answer is the call
    return Signal(1.0, (), "after reasoning" if thought and thought > 0 else "")


def features(text: str) -> list[float]:
    """The values of FEATURES for a text that is not blank."""
    t = text.rstrip()
    cut = t[-_TAIL_CHARS:]
    lines = [line for line in cut.split("\n") if line.strip()]
    last, before = lines[-1], lines[:-1]
    bare = BARE_ITEM.fullmatch(last) is not None
    ended = not bare and ENDED.search(cut[-_END_CHARS:]) is not None
    open_fence = t.count("```") % 2
    c = cut[-1]
    words = last.split()
    is_item = ITEM.match(last) is not None
    alike = [] if ended else [line for line in before[-24:] if (ITEM.match(line) is not None) == is_item][-8:]
    style = _unended_share(alike)
    shortest = min((len(line.split()) for line in alike), default=99)
    word = LAST_WORD.search(cut[-30:])
    hanging = word is not None and word.group().lower() in _HANGING
    ending = " ".join(lines[-3:])[-400:].lower()
    closing = any(phrase in ending for phrase in _CLOSINGS)
    marks = (last.count("(") > last.count(")")) + last.count("**") % 2
    ends = (ended, c in ",-–—(/&=+", c in ":;", cut.endswith("```") and not open_fence, not ended and c in ')]}>|"”*_`')
    style_values = (0.0, 0.0) if ended else (1.0 - style, style)
    rest = (
        min(1.0, len(words) / 25) if not ended else 0.0,
        hanging and not ended,
        open_fence,
        bare,
        is_item,
        closing,
        marks > 0 and not ended,
        _open_brackets(t) and not ended,
        len(words) <= 12 and not before and not ended,
        style > 0.5 and len(words) >= shortest and not hanging,
        len(words) <= 5 and bool(before) and before[-1].rstrip().lower().endswith(_SIGN_OFFS),
    )
    return [float(value) for value in (*ends, *style_values, *rest)]


def _unended_share(alike: list[str]) -> float:
    """The share of lines of one kind that do without a full stop: the style of this text; 0.5 for none."""
    if not alike:
        return 0.5
    return sum(ENDED.search(line.rstrip()[-_END_CHARS:]) is None for line in alike) / len(alike)


def _open_brackets(text: str) -> bool:
    """Whether text that begins as JSON or code ends inside it."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    return text.count("{") + text.count("[") > text.count("}") + text.count("]")


FEATURES: Final = (
    "full stop", "comma or dash", "colon", "closed fence", "closing sign", "others end", "others do not",
    "words in the last line", "hanging word", "open fence", "bare item", "is item", "closing phrase",
    "open marks", "open brackets", "single short line", "as its siblings", "signed",
)  # fmt: skip
WEIGHTS: Final = (
    -2.26, 2.01, -0.42, -0.65, -5.88, 2.88, 1.05, 5.13, 0.24, 4.27, 0.90, 0.47, 0.86, 4.33, 3.79, -3.28,
    -1.31, -4.05,
)  # fmt: skip
BIAS: Final = -1.16
