"""How many words, sentences, bullet points and other parts a prompt asks for, and whether the answer keeps to it."""

from __future__ import annotations

import re
from typing import Final

_COUNT: Final = r"(?:\d{1,5}|one|two|three|four|five|six|seven|eight|nine|ten|a single|a few)"
_NUMBERS: Final = {
    word: i + 1 for i, word in enumerate("one two three four five six seven eight nine ten eleven twelve".split())
} | {"a single": 1, "a few": 2}
_AT_LEAST: Final = r"(?:at least|no (?:less|fewer) than|minimum(?: of)?|more than|over|not less than)"
_AT_MOST: Final = (
    r"(?:less than|fewer than|at most|no more than|no longer than|not? exceed(?:ing)?|up to|under|maximum(?: of)?"
    r"|within|longer than|max\.?|below)"
)
BULLETS: Final = re.compile(
    rf"(?i)\b(?P<how>exactly |at least |only )?(?P<n>{_COUNT}) (?:\w{{1,12}} )?(?:bullet(?:ed)?(?: point)?s?|bullets)\b"
)
BULLET: Final = re.compile(r"(?m)^[ \t]{0,8}(?:[*•-](?!\*)[ \t]?\S|\*\*?[ \t])")
STAR_BULLET: Final = re.compile(r"(?m)^[ \t]{0,8}\*[ \t]?[^*\s]")
HIGHLIGHTS: Final = re.compile(
    rf"(?i)\b(?:highlight|italici[sz]e|emphasi[sz]e)\w{{0,4}}\b[^.\n]{{0,30}}?(?P<n>{_COUNT})\b|"
    rf"\b(?:at least |with |include )(?P<m>{_COUNT})\b[^.\n]{{0,40}}?\b(?:highlight|italic)\w{{0,5}}\b"
)
HIGHLIGHT_ANY: Final = re.compile(r"(?i)\b(?:highlighted (?:section|text)|italic text)\b|\*\w[^*\n]{1,40}\*")
HIGHLIGHTED: Final = re.compile(r"\*{1,2}[^\n*]{1,400}\*{1,2}")
WORDS_AT_LEAST: Final = re.compile(
    rf"(?i)\b{_AT_LEAST} (\d{{1,5}})\+? words\b|\b(\d{{1,5}})\+ words?\b|\b(\d{{1,5}}) words? or more"
    rf"|\b(\d{{1,5}})\+[- ]word\b"
)
WORDS_AT_MOST: Final = re.compile(
    rf"(?i)\b{_AT_MOST} (\d{{1,5}}) words\b|\b(\d{{1,5}}) words? (?:or (?:less|fewer)|max\w{{0,4}}|limit)\b"
)
WORDS_RANGE: Final = re.compile(r"(?i)\b(\d{1,5})\s?(?:to|-|–|and)\s?(\d{1,5}) words\b")
WORDS_ABOUT: Final = re.compile(
    r"(?i)\b(?:exactly |be |about |around |approximately |in )(\d{1,5})[- ]words?\b(?! or)|\ba (\d{1,5})[- ]word\b"
)
WORDS_TOTAL: Final = re.compile(
    r"(?i)\bwords? in your (?:entire )?(?:response|answer|reply)[^.\n]{0,24}?\b(\d{1,5}) or more"
)
SENTENCES: Final = re.compile(
    rf"(?i)\b(?:(?P<least>{_AT_LEAST})|(?P<most>{_AT_MOST})|exactly|in)? ?(?P<n>{_COUNT})(?P<more> or more"
    rf"|\+)? sentences?\b"
)
SENTENCE_END: Final = re.compile(r"[.!?…。！？](?![.!?…。！？])[\"'”’)\]*]{0,3}(?:\s|\Z)")
PLACEHOLDERS: Final = re.compile(rf"(?i)\b(?:at least )?(?P<n>{_COUNT}) placeholders?\b")
BRACKETED: Final = re.compile(r"\[[^\[\]\n]{1,80}\]")


def check_bullets(prompt: str, output: str) -> float | None:
    """How strongly a stated number of bullet points is broken; None where none is stated."""
    match = BULLETS.search(prompt)
    if not match:
        return None
    wanted = _number(match["n"])
    found = len(STAR_BULLET.findall(output) if re.search(r"(?m)^\* |\"\*\"| \* ", prompt) else BULLET.findall(output))
    if (match["how"] or "").lower().startswith("at least") or match["n"].lower() == "a few":
        return _short(found / wanted)
    return 0.0 if found == wanted else 0.6 + 0.35 * min(1.0, abs(found - wanted) / wanted)


def check_highlights(prompt: str, output: str) -> float | None:
    """How strongly a stated number of highlighted sections is broken; None where none is stated."""
    match = HIGHLIGHTS.search(prompt)
    if not match and not HIGHLIGHT_ANY.search(prompt):
        return None
    wanted = _number(match["n"] or match["m"]) if match else 1
    return _short(len(HIGHLIGHTED.findall(output)) / max(1, wanted))


def check_words(prompt: str, output: str) -> float | None:
    """How strongly a stated number of words is broken; None where none is stated."""
    found = len(output.split())
    least = WORDS_AT_LEAST.search(prompt) or WORDS_TOTAL.search(prompt)
    most = WORDS_AT_MOST.search(prompt)
    worst = None
    if match := WORDS_RANGE.search(prompt):
        low, high = int(match[1]), int(match[2])
        worst = max(_short(found / max(1, low)), _short(high / max(1, found)))
    elif match := (None if least or most else WORDS_ABOUT.search(prompt)):
        wanted = max(1, _first_number(match))
        off = abs(found - wanted) / wanted
        worst = 0.0 if off <= 0.15 else min(0.9, 0.45 + 0.5 * off)
    if least:
        worst = max(worst or 0.0, _short(found / max(1, _first_number(least))))
    if most:
        worst = max(worst or 0.0, _short(_first_number(most) / max(1, found)))
    return worst


def check_sentences(prompt: str, output: str) -> float | None:
    """How strongly a stated number of sentences is broken; None where none is stated."""
    match = SENTENCES.search(prompt)
    if not match or not (match["least"] or match["most"] or match["more"]):
        return None
    wanted, found = _number(match["n"]), max(1, len(SENTENCE_END.findall(output)))
    share = found / wanted if match["least"] or match["more"] else wanted / found
    # Abbreviations and lists make sentences hard to count: only clear breaches are raised.
    return 0.0 if share >= 0.8 else 0.2 + 0.6 * (1.0 - share)


def check_placeholders(prompt: str, output: str) -> float | None:
    """How strongly a stated number of placeholders is broken; None where none is stated."""
    match = PLACEHOLDERS.search(prompt)
    return _short(len(BRACKETED.findall(output)) / _number(match["n"])) if match else None


def _short(share: float) -> float:
    """How strongly a count of `share` of what was asked breaks a least count: 0 from 1, 0.5 just below."""
    return 0.0 if share >= 1.0 else 0.5 + 0.45 * min(1.0, 2.0 * (1.0 - share))


def _number(text: str) -> int:
    return max(1, int(text) if text.isdigit() else _NUMBERS.get(text.lower(), 1))


def _first_number(match: re.Match[str]) -> int:
    return next(int(group) for group in match.groups() if group)
