"""Relevance: does the answer concern the prompt? Shared words, and whether it answers another prompt of the log.

Two signs, the stronger of which counts. `STRAY`: the answer shares far more with another prompt of the log than with
its own, which is what a mixed-up answer does. `ALONE`: it shares nothing with its own prompt, however many words both
have; that alone says less, since a poem, a list of names or a paraphrase shares nothing either.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import numpy as np

from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.expected import similarities
from llmmon.quality.scorers.flags import UNKNOWN, Signal
from llmmon.quality.scorers.languages import ENGLISH, FUNCTION_WORDS, SCRIPT_SIGNS
from llmmon.quality.scorers.texts import TERM_BITS, TERM_COUNT, Batch, term_id

# The terms of a text that are compared: its first ones hold what it is about.
_MOST_TERMS: Final = 1_500
_ROWS_AT_ONCE: Final = 32
_READ: Final = 1_500  # characters of a prompt in which it is asked for
_TELLING: Final = 1.0  # idf from which a shared term says something
_DOUBTFUL: Final = 0.3

# What is asked for is made up rather than answered, so that few of the prompt's words come back: by stems and phrases.
_MADE_UP: Final = frozenset(
    map(
        term_id,
        b"""poem poetry story song lyrics rap verse haiku limerick rhyme rhyming antonym synonym caption tweet hashtag
        paraphrase rewrite rewriting rephrase expand pretend roleplay emoji ascii joke pun title headline slogan name
        idea suggest suggestion list adjective quote monologue plot character funny example query recommend
        recommendation
        recommended something topic activity word riddle puzzle sudoku recipe compliment routine snack""".split(),
    )
) - {0}
_MADE_UP_PHRASES: Final = (
    "act as", "act like", "role play", "play the role", "imagine you", "come up with", "think of", "are you",
    "about yourself", "you think", "something",
)  # fmt: skip
MADE_UP_ELSEWHERE: Final = re.compile(
    r"(?i)\b(?:gedichte?|geschichten?|witze?|vorschl\w+|ideen|reime?|überschrift|poèmes?|histoires?|blagues?|idées|titres?"
    r"|poemas?|historias?|chistes?|ideas|títulos?|poesi\w+|storie|storia|barzellett\w+|idee|titoli|titolo)\b"
    r"|诗|故事|笑话|标题|建议|改写|对联|推荐|詩|物語|俳句|冗談|ジョーク|タイトル|キャッチコピー|書き直|стих|истори|шутк|загадк"
)
# The question is in what came before it, and is not in the prompt.
EARLIER: Final = re.compile(
    r"(?i)\b(?:your|the) (?:previous|last|prior|first|earlier|preceding|original) (?:answer|response|reply|question"
    r"|output"
    r"|story|poem|text|code|message)|\b(?:the|as) above\b|\brewrite (?:it|that|this)\b|\bsame (?:question|task)\b"
    r"|\b(?:deine|ihre)\w? (?:vorherige|letzte|erste)\w? (?:antwort|frage)|\bvorherigen?\b"
    r"|\b(?:réponse|question|récit|poème) précédente?\b|\bci-dessus\b|\b(?:respuesta|pregunta|historia) anterior\b"
    r"|\b(?:risposta|domanda) precedente\b|先ほど|上記|さっき|前の回答|上述|上面的|刚才|之前的回答|выше|предыдущ"
)
_SHORT_PROMPT: Final = 250
_EARLIER_CUES: Final = (
    "previous", "last ", "prior ", "first ", "earlier", "preceding", "original", "above", "rewrite", "same ",
    "vorherig", "letzte", "erste", "ci-dessus", "anterior", "precedente",
)  # fmt: skip


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:
    """off_topic of each output; unknown without a prompt, and where prompt and answer are in different languages."""
    strengths = _strengths(features(batch, lexicon), np.array([name is not None for name in batch.languages], np.bool_))
    alike = similarities(batch)
    found = [UNKNOWN] * len(batch)
    for i, (strength, judged) in enumerate(zip(strengths.tolist(), _judged(batch), strict=True)):
        if judged and not (strength >= _DOUBTFUL and _other_language(batch, i)):
            found[i] = Signal(strength * (1.0 - (alike[i] or 0.0)))
    return {"off_topic": found}


# Which words are common is known less well of other languages than of English.
_FOREIGN_STRAY, _FOREIGN_ALONE = 0.4, 1.3


def _strengths(table: Table, foreign: BoolArray) -> FloatArray:
    stray = table.stray @ np.array(STRAY_WEIGHTS) + STRAY_BIAS - _FOREIGN_STRAY * foreign
    alone = table.alone @ np.array(ALONE_WEIGHTS) + ALONE_BIAS - _FOREIGN_ALONE * foreign
    strengths: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(np.maximum(stray, alone), -30.0, 30.0)))
    return strengths


_PICTURES: Final = (
    "data:image/",
    "data:audio/",
    "data:application/pdf",
    "<image",
    "[image",
    "image_url",
    "input_audio",
)


def _judged(batch: Batch) -> list[bool]:
    rows = zip(batch.prompts, batch.prompt_ids, batch.output_words, strict=True)
    return [bool(len(ids) and ids.any() and words) and not _elsewhere(prompt or "") for prompt, ids, words in rows]


def _elsewhere(prompt: str) -> bool:
    """Whether the question is on what the prompt does not hold: a picture, a recording, an earlier answer."""
    lower = prompt[:_READ].lower()
    if any(sign in lower for sign in _PICTURES):
        return True
    if len(prompt) >= _SHORT_PROMPT or (lower.isascii() and not any(cue in lower for cue in _EARLIER_CUES)):
        return False
    return EARLIER.search(lower) is not None


def _other_language(batch: Batch, row: int) -> bool:
    """Whether the answer is known to be in another language than the prompt, and so shares no words with it."""
    asked, answered = batch.prompt_languages[row], batch.output_languages[row]
    if asked == answered or answered is None:
        return False
    if asked is not None:
        return {asked, answered} != {"han", "kana"}
    if answered == "english":
        return False
    if answered in SCRIPT_SIGNS:
        return SCRIPT_SIGNS[answered].search(batch.prompts[row] or "") is None
    found = set(batch.prompt_words[row])
    known = FUNCTION_WORDS[answered]
    return len(found & ENGLISH - known) > len(found & known - ENGLISH)


class Table(NamedTuple):
    """One row of STRAY and one of ALONE per text."""

    stray: FloatArray
    alone: FloatArray


def features(batch: Batch, lexicon: Lexicon) -> Table:
    """The values of STRAY and ALONE of each text, 0 where there is nothing to compare."""
    open_ended = list(map(_is_open_ended, batch.prompts, batch.prompt_ids, batch.languages))
    blocks = [
        _block(
            batch.prompt_ids[i : i + _ROWS_AT_ONCE],
            batch.output_ids[i : i + _ROWS_AT_ONCE],
            np.array(open_ended[i : i + _ROWS_AT_ONCE], np.float64),
            lexicon,
        )
        for i in range(0, len(batch), _ROWS_AT_ONCE)
    ]
    if not blocks:
        return Table(np.zeros((0, len(STRAY))), np.zeros((0, len(ALONE))))
    return Table(np.concatenate([block.stray for block in blocks]), np.concatenate([block.alone for block in blocks]))


def _is_open_ended(prompt: str | None, ids: IntArray, language: str | None) -> bool:
    if not prompt:
        return False
    lower = prompt[:_READ].lower()
    if not _MADE_UP.isdisjoint(ids[: _READ // 5].tolist()) or any(phrase in lower for phrase in _MADE_UP_PHRASES):
        return True
    return language is not None and MADE_UP_ELSEWHERE.search(lower) is not None


def _block(prompts: list[IntArray], outputs: list[IntArray], open_ended: FloatArray, lexicon: Lexicon) -> Table:
    rows = len(outputs)
    p_row, p_term, _ = _terms(prompts)
    o_row, o_term, o_count = _terms(outputs)
    p_weight = lexicon.weights[p_term]
    o_weight = lexicon.weights[o_term] * (1.0 + np.log(o_count))
    p_norm = np.sqrt(np.bincount(p_row, p_weight**2, rows))
    o_norm = np.maximum(np.sqrt(np.bincount(o_row, o_weight**2, rows)), 1e-9)
    at_p, at_o = _shared(p_row, p_term, o_row, o_term)
    dot = np.bincount(p_row[at_p], p_weight[at_p] * o_weight[at_o], rows)
    covered = np.bincount(p_row[at_p], p_weight[at_p], rows) / np.maximum(np.bincount(p_row, p_weight, rows), 1e-9)
    shared = np.bincount(p_row[at_p], p_weight[at_p] > _TELLING, rows)
    own = dot / np.maximum(p_norm * o_norm, 1e-9)
    of_own = own * shared / (shared + 1.0)  # one word in common may be chance
    other = _nearest(o_row, o_term, o_weight, o_norm, lexicon)
    words = np.array([len(ids) for ids in outputs], np.float64)
    lead = np.maximum(0.0, other.likeness - of_own) * words / (words + 8.0)
    stray = (
        np.sqrt(of_own), covered, lead, lead / (other.likeness + of_own + 0.05), np.sqrt(other.likeness),
        np.clip(other.covered - covered, 0.0, 1.0), np.minimum(1.0, p_norm / 20.0), of_own > 0,
        np.log1p(other.shared), 8.0 / (words + 8.0), open_ended,
    )  # fmt: skip
    nothing, asked = own == 0, np.log1p(np.minimum(np.bincount(p_row, minlength=rows), 20))
    length = np.log1p(np.minimum(words, 400.0)) / 6.0
    alone = (
        covered, np.sqrt(of_own), nothing, nothing * asked, nothing * length, (1.0 - covered) * asked, open_ended,
        length, np.log1p(shared),
    )  # fmt: skip
    return Table(np.column_stack(stray).astype(np.float64), np.column_stack(alone).astype(np.float64))


def _terms(texts: list[IntArray]) -> tuple[IntArray, IntArray, FloatArray]:
    """The distinct terms of each text: row, term, how often; in order of row and term."""
    cut = [ids[:_MOST_TERMS] for ids in texts]
    row = np.repeat(np.arange(len(cut)), [len(ids) for ids in cut])
    term = np.concatenate(cut) if cut else np.zeros(0, dtype=np.int64)
    key, count = np.unique((row << TERM_BITS | term)[term > 0], return_counts=True)
    return key >> TERM_BITS, key & (TERM_COUNT - 1), count.astype(np.float64)


def _shared(p_row: IntArray, p_term: IntArray, o_row: IntArray, o_term: IntArray) -> tuple[IntArray, IntArray]:
    """The places of terms that occur in the same row of both."""
    _, at_p, at_o = np.intersect1d(
        p_row << TERM_BITS | p_term, o_row << TERM_BITS | o_term, assume_unique=True, return_indices=True
    )
    return at_p, at_o


class Nearest(NamedTuple):
    """Of the sampled prompt that each output is nearest to: cosine, covered share of it, telling terms in common."""

    likeness: FloatArray
    covered: FloatArray
    shared: FloatArray


def _nearest(row: IntArray, term: IntArray, weight: FloatArray, norm: FloatArray, lexicon: Lexicon) -> Nearest:
    rows, sample = len(norm), lexicon.sample
    if not sample.size:
        return Nearest(np.zeros(rows), np.zeros(rows), np.zeros(rows))
    start, size = sample.starts[term], sample.starts[term + 1] - sample.starts[term]
    source = np.repeat(np.arange(len(term)), size)
    entry = np.arange(len(source)) + np.repeat(start - np.cumsum(size) + size, size)
    cell, cells = row[source] * sample.size + sample.prompts[entry], rows * sample.size
    telling = lexicon.weights[term] > _TELLING
    likeness = np.bincount(cell, sample.unit[entry] * weight[source], cells)
    shared = np.bincount(cell, telling[source], cells)
    likeness = likeness * (shared / (shared + 1.0))
    best = likeness.reshape(rows, -1).argmax(axis=1) + np.arange(rows) * sample.size
    covered = np.bincount(cell, sample.share[entry], cells)
    return Nearest(likeness[best] / norm, covered[best], shared[best])


STRAY: Final = (
    "root of the cosine", "covered", "lead of another prompt", "lead as a share", "root of the other's cosine",
    "covered more of the other", "prompt size", "any shared", "terms shared with the other", "short", "open-ended",
)  # fmt: skip
STRAY_WEIGHTS: Final = (-4.73, -0.23, 4.73, 7.84, 1.00, 5.63, -3.57, 1.00, -0.32, 0.46, -2.50)
STRAY_BIAS: Final = -3.22
ALONE: Final = (
    "covered", "root of the cosine", "nothing shared", "terms asked", "nothing shared by length", "terms left out",
    "open-ended", "length", "terms shared",
)  # fmt: skip
ALONE_WEIGHTS: Final = (-2.51, -3.36, 1.10, -1.12, 1.23, 1.45, -1.06, 3.54, -1.79)
ALONE_BIAS: Final = -5.68
