"""Coherence: repetition loops and degeneration. A cheap gate, then exact counts on the end of the text."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import CLEAN, Signal, TextSpan
from llmmon.quality.scorers.texts import Batch

# Loops do not end by themselves, so the end of a text shows them; a loop that ended is looked for at its head.
_WINDOW: Final = 6_000
# Prose repeats hardly any four words in a row; and it deflates to .45-.60 of its size, in any script.
_REPEATED_GATE: Final = 0.12
_DEFLATED_GATE: Final = 0.42
_LONGEST_PERIOD: Final = 150
_MIN_CHARS: Final = 40
# A loop that has just begun shows in its last signs coming again and again shortly before.
_NEAR_END: Final = 400
_ENDING: Final = 12
_SENTENCE: Final = 15  # characters, from which one that comes back is no coincidence
_OVER_AND_OVER: Final = 15
RULER: Final = re.compile(
    "[\\s\\-=_*#.~+|·•—–…^<>:'`\"\u00af\u203e\u2190-\u21ff\u2500-\u25ff\u2800-\u28ff]+"
)  # rulers, frames, blanks

WORD: Final = re.compile(r"\S+")
LINE_END: Final = re.compile(r"[.!?。！？]\s|\n")
NOT_LETTERS: Final = re.compile(r"[\W\d_]+")
SAME_SIGN: Final = re.compile(
    "([^\\s=\\-_*#.~+|·•—–…^<>:'`\"\u00af\u203e\u2190-\u21ff\u2500-\u25ff\u2800-\u28ff])\\1{29,}"
)


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """repetition of each output."""
    return {"repetition": [_repetition(*row) for row in zip(batch.outputs, batch.output_pieces, strict=True)]}


def _repetition(text: str, pieces: Sequence[str]) -> Signal:
    if len(text) <= _WINDOW:
        return _window(text, pieces, 0)
    moved = len(text) - _WINDOW
    start, end = text[:_WINDOW], text[-_WINDOW:]
    last = _window(end, end.split(), moved)
    if (last.strength or 0.0) >= 0.5:
        return last
    first = _window(start, start.split(), 0)
    return first if (first.strength or 0.0) > (last.strength or 0.0) else last


def _window(text: str, pieces: Sequence[str], offset: int) -> Signal:
    if len(text) < _MIN_CHARS:
        return CLEAN
    repeated = _repeated_share(text, pieces)
    broken = text.count("\ufffd") / len(text)
    if repeated < _REPEATED_GATE and broken < 0.02 and text[-_NEAR_END:].count(text[-_ENDING:]) < 4:
        return Signal(0.5 * repeated)
    strength, span = loop_strength(text)
    strength = max(strength, 0.3 * repeated, min(1.0, 10 * broken))
    spans = ((span[0] + offset, span[1] + offset),) if span and strength >= 0.5 else ()
    return Signal(strength, spans)


def _repeated_share(text: str, found: Sequence[str]) -> float:
    """The share of four words in a row that stood before; for scripts without spaces, by compression."""
    size = len(found) - 3
    if len(found) * 20 > len(text) and size > 0:
        pairs = len(found) - 1 - len(set(pairwise(found)))
        if pairs < _REPEATED_GATE * size:  # no four words in a row come again oftener than two
            return 0.5 * pairs / size
        return 1.0 - len(set(zip(found, found[1:], found[2:], found[3:], strict=False))) / size
    data = text.encode("utf-8", "replace")
    return max(0.0, _DEFLATED_GATE + _REPEATED_GATE - len(zlib.compress(data, 1)) / len(data))


def loop_strength(text: str) -> tuple[float, TextSpan | None]:
    """The strongest of: a period at the end, a run anywhere, a sentence or a sign over and over."""
    values: Sequence[str] = text.lower().split()
    if len(values) < 4:
        values = text
    period, copies, run = longest_run(values)
    if run < 12:  # the last word may be cut, and so differ from the one it repeats
        period, copies, run = longest_run(values[:-1])
    share = run / max(1, len(values))
    looped = 0.0
    if copies >= 3 and run >= 12 and any(map(str.isalnum, "".join(values[-period:]))):
        looped = min(1.0, 0.25 + 0.05 * (copies - 3) + 0.9 * share + min(0.3, run / 200))
    sign = SAME_SIGN.search(text)
    flooded = max(min(1.0, 0.4 + (sign.end() - sign.start()) / 200) if sign else 0.0, _stutter(text[-_NEAR_END:]))
    said = _said_again(text)
    strength = max(looped, flooded, said)
    if strength < 0.5:
        return strength, None
    if looped == strength:
        return strength, (_start_of(text, run) if values is not text else len(text) - run, len(text))
    return strength, sign.span() if sign and flooded == strength else (0, len(text))


def _start_of(text: str, words: int) -> int:
    """Where the last so many words of a text begin."""
    return [match.start() for match in WORD.finditer(text)][-words]


def _stutter(end: str) -> float:
    """A short group of characters over and over at the very end; rulers and blanks are not meant."""
    period, copies, run = longest_run(end)
    if copies < 6 or run < 40 or period > 40 or RULER.fullmatch(end[-period:]):
        return 0.0
    return min(1.0, 0.45 + run / 300)


def longest_run(values: Sequence[Hashable]) -> tuple[int, float, int]:
    """The period of the repetition at the end of a sequence: period, copies, length; the end may be cut.

    >>> longest_run("xyabababa")
    (2, 3.5, 7)
    """
    best = (1, 1.0, 1)
    size = len(values)
    for period in range(1, min(_LONGEST_PERIOD, size // 2) + 1):
        if values[size - 1 - period] != values[size - 1]:
            continue
        at = size - 1
        while at >= period and values[at] == values[at - period]:
            at -= 1
        run = size - 1 - at + period
        if run >= 2 * period and run > best[2]:
            best = (period, run / period, run)
        if run == size:
            break
    return best


def _said_again(text: str) -> float:
    """How surely one sentence or line, or a few in turn, come again and again, numbers aside.

    Only repetition without anything new between counts: a chorus comes back after another verse.
    """
    parts = [NOT_LETTERS.sub(" ", part).strip() for part in LINE_END.split(text.lower())]
    long = [part for part in parts if len(part) > _SENTENCE]
    if len(long) < 4:
        return 0.0
    counts = Counter(long)
    again, most = 1.0 - len(counts) / len(long), counts.most_common(1)[0][1]
    period, copies, run = longest_run(long)
    if run < 4:  # the last one may be cut
        period, copies, run = longest_run(long[:-1])
    if copies >= 3 and run >= 4:
        share = sum(map(len, long[-run:])) / max(1, sum(map(len, long)))
        return min(1.0, 0.3 + 0.08 * (copies - 2) + 0.6 * share - 0.02 * period)
    return 0.8 if most >= _OVER_AND_OVER and again > 0.7 else 0.3 * again
