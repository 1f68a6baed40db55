"""How a text ends: the signs that it was cut off there, weighed by a linear model.

A full stop, a closing bracket, an emoji, a hashtag, a link or a signature ends a text. Where there is none of these,
the lines before say whether this text does without (lists, verses, outlines), and the last word whether it is whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from llmmon.quality.scorers.flags import linear

_TAIL_CHARS: Final = 3_000
_END_CHARS: Final = 8
_VERSE_WORDS: Final = 14
_PROSE: Final = 6  # words, from which a line that ends in a full stop is a sentence
_SIGNATURE: Final = 7

_HANGING: Final = frozenset(
    """a an the of and or to in for with on at by from that which is are was were be as but if than into your their
    our his her its this these those can will would should may not such because while when where who whom whose
    about between like including i you we they he she it has have had do does so then also very more most each every
    some any no one through during under over without within using based due both either
    der das den dem des und oder mit von zum zur eine einen einem einer ist sind für auf durch wird werden dass weil
    la les des du et ou une dans sur avec pour qui que est sont par aux el los las del y una con por para es como su
    gli della delle nella il di che dos das não com uma het een van en voor и в на с что для по не к от""".split()
)
# Signs that stand before another word in Chinese and Japanese.
_HANGING_SIGNS: Final = frozenset("的和是在与及或对把被从向将而且但并以为之这那每各因如はがをにのとでもやへ")
WIDE: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]")
_SHORT_WORDS: Final = frozenset(
    """a i am an as at be by do go he hi if in is it me my no of oh ok on or so to up us we ad ai uk eu pm tv id os ip
    cm km kg mg ml mm gb mb kb db ui ux hr pc ph vs x y z b c d e f n""".split()
)
ENDED: Final = re.compile(r"[.!?…。！？؟।][\"'”’»)\]*_`~]{0,4}\Z")
ITEM: Final = re.compile(r"\s{0,12}(?:[-*•+–]\s|\d{1,3}[.)]|[A-Za-z][.)]\s|#{1,6}\s|\|)")
BARE_ITEM: Final = re.compile(r"\s{0,12}(?:[-*•+]|\d{1,3}[.)]?|#{1,6})\s{0,4}\*{0,2}\s{0,4}")
RULE: Final = re.compile(r"\s{0,8}(?:[-*_=~#•] ?){3,80}\s{0,8}")
CLOSING_TOKEN: Final = re.compile(r"(?:[#@]\w{2,60}|\S{0,40}(?:https?://|www\.)\S{1,200}|[\w.+-]{1,64}@[\w.-]{3,80})\Z")
LABEL: Final = re.compile(r"\W{0,6}[A-Z][^:.!?\n]{1,40}:[*_]{0,3}\s")
THE_END: Final = re.compile(
    r"(?i)\W{0,4}(?:the end|fin|end(?: of \w.{0,30})?|ende|chorus|outro|amen|以上|完|终|終わり)\W{0,4}"
)
RESULT: Final = re.compile(
    r"[=≈]\s{0,3}[-−+$€£¥]?\d[\d.,]{0,20}(?:\s?[^\W\d_/%°²³]{1,8}(?:/[^\W\d_]{1,4})?|\s?[%°])?\Z"
)
ATTRIBUTED: Final = re.compile(r"[\"”»'][.,]?\s{0,4}[-–—~]{1,2} ?[^\W\d_][^\"”\n]{2,50}\Z")
LAST_WORD: Final = re.compile(r"[^\W\d_]{1,30}\Z")
_CLOSINGS: Final = (
    "hope this", "hope that", "hope these", "let me know", "in conclusion", "overall", "in summary", "enjoy",
    "good luck", "sincerely", "best regards", "feel free", "happy to", "remember", "ultimately", "by following",
    "thank you", "thanks",
)  # fmt: skip
_SIGN_OFFS: Final = (
    "regards,", "sincerely,", "best,", "cheers,", "yours,", "faithfully,", "truly,", "thanks,", "thank you,", "love,",
    "wishes,", "respectfully,", "gratitude,", "cordially,", "warmly,", "author:", "signed,", "grüßen", "grüße",
    "gruß", "hochachtungsvoll", "grüßen,", "cordialement,", "distinguées,", "saludos,", "cordial,", "atentamente,",
    "saluti,", "atenciosamente,", "уважением,", "любовью,", "此致", "敬礼", "敬上",
)  # fmt: skip

# How much more often two letters stand inside an English word than at its end, 4 or 5 for equally often: a row for
# each first letter, a digit for each second.
_PAIRS: Final = (
    "79944984986365564644994318", "94678465993978987956954333", "93963333932957957904933313",
    "85355597993973974907999114", "86905799982545658424991606", "93346643943944933914931303",
    "95364794933994753909955304", "99862734931927643902758343", "59468998367777959436997249",
    "53349333536433943353933333", "57573986775969583707437303", "86903096953347913824999305",
    "99504936934593990403957323", "88914906993999897933988406", "98957678993643854474593437",
    "97686337934996973904935214", "33343333333033333832933333", "96934979933654976924999302",
    "94974965933954599634909362", "59535976932979564909999500", "96953973957647943453863019",
    "84533333933443923353853303", "97849739932661663909433333", "93938437933452793302933223",
    "48996795937898993659558339", "43332233734833634335733303",
)  # fmt: skip


# Few answers end by chance at a round number of tokens (1 in 28), and nearly all that a cap cut off do.
_ROUND: Final = math.log(28)


def cut_strength(text: str, tokens: float | None = None) -> float:
    """How likely it is that a text that is not blank was cut off at its end, in [0, 1].

    `tokens` is how many the answer took: a multiple of 50 or 64 is a sign of a cap.
    """
    capped = tokens is not None and tokens > 0 and (tokens % 50 == 0 or tokens % 64 == 0)
    return linear(features(text), WEIGHTS, BIAS + _ROUND * capped)


def features(text: str) -> list[float]:
    """The values of FEATURES for a text that is not blank."""
    t = text.rstrip()
    cut = t[-_TAIL_CHARS:]
    lines = [line for line in cut.split("\n") if line.strip()]
    last, before = lines[-1], lines[:-1]
    open_fence = bool(t.count("```") % 2) and not _after_code(last)
    if _closed(cut, last, before) and not open_fence:
        return [1.0, 0.0, _open_brackets(t), *[0.0] * (len(FEATURES) - 3)]
    c, size, is_item = cut[-1], _size(last), _is_item(last)
    alike = [line for line in before[-24:] if _is_item(line) == is_item][-8:]
    style = _unended_share(alike)
    sizes = list(map(_size, alike))
    if style > 0.6 and max(sizes, default=99) <= _VERSE_WORDS:
        is_item = True  # a verse
    long = min(1.0, size / 25)
    word = LAST_WORD.search(cut[-30:])
    hanging, broken, odd = _last_word(word.group(), t) if word else (False, False, 0.0)
    ending = " ".join(lines[-3:])[-400:].lower()
    values = (
        0.0,
        open_fence,
        _open_brackets(t),
        c in ",-–—(/&=+[{<\\",
        c in ":;",
        BARE_ITEM.fullmatch(last) is not None,
        not is_item,
        (not is_item) * (1.0 - style),
        (not is_item) * long,
        is_item * (1.0 - style),
        is_item * long,
        (style > 0.7 and len(alike) >= 2) * (not hanging),
        not before and size <= 12,
        bool(sizes) and size < 0.5 * sum(sizes) / len(sizes),
        hanging,
        broken,
        odd,
        any(phrase in ending for phrase in _CLOSINGS),
        (last.count("(") > last.count(")")) or last.count("**") % 2 or last.count("`") % 2 or _open_quote(last),
        c.isdigit(),
        c.isupper() or bool(word and word.group()[0].isupper()),
    )
    return [float(value) for value in values]


def _after_code(last: str) -> bool:
    """Whether the last line is prose that ended, or the end of a block of code: an uneven fence is then a slip."""
    return last.strip() == "```" or (_size(last) >= _PROSE and ENDED.search(last.rstrip()[-_END_CHARS:]) is not None)


def _size(line: str) -> int:
    """The number of words of a line; two signs count as one where a script has no spaces."""
    size = len(line.split())
    return size if line.isascii() else max(size, len(WIDE.findall(line)) // 2)


def _is_item(line: str) -> bool:
    return ITEM.match(line) is not None or (len(line) < 90 and LABEL.match(line) is not None)


def _closed(cut: str, last: str, before: Sequence[str]) -> bool:
    """Whether the last sign, word or line ends a text."""
    if RULE.fullmatch(last):
        return True
    if BARE_ITEM.fullmatch(last):
        return False
    c = cut[-1]
    if ENDED.search(cut[-_END_CHARS:]) or (c in ')]}>|"”’»*_`~^%°€$' and not _opens(cut, last)):
        return True
    if ord(c) >= 0x2190 and not c.isalnum():
        return True  # an emoji, an arrow, a box
    tokens = last.split()
    if _signed(last, before) or CLOSING_TOKEN.fullmatch(tokens[-1]) or THE_END.fullmatch(last):
        return True
    if RESULT.search(last[-60:]) or (
        tokens[-1].isupper() and len(tokens[-1]) >= 6 and not "".join(tokens[:-1]).isupper()
    ):
        return True  # a sum, or a mark such as ENDMESSAGE
    return ATTRIBUTED.search(last[-60:]) is not None


def _signed(last: str, before: Sequence[str]) -> bool:
    """Whether the last lines are a name, or a name and a post, under a closing formula."""
    for at, line in enumerate(reversed((*before[-3:], last))):
        if at and line.rstrip().lower().endswith(_SIGN_OFFS):
            return True
        if len(line.split()) > _SIGNATURE:
            return False
    return False


def _opens(cut: str, last: str) -> bool:
    """Whether the closing sign at the end is one that opens: a bold mark or a quote that was just begun."""
    if cut.endswith(("**", "__")):
        return bool(last.count(cut[-2:]) % 2)
    return cut[-1] in '"`' and bool(last.count(cut[-1]) % 2) and len(cut) > 1 and cut[-2].isspace()


def _open_quote(line: str) -> bool:
    return line.count('"') % 2 == 1 and len(line.split()) > 2


def _last_word(word: str, text: str) -> tuple[bool, bool, float]:
    """Whether the last word hangs, whether it is a piece of one, and how odd its ending is in [0, 1]."""
    lower = word.lower()
    if lower in _HANGING or (word[-1] in _HANGING_SIGNS and WIDE.match(word[0])):
        return True, False, 0.0
    if len(word) <= 2:
        return False, lower not in _SHORT_WORDS and not word.isupper(), 0.5
    plain = text.lower()
    found = plain.find(lower)
    seen_whole = seen_longer = False
    for _ in range(20):
        end = found + len(lower)
        if found < 0 or end >= len(plain):
            break
        if found == 0 or not plain[found - 1].isalpha():
            whole = not plain[end].isalpha()
            seen_whole, seen_longer = seen_whole or whole, seen_longer or not whole
        found = plain.find(lower, end)
    if seen_whole:
        return False, False, 0.0
    row, column = ord(lower[-2]) - 97, ord(lower[-1]) - 97
    odd = int(_PAIRS[row][column]) / 9 if 0 <= row < 26 and 0 <= column < 26 else 0.5
    return False, seen_longer and not word.endswith("s"), odd


def _unended_share(alike: Sequence[str]) -> float:
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
    "closed", "open fence", "open brackets", "comma or dash", "colon", "bare item", "prose", "prose, others end",
    "prose by words", "item, others end", "item by words", "as its siblings", "single short line", "shorter",
    "hanging word", "piece of a word", "odd ending", "closing phrase", "open marks", "digit", "name",
)  # fmt: skip
WEIGHTS: Final = (
    -3.55, 1.77, 0.70, -1.73, -2.30, 2.19, 0.43, 1.01, 2.96, 2.79, 2.18, -0.53, -3.28, 1.47, 1.92, 1.70, 2.35, 0.82,
    0.78, -2.23, -0.79,
)  # fmt: skip
BIAS: Final = -1.67
