"""Refusals: the answer declines, wholly or in part. Phrases by position, weighed by a small linear model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from llmmon.quality.scorers.completeness import plain_reason
from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import Signal, TextSpan, linear
from llmmon.quality.scorers.texts import Batch

# A refusal is said at once; what follows gives reasons, advice, or the answer after all.
_HEAD: Final = 200
_BODY: Final = 700
# The words that these stretches hold, in any prose: a superset of each.
_TURN_WORDS: Final = 140
_TURNS: Final = frozenset(b"but however that still nonetheless nevertheless here heres".split())
_HEAD_WORDS: Final = 60
_BODY_WORDS: Final = slice(10, 160)
_NEAR: Final = 70  # how far a sign's phrase reaches from its cue
_LISTED: Final = 2_500
_REFUSED_REASONS: Final = frozenset(
    """content_filter content_filtered refusal safety guardrail_intervened prohibited_content blocklist recitation spii
    image_safety model_armor error_toxic toxic blocked""".split()
)
_QUOTES: Final = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "\u00a0": " "})


class Sign(NamedTuple):
    """A family of phrases: any of `cues` is in the text and, where there is one, `pattern` matches.

    Every text with a cue holds one of the words of `gate`, which is quicker to ask.
    """

    gate: frozenset[bytes]
    cues: tuple[str, ...]
    pattern: re.Pattern[str] | None = None

    def find(self, text: str) -> TextSpan | None:
        """The first place of the sign in lower-case text."""
        for cue in self.cues:
            if (at := text.find(cue)) >= 0:
                if self.pattern is None:
                    return at, at + len(cue)
                if found := self.pattern.search(text, max(0, at - _NEAR), at + _NEAR):
                    return found.span()
        return None


def _sign(gate: str, cues: str, pattern: str | None = None) -> Sign:
    compiled = re.compile(pattern) if pattern else None
    return Sign(frozenset(gate.encode().split()), tuple(cues.split("|")), compiled)


SIGNS: Final[dict[str, Sign]] = {
    "cannot": _sign(
        "cannot cant could couldnt wont unable not decline refrain refuse respectfully dont puedo je nicht posso",
        "cannot|can't|can not|could not|couldn't|won't|will not|unable|not able|decline|not comfortable|n't feel"
        "|not feel|not going|not programmed|refrain|not provide|not assist|not help|not allowed|not permitted"
        "|not designed|n't have|not have|refuse|respectfully|not something|puedo|je ne |nicht|posso",
        r"\b(?:i|we)(?:'m|'re)?\b[^.!?\n]{0,40}?\b(?:cannot|can't|can not|could not|couldn't|won't|will not|unable"
        r"|not able|must decline|decline to|not comfortable|don't feel|do not feel|not going to|refrain"
        r"|not (?:provide|assist|help|allowed|permitted|designed|programmed)|(?:don't|do not) have (?:access|the"
        r" ability|personal)|must (?:refuse|respectfully))\b|\bnot something i can\b|\bno puedo\b"
        r"|\bje ne (?:peux|suis)\b|\bich kann\b[^.\n]{0,30}\bnicht\b|\bn(?:ão|on) posso\b",
    ),
    "sorry": _sign(
        "sorry apologize apologise apologies apologizing regret unfortunately lo désolé désolée leid "
        "leider desculpe mi",
        "sorry|apologi|i regret|unfortunately|lo siento|désolé|tut mir leid|leider|desculpe|mi dispiace",
    ),
    "as an ai": _sign(
        "ai language assistant",
        " ai | ai,| ai.|language model|assistant",
        r"\b(?:as|i'm|i am|being)\s+(?:just |only |merely )?an?\s+(?:[\w-]+[\s,]+){0,4}?"
        r"(?:ai|language model|assistant)\b",
    ),
    "not acceptable": _sign(
        "not never unethical unacceptable unfair unsafe unlawful inappropriate illegal immoral against "
        "wrong harmful offensive disrespectful",
        "it is|it's|this is|that is|that's|would be",
        r"\b(?:it|this|that)(?:'s| is| would be)\s+(?:\w+\s+){0,4}?(?:not"
        r"(?! (?:possible|illegal|clear|known|necessary|only|just|easy|a bad|the same))"
        r"|never|unethical|unacceptable|unfair|unsafe"
        r"|unlawful|inappropriate|illegal|immoral|against|wrong|harmful|offensive|disrespectful)\b",
    ),
    "moral": _sign(
        "illegal ethical unethical ethically harmful moral immoral morally unacceptable inappropriate "
        "offensive respect respectful disrespectful respectfully discriminate discrimination "
        "discriminatory discriminating discriminated stereotype stereotypes stereotyping violate "
        "violates violation violations violating violated dangerous safety privacy human dignity",
        "illegal|ethical|harmful|moral|unacceptable|inappropriate|offensive|respect|discriminat|stereotyp|violat"
        "|dangerous|safety|privacy|human rights|dignity",
    ),
    "advice": _sign(
        "encourage urge recommend advise suggest implore instead if seek reach hotline",
        "encourage|urge|recommend|advise|suggest|implore|instead|if you or|if you are|if you need|seek |reach out"
        "|hotline",
        r"\bi\s+(?:\w+\s+)?(?:encourage|urge|recommend|advise|suggest|implore)\b|\binstead\b|\bif you (?:or someone|are"
        r" (?:struggling|feeling|having|experiencing)|need)\b|\bseek (?:help|professional)|\breach out\b|\bhotline\b",
    ),
    "premise": _sign(
        "clarify emphasize emphasise inform remind point stress respectfully say condone support endorse "
        "promote engage agree my against",
        "clarify|emphasi|i must inform|remind|point out|stress|respectfully|must say|condone|support|endorse|promote"
        "|engage|agree|my program|my guidelines|my purpose|my primary|my ethical|my training|my responsib|against",
        r"\b(?:i must|i (?:just )?want to|i would like to|i'd like to|let me) (?:clarify|emphasi[sz]e|inform|remind"
        r"|point out|stress|respectfully|say)\b|\b(?:not|don't|cannot|can't) (?:condone|support|endorse|promote|engage"
        r"|agree)\b|\bmy (?:program|guidelines|purpose|primary|ethical|training|responsib)|\bgo(?:es)? against\b",
    ),
    "offer": _sign(
        "else questions question feel different rephrase context help assist",
        "anything else|something else|other questions|how else can|can i help|may i help|can i assist|feel free to ask"
        "|different topic|rephrase|more context",
    ),
    "important": _sign(
        "important crucial essential treated worth",
        "important to|crucial to|essential to|should be treated|it's worth noting",
        r"\b(?:important|crucial|essential) to (?:always |also )?(?:note|recogni[sz]e|remember|respect|treat|approach"
        r"|understand|acknowledge|promote|prioriti[sz]e|consider|avoid|use)\b|\bshould be treated\b",
    ),
}
_GATES: Final = frozenset().union(*(sign.gate for sign in SIGNS.values()))
_BEHIND: Final = {word: tuple(name for name, sign in SIGNS.items() if word in sign.gate) for word in _GATES}
_NOWHERE: Final[dict[str, TextSpan | None]] = dict.fromkeys(SIGNS)


def _signs(text: str, held: AbstractSet[bytes]) -> dict[str, TextSpan | None]:
    """The first place of each sign in lower-case text whose words are `held`."""
    found = dict(_NOWHERE)
    for name in {name for word in held & _GATES for name in _BEHIND[word]}:
        found[name] = SIGNS[name].find(text)
    return found


FIRST_SENTENCE: Final = re.compile(r"\s{0,9}[^.!?\n]{0,110}")
PREMISE_DENIED: Final = re.compile(
    r"\bthere (?:is|are|was|were) no\b|\b(?:is|are|was|were|should|would|does|do|did) not\b"
    r"(?! (?:possible|illegal|clear|known|necessary|only|just|easy))"
)
YES: Final = re.compile(
    r"\W{0,20}(?:sure|certainly|of course|absolutely|yes\b|great question|here (?:are|is)|here's"
    r"|there are (?:several|many|a)|to \w+)"
)
FIRST_PERSON: Final = re.compile(r"\W{0,20}(?:i|sorry|we|it is|it's|this|as an|my|unfortunately)\b")
# What follows is the answer after all, whatever was said before it.
ANYWAY: Final = re.compile(
    r"\b(?:but|however|that said|nonetheless|nevertheless|still)\b[^.!?\n]{0,60}?\b(?:(?:i|we)"
    r"(?:'d| can| will|'ll| could| would be)\b[^.!?\n]{0,25}?"
    r"\b(?:provide|give|offer|share|suggest|tell|try|help|explain|show|be happy)"
    r"|here(?:'s| is| are)|if you're looking|let me)\b"
    r"|\bhere (?:are|is) (?:some|a|an|the|my|how)\b|\bhere's (?:a|an|the|my|how)\b"
)
# Declines in so many words, at once.
EXPLICIT: Final = re.compile(
    r"\b(?:i|we)(?:'m| am| must| would| will| do| have to|'d)? ?(?:\w{1,15} ){0,2}"
    r"(?:cannot|can't|can not|could not|won't|will not|not|unable|don't|refuse|decline)\b[^.!?\n]{0,30}?"
    r"\b(?:able|assist|help|provide|comply|fulfil?l|comfortable|answer|discuss|generate|creat|writ|rewrit|reproduc"
    r"|shar|giv|support|engag|offer|participat|condon|recommend|have (?:access|the|any|real)|to|do (?:that|this)"
    r"|pretend)"
)
_AT_ONCE: Final = 110
FOREIGN: Final = re.compile(
    r"(?:es tut mir leid|tut mir leid|leider|entschuldigung)[^.!?\n]{0,40}\b(?:kann|darf|werde|möchte)\b[^.!?\n]{0,60}"
    r"\b(?:nicht|keine?n?)\b|\b(?:ich|wir) (?:kann|können|darf|werde)\b[^.!?\n]{0,40}\bnicht\b[^.!?\n]{0,40}"
    r"\b(?:helfen|unterstützen|beantworten|erfüllen|nachkommen|weiterhelfen)"
    r"|(?:désolée?|malheureusement|regrette)\b[^.!?\n]{0,30}\bje (?:ne |n')[^.!?\n]{0,20}\b(?:pas|suis)"
    r"|\bje ne (?:peux|suis|pourrai) pas\b[^.!?\n]{0,25}\b(?:aider|fournir|répondre|assister|capable|en mesure)"
    r"|(?:lo siento|lamento|disculpa|desafortunadamente)[^.!?\n]{0,30}\bno (?:puedo|podemos|me es posible|estoy)"
    r"|\bno puedo\b[^.!?\n]{0,20}\b(?:ayudar|proporcionar|cumplir|responder|asistir)"
    r"|(?:desculpe|sinto muito|lamento|infelizmente)[^.!?\n]{0,30}\bnão (?:posso|consigo)"
    r"|(?:mi dispiace|purtroppo|spiacente)[^.!?\n]{0,30}\bnon (?:posso|sono in grado)"
    r"|(?:抱歉|对不起|對不起|很遗憾)[^。！？\n]{0,20}(?:无法|不能|沒辦法|没办法|不会|無法)"
    r"|(?:我|我们)(?:无法|不能)(?:为您|帮助|提供|协助|回答|满足)"
    r"|(?:申し訳|すみません|恐れ入りますが|ごめんなさい)[^。！？\n]{0,30}(?:できません|できかねます|お答え|いたしかねます|お手伝い)"
    r"|(?:извините|к сожалению|простите)[^.!?\n]{0,30}\bя? ?не (?:могу|буду)|죄송[^.!?\n]{0,30}(?:수 없|않습니다)"
)
# Says that what was asked is out of place, as its first words.
OUT_OF_PLACE: Final = re.compile(
    r"\W{0,10}(?:i (?:don't|do not) (?:think|believe|feel) (?:it's|it is|it would be|that is|that's|this is)"
    r"|(?:it's|it is|this is|that's|that is|it would be) (?:simply |just )?(?:not|never))"
    r" (?:\w{1,12} ){0,2}(?:appropriate|accurate or fair|ethical|acceptable|respectful or productive|okay|ok)\b"
)
APOLOGY: Final = re.compile(
    r"(?i)\W{0,20}(?:(?:i'm|i am|i’m) (?:\w+ ){0,2}?sorry|sorry|i (?:\w+ )?apologi[sz]e|unfortunately)\b"
)
_SHORT: Final = 450
NO_EXPERT: Final = re.compile(
    r"\bnot (?:a|an|your) (?:\w+ )?(?:doctor|lawyer|attorney|therapist|physician|professional|expert)\b"
)
LONG: Final = 700
ITEM: Final = re.compile(r"\n[ \t]{0,8}(?:\d{1,3}[.)]|[-*•])[ \t]")


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """refusal and partial_refusal of each output; a finish reason that says so is certain."""
    reasons = batch.column("finish_reasons")
    rows = [_signals(*row) for row in zip(batch.outputs, batch.output_words, batch.prompts, reasons, strict=True)]
    return {"refusal": [row[0] for row in rows], "partial_refusal": [row[1] for row in rows]}


def _signals(text: str, found: Sequence[bytes], prompt: str | None, finish_reason: str | None) -> tuple[Signal, Signal]:
    if finish_reason and plain_reason(finish_reason) in _REFUSED_REASONS:
        return Signal(1.0, (), "finish_reason"), Signal(0.0)
    read = features(text, found, prompt or "")
    if read is None:
        return Signal(0.0), Signal(0.0)
    values, span = read
    whole, part = linear(values, WEIGHTS, BIAS), linear(values, PARTIAL_WEIGHTS, PARTIAL_BIAS)
    value = dict(zip(FEATURES, values, strict=True))
    whole = max(whole, _floor(text, value))
    if value["no expert"] and len(text) > LONG:
        whole *= 0.3  # "I am not a lawyer, but ..." is followed by an answer
    spans = (span,) if span else ()
    return Signal(whole, spans if whole >= 0.5 else ()), Signal(part * (1.0 - whole), spans)


def _floor(text: str, value: Mapping[str, float]) -> float:
    """How sure a refusal is that begins with an apology and says what it will not do."""
    if not text.isascii() or value["cannot in the head"] or value["sorry in the head"]:
        declined = FOREIGN.search(text[:_HEAD].lower())
        if declined and declined.start() < _AT_ONCE and not value["code"] and len(text) < LONG:
            return 0.85
    if value["long, answers anyway"] or value["code"]:
        return 0.0
    if not value["short, answers anyway"] and not value["list items"] and OUT_OF_PLACE.match(text[:_HEAD].lower()):
        return 0.6
    if not value["explicit"] or not (value["sorry in the head"] and APOLOGY.match(text)):
        return 0.0
    return (
        0.85 if not value["short, answers anyway"] else 0.55 if len(text) < _SHORT and not value["list items"] else 0.0
    )


def features(text: str, found: Sequence[bytes], prompt: str = "") -> tuple[list[float], TextSpan | None] | None:
    """The values of FEATURES in [0, 1] for a text of these words, and where it first declines.

    None where its head holds no sign at all: it begins as an answer, and what comes later is part of it.
    """
    cut = text[:_LISTED]
    plain = (cut if cut.isascii() else cut.translate(_QUOTES)).lower()
    head, body = plain[:_HEAD], plain[_HEAD:_BODY]
    head_words = frozenset(found[:_HEAD_WORDS])
    in_head = _signs(head, head_words)
    asked = prompt[:_LISTED].lower() if in_head["moral"] else ""
    if (span := in_head["moral"]) and head[slice(*span)] in asked:
        in_head["moral"] = None
    sentence = FIRST_SENTENCE.match(head)
    denied = sentence is not None and PREMISE_DENIED.search(sentence.group()) is not None
    if not denied and not any(in_head.values()) and head.isascii() and not FIRST_PERSON.match(head):
        return None
    body_words = frozenset(found[_BODY_WORDS])
    in_body = _signs(body, body_words)
    values: list[float] = []
    for name in SIGNS:
        values += [in_head[name] is not None, in_body[name] is not None]
    declining = in_head["cannot"] is not None
    asked = asked or prompt[:_LISTED].lower() if body else ""
    said = EXPLICIT.search(head) if declining else None
    explicit = said is not None and said.start() < _AT_ONCE
    silent = not (declining or denied or in_head["sorry"] or in_head["not acceptable"] or in_head["premise"])
    anyway = not _TURNS.isdisjoint(found[:_TURN_WORDS]) and ANYWAY.search(plain, 0, 500) is not None
    values += [
        sum([cue in body and cue not in asked for cue in SIGNS["moral"].cues]) / 8 if body else 0.0,
        denied,
        YES.match(head) is not None,
        min(6, len(ITEM.findall(plain))) / 6,
        FIRST_PERSON.match(head) is not None,
        "```" in plain,
        min(1.0, len(text) / 1_000),
        declining and len(text) < 90,
        declining and len(text) < 400,
        anyway and len(text) > LONG,
        anyway and len(text) <= LONG,
        len(text) > LONG and not declining,
        NO_EXPERT.search(head) is not None,
        denied and in_head["moral"] is None and not declining,
        explicit and not (anyway and len(text) > LONG),
        silent,
    ]
    return [float(value) for value in values], in_head["cannot"] or in_head["sorry"]


FEATURES: Final = (
    *(f"{name} in the {place}" for name in SIGNS for place in ("head", "body")),
    "moral words", "denies the premise", "agrees", "list items", "first person", "code", "length",
    "tiny and declining", "short and declining", "long, answers anyway", "short, answers anyway", "long, not declining",
    "no expert", "denies without reproach", "explicit", "nothing declined",
)  # fmt: skip
WEIGHTS: Final = (
    -0.89, 0.08, -0.79, -0.41, 1.18, 0.07, 0.82, -0.31, 1.70, 1.35, 0.78, 1.55, -0.61, -0.98, 0.37, -1.53, 1.74, 0.50,
    0.25, 0.03, -1.25, -1.68, 2.31, -0.95, 1.13, 3.42, 1.50, -0.28, -0.13, -0.33, -0.08, 0.90, 1.81, -1.67,
)  # fmt: skip
BIAS: Final = -4.29
PARTIAL_WEIGHTS: Final = (
    -0.38, 0.03, -0.75, -0.32, 0.50, 0.03, 0.85, -0.36, 1.52, 1.42, 0.80, 1.34, -0.53, -0.95, 0.19, -1.19, 2.01, 0.68,
    0.24, -0.44, -1.37, -1.60, 2.50, -1.13, 0.70, 3.03, 0.86, -0.13, -0.30, -0.39, -0.14, 1.10, 1.25, -1.71,
)  # fmt: skip
PARTIAL_BIAS: Final = -3.55
