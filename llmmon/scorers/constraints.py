"""Formats that a prompt states in words: parsed from it, word-bounded, and checked against the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from llmmon.scorers.findings import UNKNOWN, Finding
from llmmon.scorers.stated_counts import (
    check_bullets,
    check_highlights,
    check_placeholders,
    check_sentences,
    check_words,
)

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


def judge_constraints(prompt: str, output: str) -> Finding:
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
    return Finding(worst, (), ", ".join(names)) if stated else UNKNOWN


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
