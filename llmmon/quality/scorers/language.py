"""Language: which one a text is in (by script, else by its function words), and which one the prompt asks for."""

from __future__ import annotations

import re
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Signal
from llmmon.quality.scorers.texts import Batch

_WORDS: Final = 100
# Above this share of English function words no other language comes into question.
_PLAIN_ENGLISH: Final = 0.22
_LEAST_WORDS: Final = 12
_LEAST_SIGNS: Final = 30

_FUNCTION_WORDS: Final[dict[str, frozenset[bytes]]] = {
    language: frozenset(line.encode().split())
    for language, line in {
        "english": "the of and to is that for it with as was on are be this have from or by you not but what your can",
        "spanish": "el los las una que del para con por es como más pero sus está su ser son también fue lo al un",
        "french": "le les des et est une du que pour dans qui sur pas avec plus vous ce il sont par au cette ou",
        "german": "der die das und ist nicht ein eine zu den mit von sich auf für dem des auch werden sie wird wie",
        "portuguese": "os uma não para com mais dos como mas foi das são você pelo pela também ao sua isso em um do",
        "italian": "il di che gli della per non una sono con del più nel anche alla dei come questo essere è le si un",
        "dutch": "het een van en dat zijn voor niet met op te aan ook als maar bij naar wordt deze kan die worden je",
        "polish": "nie się jest na do że to jak dla czy są przez oraz który może ale od po być lub tego tym",
        "swedish": "och att det som är en på för inte med av den till om ett har kan de vi så men också eller",
        "turkish": "bir ve bu için ile da de çok olarak daha olan gibi ne var kadar sonra ama ya en her",
        "indonesian": "yang dan di untuk dengan ini itu dari pada adalah tidak dalam akan atau juga ke dapat anda",
        "swahili": "ya na wa kwa ni katika la za kuwa hii cha kama yake watu huu hiyo au pia kila",
        "vietnamese": "và của là có cho không được các một những trong với người này để khi đã tôi",
    }.items()
}
_SCRIPTS: Final[dict[str, str]] = {
    "cyrillic": "\u0400-\u04ff", "greek": "\u0370-\u03ff", "arabic": "\u0600-\u06ff", "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f", "bengali": "\u0980-\u09ff", "gurmukhi": "\u0a00-\u0a7f", "gujarati": "\u0a80-\u0aff",
    "tamil": "\u0b80-\u0bff", "telugu": "\u0c00-\u0c7f", "kannada": "\u0c80-\u0cff", "thai": "\u0e00-\u0e7f",
    "kana": "\u3040-\u30ff", "hangul": "\uac00-\ud7af", "han": "\u4e00-\u9fff",
}  # fmt: skip
SCRIPT_SIGNS: Final = {name: re.compile(f"[{signs}]") for name, signs in _SCRIPTS.items()}
LETTER: Final = re.compile(r"[^\W\d_]")
# What each name asks for: the language of the function words, or the scripts it is written in.
_WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    **{name: (name,) for name in _FUNCTION_WORDS},
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


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """wrong_language: against the language that the prompt asks for, else against the prompt's own."""
    rows = zip(batch.prompts, batch.prompt_words, batch.outputs, batch.output_words, strict=True)
    return {"wrong_language": [_wrong_language(*row) for row in rows]}


def _wrong_language(prompt: str | None, prompt_words: list[bytes], output: str, output_words: list[bytes]) -> Signal:
    if not prompt:
        return UNKNOWN
    ends = prompt if len(prompt) < 4_000 else f"{prompt[:2_000]}\n{prompt[-2_000:]}"
    lower = ends.lower()
    mentioned = any(name in lower for name in _WRITTEN) or "translat" in lower or "language" in lower
    asked = {match.group(1).lower() for match in ASKED.finditer(ends)} if mentioned else set()
    if not asked and not mentioned and len(prompt_words) < _LEAST_WORDS and prompt.isascii():
        return CLEAN  # too short a prompt to tell its language
    spoken = detect(output, output_words)
    if spoken is None:
        return UNKNOWN if asked else CLEAN
    if asked:
        right = any(spoken in _WRITTEN[name] for name in asked)
        return Signal(0.05 if right else 0.9, (), "" if right else f"{spoken}, not {'/'.join(sorted(asked))}")
    if mentioned:
        return CLEAN
    own = detect(prompt, prompt_words)
    return CLEAN if own is None or own == spoken else Signal(0.55, (), f"{spoken}, asked in {own}")


def detect(text: str, found: list[bytes]) -> str | None:
    """The script of a text that is not in Latin letters, else its language; None where unsure or too short."""
    start = text[:1_500]
    if not start.isascii() and (script := _script(start)):
        return script
    if len(found) < _LEAST_WORDS:
        return None
    first = found[:_WORDS]
    if sum(map(_FUNCTION_WORDS["english"].__contains__, first)) > _PLAIN_ENGLISH * len(first):
        return "english"
    counts = {name: sum(map(known.__contains__, first)) for name, known in _FUNCTION_WORDS.items()}
    best, second = sorted(counts.values(), reverse=True)[:2]
    if best < 0.1 * len(first) or best < 1.4 * second:
        return None
    return max(counts, key=lambda name: counts[name])


def _script(start: str) -> str | None:
    letters = len(LETTER.findall(start))
    if letters < _LEAST_SIGNS:
        return None
    for name, signs in SCRIPT_SIGNS.items():
        share = len(signs.findall(start)) / letters
        # Japanese mixes kana with Chinese characters.
        if share > (0.1 if name == "kana" else 0.5):
            return name
    return None
