"""Language: which one a text is in (by script, else by its function words), and which one the prompt asks for."""

from __future__ import annotations

import re
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Signal
from llmmon.quality.scorers.languages import FUNCTION_WORDS, SCRIPT_SIGNS
from llmmon.quality.scorers.texts import Batch

_LEAST_WORDS: Final = 12
_MIXED: Final = 4  # different function words, from which a prompt holds text in their language

# What each name asks for: the language of the function words, or the scripts it is written in.
_WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    **{name: (name,) for name in FUNCTION_WORDS},
    "russian": ("cyrillic",), "ukrainian": ("cyrillic",), "bulgarian": ("cyrillic",), "greek": ("greek",),
    "arabic": ("arabic",), "persian": ("arabic",), "farsi": ("arabic",), "urdu": ("arabic",), "hebrew": ("hebrew",),
    "hindi": ("devanagari",), "marathi": ("devanagari",), "nepali": ("devanagari",), "bengali": ("bengali",),
    "punjabi": ("gurmukhi",), "gujarati": ("gujarati",), "tamil": ("tamil",), "telugu": ("telugu",),
    "kannada": ("kannada",), "thai": ("thai",), "japanese": ("kana", "han"), "korean": ("hangul",),
    "chinese": ("han",), "mandarin": ("han",),
}  # fmt: skip
_NAMES: Final = "|".join(_WRITTEN)
ASKED: Final = re.compile(
    r"(?i)\b(?:(?:respond|answer|reply|write|written|response|output|speak|explain|summari[sz]e)\b[^.!?\n]{0,60}?"
    r"\b(?:in|into|using|use)\s(?:the\s|only\s|fluent\s|simple\s)?(?:the\s)?|translat\w{1,6}\b[^.!?\n]{0,80}?"
    r"\b(?:into|to)\s|only(?:\s(?:in|use|using))?\s(?:the\s)?)"
    rf"({_NAMES})\b(?!\s(?:word|history|literature|food|class|cuisine))"
)


# Languages by their names in other languages.
_NAMED: Final[dict[str, str]] = {
    "english": "englisch anglais inglés inglese inglês английск 英文 英语 英語",
    "german": "deutsch allemand alemán tedesco alemão немецк 德文 德语 ドイツ語",
    "french": "französisch français francés francese francês французск 法文 法语 フランス語",
    "spanish": "spanisch espagnol español spagnolo espanhol испанск 西班牙 スペイン語",
    "italian": "italienisch italien italiano итальянск 意大利 イタリア語",
    "portuguese": "portugiesisch portugais portugués portoghese português португальск 葡萄牙 ポルトガル語",
    "chinese": "chinesisch chinois chino cinese chinês китайск 中文 汉语 漢語 中国語",
    "japanese": "japanisch japonais japonés giapponese japonês японск 日文 日语 日本語",
    "russian": "russisch russe ruso russo русск 俄语 俄文 ロシア語",
    "korean": "koreanisch coréen coreano корейск 韩语 韩文 韓国語",
    "dutch": "niederländisch holländisch néerlandais neerlandés olandese holandês 荷兰语 オランダ語",
}
# A prompt with one of these may ask for any language.
_ON_LANGUAGE: Final = (
    "translat", "language", "übersetz", "sprache", "tradu", "langue", "idioma", "lingua", "língua", "перев", "язык",
    "翻译", "翻譯", "语言", "語言", "翻訳", "言語",
)  # fmt: skip
_BY_NAME: Final = {name: language for language, names in _NAMED.items() for name in names.split()}
_FOREIGN: Final = "|".join(_BY_NAME)
ASKED_ELSEWHERE: Final = re.compile(
    rf"(?i)(?:antworte|schreib|répond|écri[st]|rédige|respond|contesta|escrib|rispondi|scrivi|escreva|отвечай|ответь|напиши)"
    rf"[^.!?\n]{{0,60}}?\b(?:auf|en|in|em|на)\s({_FOREIGN})"
    rf"|用({_FOREIGN})(?:来|進行|进行)?(?:回答|回复|回覆|写|寫)|({_FOREIGN})で(?:答え|回答|書い|返答)"
)


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """wrong_language: against the language that the prompt asks for, else against the prompt's own."""
    rows = zip(batch.prompts, batch.prompt_words, batch.prompt_languages, batch.output_languages, strict=True)
    return {"wrong_language": [_wrong_language(*row) for row in rows]}


def _wrong_language(prompt: str | None, found: list[bytes], own: str | None, spoken: str | None) -> Signal:
    if not prompt:
        return UNKNOWN
    ends = prompt if len(prompt) < 4_000 else f"{prompt[:2_000]}\n{prompt[-2_000:]}"
    lower = ends.lower()
    mentioned = any(name in lower for name in _WRITTEN) or any(word in lower for word in _ON_LANGUAGE)
    asked = {match.group(1).lower() for match in ASKED.finditer(ends)} if mentioned else set()
    if not (own == "english" and lower.isascii()) and any(name in lower for name in _BY_NAME):
        mentioned = True
        asked |= {_BY_NAME[next(filter(None, match.groups())).lower()] for match in ASKED_ELSEWHERE.finditer(ends)}
    if not asked and not mentioned and len(found) < _LEAST_WORDS and prompt.isascii():
        return CLEAN  # too short a prompt to tell its language
    if spoken is None:
        return UNKNOWN if asked else CLEAN
    if asked:
        right = any(spoken in _WRITTEN[name] for name in asked)
        return Signal(0.05 if right else 0.9, (), "" if right else f"{spoken}, not {'/'.join(sorted(asked))}")
    if mentioned or own is None or own == spoken or _mixed(prompt, found, own, spoken):
        return CLEAN
    return Signal(0.55, (), f"{spoken}, asked in {own}")


def _mixed(prompt: str, found: list[bytes], own: str, spoken: str) -> bool:
    """Whether the prompt, in the main in one language, holds words of that of the answer too."""
    if spoken in SCRIPT_SIGNS:
        return SCRIPT_SIGNS[spoken].search(prompt) is not None or {own, spoken} == {"han", "kana"}
    return len(FUNCTION_WORDS[spoken].intersection(found) - FUNCTION_WORDS.get(own, frozenset())) >= _MIXED
