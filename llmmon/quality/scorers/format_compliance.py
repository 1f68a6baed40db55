"""Format compliance: the JSON, and every other format, that the prompt or the schema asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import UNKNOWN, Signal
from llmmon.quality.scorers.json_answers import judge_json
from llmmon.quality.scorers.texts import Batch

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


_PROMPT_ENDS: Final = 3_000
_OUTPUT_CHARS: Final = 200_000
_BROKEN: Final = 0.85  # a stated constraint that the answer breaks beyond doubt

# Reads the prompt (as written); gives how strongly the output breaks the constraint, None where none is stated.
Check = Callable[[str, str], float | None]


NO_COMMA: Final = re.compile(
    r"(?i)\b(?:no|without|avoid(?:ing)?|refrain from|not|don't|never)\b[^.\n]{0,60}?\bcommas?\b(?![^.\n]{0,20}separat)"
)
COMMA: Final = re.compile(r"[,，、]")
CAPITALS: Final = re.compile(
    r"(?i)\b(?:in|only|use|using|all|with|entirely)\b[^.\n]{0,30}?\b(?:all[- ]?caps"
    r"|all (?:of the )?(?:capital(?:ized)?|uppercase|upper-case|caps)"
    r"|(?:capital|uppercase) letters(?: only)?)\b|\ball capital letters\b|\bno lowercase\b"
)
LOWERCASE: Final = re.compile(
    r"(?i)\ball (?:of (?:the |your )?)?(?:letters (?:are |in |be )?)?lower[- ]?case\w{0,1}\b"
    r"|\blower[- ]?case letters(?: only)?\b"
    r"|\bin (?:all )?lower[- ]?case\b|\b(?:no|without|without using|not use)(?: any)? capital(?: letter"
    r"|ization)s?\b|\blower[- ]?cases\b"
)
NO_LOWERCASE: Final = re.compile(r"(?i)\b(?:no|without(?: any)?) lower[- ]?case letters?")
PARTIAL_CASE: Final = re.compile(
    r"(?i)\b(?:words?|letters?|title|name|section|heading|keyword)s? (?:with|in|that (?:is"
    r"|are)) (?:all )?(?:capital|upper|caps|lower)"
    r"|\bcapital(?:ized)? words?\b|\bat (?:least|most) \w{1,6} (?:times|words)|\btimes\b"
)
QUOTED: Final = re.compile(
    r"(?i)\b(?:wrap\w{0,5}|put|enclose\w?|surround\w{0,3})\b[^.\n]{0,60}?\b(?:in|with|inside|within|by)\b[^.\n]{0,16}?"
    r"\b(?:double )?(?:quotation(?: marks)?|quotes)\b|\bquot\w{1,8}(?: marks)? should be placed around\b"
)
TITLE: Final = re.compile(r"(?i)\b(?:double angular brackets|double angle brackets)\b|<<[^<>\n]{1,60}>>")
TITLED: Final = re.compile(r"<<[^<>\n]{1,300}>>")
JSON_ONLY: Final = re.compile(r"(?i)\b(?:only|nothing (?:else|but)|just)\b")
LIST_WORDS: Final = re.compile(
    r"(?i)\b(?:as|in|into|with|using) (?:a |an )?(?:numbered|bulleted|bullet(?:ed)?[- ]point|ordered"
    r"|unordered) list\b|\buse bullet points\b"
)
LISTED: Final = re.compile(r"(?m)^[ \t]{0,8}(?:[-*•+]|\d{1,3}[.)])[ \t]+\S")
TABLE_WORDS: Final = re.compile(
    r"(?i)\b(?:as|in|into|with) (?:a |an )?(?:markdown )?table(?: format)?\b|\btable format\b"
)
TABLED: Final = re.compile(r"(?m)^[^\n|]{0,200}\|[^\n]{1,2000}\|")
ENDING: Final = re.compile(
    r"(?i)\b(?:finish|end) (?:your|the) (?:entire )?(?:response|answer|reply) with (?:this|the) exact (?:phrase"
    r"|sentence|words?)(?: of)?[: ]{1,3}[\"'“]?([^\n\"”]{3,120})"
)
POSTSCRIPT: Final = re.compile(r"(?i)\bpost ?script\b[^.\n]{0,40}?\b(P\.(?: ?P\.)? ?S\.?)")
FORBIDDEN: Final = re.compile(
    r"(?i)\b(?:without using|do not (?:include|use|mention)|don't (?:include|use|mention)|avoid using"
    r"|not include)\b[^.\n\"“']{0,40}(?:word|keyword|phrase)s? ([\"“'][^\n.]{1,120}[\"”'])"
)
QUOTED_WORD: Final = re.compile(r"[\"“']([^\"”'“\n]{1,40})[\"”']")


def judge_constraints(prompt: str, output: str) -> Signal:
    """format_broken of one answer: the strongest breach of a stated constraint; unknown where none is stated."""
    ends = prompt if len(prompt) <= 2 * _PROMPT_ENDS else f"{prompt[:_PROMPT_ENDS]}\n{prompt[-_PROMPT_ENDS:]}"
    lower, text = ends.lower(), output[:_OUTPUT_CHARS].strip()
    worst, names, stated = 0.0, [], False
    for name, (cues, check) in CHECKS.items():
        if not any(cue in lower for cue in cues):
            continue
        value = check(ends, text)
        stated = stated or value is not None
        if value and value >= 0.5:
            names.append(name)
        worst = max(worst, value or 0.0)
    return Signal(worst, (), ", ".join(names)) if stated else UNKNOWN


def _commas(prompt: str, output: str) -> float | None:
    if not NO_COMMA.search(prompt):
        return None
    found = len(COMMA.findall(output))
    return 0.0 if not found else 0.8 + 0.19 * min(1.0, found / 10)


def _capitals(prompt: str, output: str) -> float | None:
    match = CAPITALS.search(prompt)
    if not match or _partial(prompt, match) or LOWERCASE.search(NO_LOWERCASE.sub("", prompt)):
        return None
    lower = sum(c.islower() for c in output)
    letters = max(1, sum(c.isalpha() for c in output))
    return 0.0 if not lower else 0.55 + 0.4 * min(1.0, 5.0 * lower / letters)


def _lowercase(prompt: str, output: str) -> float | None:
    match = LOWERCASE.search(NO_LOWERCASE.sub("", prompt))
    if not match or _partial(prompt, match):
        return None
    upper = sum(c.isupper() for c in output)
    letters = max(1, sum(c.isalpha() for c in output))
    return 0.0 if not upper else 0.55 + 0.4 * min(1.0, 50.0 * upper / letters)


def _partial(prompt: str, match: re.Match[str]) -> bool:
    """Whether the case is asked of some words only."""
    near = prompt[max(0, match.start() - 30) : match.end() + 30]
    return PARTIAL_CASE.search(near.split(".")[0] if near.find(".") > 30 else near) is not None


def _quotation(prompt: str, output: str) -> float | None:
    if not QUOTED.search(prompt):
        return None
    return 0.0 if len(output) > 1 and output[0] in '"“«' and output[-1] in '"”»' else _BROKEN


def _title(prompt: str, output: str) -> float | None:
    if not TITLE.search(prompt):
        return None
    return 0.0 if TITLED.search(output) else 0.9


def _list(prompt: str, output: str) -> float | None:
    if not LIST_WORDS.search(prompt):
        return None
    return 0.0 if LISTED.search(output) else 0.75


def _table(prompt: str, output: str) -> float | None:
    if not TABLE_WORDS.search(prompt):
        return None
    return 0.0 if TABLED.search(output) or "\t" in output or "<table" in output else 0.7


def _ending(prompt: str, output: str) -> float | None:
    match = ENDING.search(prompt)
    if not match:
        return None
    phrase = match[1].strip(" .\"'”").lower()
    return 0.0 if output.strip(" .\"'”*\n").lower().endswith(phrase) else 0.8


def _postscript(prompt: str, output: str) -> float | None:
    match = POSTSCRIPT.search(prompt)
    if not match:
        return None
    return 0.0 if match[1].replace(" ", "").rstrip(".").lower() in output.replace(" ", "").lower() else 0.8


def _forbidden(prompt: str, output: str) -> float | None:
    match = FORBIDDEN.search(prompt)
    if not match:
        return None
    names = [name.lower() for name in QUOTED_WORD.findall(match[1])]
    lower = output.lower()
    return 0.75 if any(re.search(rf"\b{re.escape(name)}\b", lower) for name in names) else 0.0


# Each check runs only where one of its cues is in the prompt.
CHECKS: Final[dict[str, tuple[tuple[str, ...], Check]]] = {
    "commas": (("comma",), _commas),
    "capitals": (("caps", "capital", "uppercase", "upper-case"), _capitals),
    "lowercase": (("lowercase", "lower case", "lower-case", "lowercased", "capital"), _lowercase),
    "quotation": (("quot",), _quotation),
    "title": (("<<", "angular", "angle br"), _title),
    "bullets": (("bullet",), check_bullets),
    "highlights": (("highlight", "italic", "emphasi"), check_highlights),
    "words": (("word",), check_words),
    "sentences": (("sentence",), check_sentences),
    "list": (("list", "bullet"), _list),
    "table": (("table",), _table),
    "ending": (("exact phrase", "exact sentence", "exact word"), _ending),
    "postscript": (("postscript", "post script"), _postscript),
    "placeholders": (("placeholder",), check_placeholders),
    "forbidden words": (
        ("without using", "not include", "not use", "n't use", "n't include", "not mention"),
        _forbidden,
    ),
}


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """invalid_json and format_broken of each output; unknown where no format is asked for."""
    pairs = list(zip(batch.prompts, batch.outputs, strict=True))
    schemas = batch.schemas()
    return {
        "invalid_json": [judge_json(*pair, schema) for pair, schema in zip(pairs, schemas, strict=True)],
        "format_broken": [judge_constraints(prompt, text) if prompt else UNKNOWN for prompt, text in pairs],
    }
