"""Quality of answers: the scorers' findings as five dimensions, flags and one overall score."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from llmmon.metrics.columns import FloatArray
from llmmon.quality.scorers import SCORERS
from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.flags import DEFAULT_THRESHOLDS, DIMENSIONS, FLAGS, SIGNALS, Signal, TextSpan
from llmmon.quality.scorers.texts import Batch, Texts

Overall = Literal["defects", "weighted"]
Scorer = Callable[[str | None, str], float | None]

WEIGHTED: Final = {
    "relevance": 0.3,
    "coherence": 0.2,
    "completeness": 0.2,
    "safety": 0.2,
    "format_compliance": 0.1,
}
# Strengths up to this share of a flag's threshold are noise, and no defect to `overall`.
_NOISE: Final = 0.8
_ROWS_AT_ONCE: Final = 256
_KEPT_ERRORS: Final = 100
_SURE_WORDS: Final = 15
_HISTORY: Final = 10_000


@dataclass(frozen=True, slots=True)
class QualityScore:
    """The quality of one answer.

    `overall` and the dimensions are in [0, 1], or None where they cannot be judged. `signals` holds the
    strength of each sign in [0, 1] or None, `flags` the defects that passed their thresholds, `evidence` their
    [start, end) places in the output, `details` a word on them; none of them holds text of the output.
    `confidence` in [0, 1] is low for very short answers and without a prompt. `own` holds the scores of the scorers
    that a program added to its `QualityMonitor`.
    """

    overall: float | None
    relevance: float | None
    coherence: float | None
    completeness: float | None
    safety: float | None
    format_compliance: float | None
    signals: dict[str, float | None] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    evidence: dict[str, tuple[TextSpan, ...]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    confidence: float | None = None
    own: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityColumns:
    """The quality of many answers, one entry per row; NaN where there is no text or no judgement.

    `signals` and `dimensions` hold a float64 array by name; `flags`, `evidence` and `details` a value per row.
    """

    overall: FloatArray
    confidence: FloatArray
    dimensions: dict[str, FloatArray]
    signals: dict[str, FloatArray]
    flags: list[tuple[str, ...]]
    evidence: list[dict[str, tuple[TextSpan, ...]]]
    details: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.overall)

    def row(self, number: int) -> QualityScore:
        """One row as a score."""
        return QualityScore(
            overall=_value(self.overall, number),
            confidence=_value(self.confidence, number),
            signals={name: _value(column, number) for name, column in self.signals.items()},
            flags=self.flags[number],
            evidence=self.evidence[number],
            details=self.details[number],
            relevance=_value(self.dimensions["relevance"], number),
            coherence=_value(self.dimensions["coherence"], number),
            completeness=_value(self.dimensions["completeness"], number),
            safety=_value(self.dimensions["safety"], number),
            format_compliance=_value(self.dimensions["format_compliance"], number),
        )


def _value(column: FloatArray, number: int) -> float | None:
    value = float(column[number])
    return None if value != value else value


def score_texts(
    texts: Texts,
    corpus: Corpus | Lexicon | None = None,
    thresholds: Mapping[str, float] | None = None,
    overall: Overall = "defects",
) -> QualityColumns:
    """Scores every row; rows without output text get NaN and no flags.

    `corpus` is that of the whole file (None: of these texts); to score a file in chunks, compile it once with
    `Lexicon.of`. `thresholds` overrides the default of each flag it names; an unknown name raises KeyError.
    The rows are judged one by one, so any split of them gives the same result.
    """
    if corpus is None:
        corpus = Corpus.of(texts)
    lexicon = corpus if isinstance(corpus, Lexicon) else Lexicon.of(corpus)
    limits = merged_thresholds(thresholds)
    numbers = [i for i, output in enumerate(texts.outputs) if output is not None]
    findings, sizes = _find(texts, numbers, lexicon)
    return _columns(len(texts.outputs), numbers, findings, sizes, limits, overall)


def merged_thresholds(thresholds: Mapping[str, float] | None) -> dict[str, float]:
    """The default thresholds with these in place; raises KeyError for a name that is no flag."""
    unknown = sorted(set(thresholds or ()) - set(FLAGS))
    if unknown:
        raise KeyError(f"no such flag: {', '.join(unknown)}")
    return DEFAULT_THRESHOLDS | dict(thresholds or {})


def _find(texts: Texts, numbers: Sequence[int], lexicon: Lexicon) -> tuple[dict[str, list[Signal]], FloatArray]:
    findings: dict[str, list[Signal]] = {name: [] for name in SIGNALS}
    sizes: list[FloatArray] = []
    for start in range(0, len(numbers), _ROWS_AT_ONCE):
        batch = Batch(texts.rows(numbers[start : start + _ROWS_AT_ONCE]))
        for scorer in SCORERS.values():
            for name, found in scorer(batch, lexicon).items():
                findings[name] += found
        judged = np.array([0.5 if prompt is None else 1.0 for prompt in batch.prompts])
        sizes.append(judged * np.minimum(1.0, batch.word_counts / _SURE_WORDS))
    findings["off_topic"] = list(map(_explained, findings["off_topic"], findings["refusal"]))
    return findings, np.concatenate(sizes) if sizes else np.zeros(0)


def _explained(off_topic: Signal, refusal: Signal) -> Signal:
    """A refusal shares few words with its prompt, and is not off-topic for that."""
    if off_topic.strength is None or not refusal.strength or refusal.strength < 0.5:
        return off_topic
    return off_topic._replace(strength=off_topic.strength * (1.0 - refusal.strength))


def _columns(
    rows: int,
    numbers: Sequence[int],
    findings: Mapping[str, list[Signal]],
    confidence: FloatArray,
    limits: Mapping[str, float],
    overall: Overall,
) -> QualityColumns:
    strengths = {
        name: np.array([np.nan if f.strength is None else f.strength for f in found], dtype=np.float64)
        for name, found in findings.items()
    }
    dimensions = {name: _dimension(name, strengths) for name in DIMENSIONS}
    total = _weighted(dimensions) if overall == "weighted" else _defect_free(strengths, limits)
    flags: list[tuple[str, ...]] = [()] * rows
    evidence: list[dict[str, tuple[TextSpan, ...]]] = [{} for _ in range(rows)]
    details: list[dict[str, str]] = [{} for _ in range(rows)]
    for name in FLAGS:
        for at in np.flatnonzero(strengths[name] >= limits[name]).tolist():
            flags[numbers[at]] += (name,)
            if findings[name][at].spans:
                evidence[numbers[at]][name] = findings[name][at].spans
        for at, word in [(at, found.detail) for at, found in enumerate(findings[name]) if found.detail]:
            details[numbers[at]][name] = word
    return QualityColumns(
        overall=_spread(total, numbers, rows),
        confidence=_spread(confidence, numbers, rows),
        dimensions={name: _spread(column, numbers, rows) for name, column in dimensions.items()},
        signals={name: _spread(column, numbers, rows) for name, column in strengths.items()},
        flags=flags,
        evidence=evidence,
        details=details,
    )


def _spread(column: FloatArray, numbers: Sequence[int], rows: int) -> FloatArray:
    full = np.full(rows, np.nan)
    full[list(numbers)] = column
    return full


def _dimension(dimension: str, strengths: Mapping[str, FloatArray]) -> FloatArray:
    """1 minus the strongest sign of the dimension; NaN where none could be judged."""
    columns = [strengths[flag.name] for flag in FLAGS.values() if flag.dimension == dimension]
    worst: FloatArray = np.fmax.reduce(columns)
    return 1.0 - worst


def _defect_free(strengths: Mapping[str, FloatArray], limits: Mapping[str, float]) -> FloatArray:
    """The product over the flags of 1 - penalty, so that one certain defect makes 0 and none makes 1.

    penalty = max(0, s - 0.8 t) / (1 - 0.8 t), with s the strength and t the threshold of the flag; signs that
    cannot be judged, or that lower no dimension, count nothing.
    """
    total = np.ones(len(next(iter(strengths.values()))))
    for flag in FLAGS.values():
        if flag.dimension is not None:
            noise = _NOISE * min(1.0, max(0.0, limits[flag.name]))
            total *= 1.0 - np.maximum(0.0, np.nan_to_num(strengths[flag.name]) - noise) / (1.0 - noise)
    return np.clip(total, 0.0, 1.0)


def _weighted(dimensions: Mapping[str, FloatArray]) -> FloatArray:
    """The mean of the dimensions by WEIGHTED, over those that could be judged; NaN for none."""
    table = np.array([dimensions[name] for name in DIMENSIONS])
    weights = np.array([WEIGHTED[name] for name in DIMENSIONS])[:, None] * ~np.isnan(table)
    total = weights.sum(axis=0)
    return np.where(total > 0, np.nansum(table * weights, axis=0) / np.where(total > 0, total, 1.0), np.nan)


class QualityMonitor:
    """Scores answers one by one and keeps the last 10,000 scores.

    Without a `corpus` the shipped table of English says how telling each word is. `scorers` is a list to which a
    program may add its own: functions of a prompt and an output that return a score in [0, 1], or None where they
    cannot judge. `overall` is then at most the lowest of theirs.
    """

    def __init__(
        self,
        corpus: Corpus | None = None,
        thresholds: Mapping[str, float] | None = None,
        overall: Overall = "defects",
        keep: int = _HISTORY,
    ) -> None:
        self._lexicon = Lexicon.of(corpus or Corpus.empty())
        self._thresholds = merged_thresholds(thresholds)
        self._overall: Overall = overall
        self._history: deque[QualityScore] = deque(maxlen=keep)
        self.scorers: list[Scorer] = []
        self.scorer_errors: deque[Exception] = deque(maxlen=_KEPT_ERRORS)  # of own scorers, newest last

    @property
    def history(self) -> Sequence[QualityScore]:
        """The last scores, oldest first; at most as many as are kept."""
        return tuple(self._history)

    def score(
        self, prompt: str | None, output: str | None, expected: str | None = None, context: str | None = None
    ) -> QualityScore:
        """Scores one answer; all None where there is no output."""
        texts = Texts(outputs=[output], prompts=[prompt], expected=[expected], contexts=[context])
        score = score_texts(texts, self._lexicon, self._thresholds, self._overall).row(0)
        if self.scorers and output is not None:
            score = _with_own(score, {_name_of(scorer): self._own(scorer, prompt, output) for scorer in self.scorers})
        self._history.append(score)
        return score

    def _own(self, scorer: Scorer, prompt: str | None, output: str) -> float | None:
        """The score of a program's own scorer, None where it raises or gives no number."""
        try:
            found = scorer(prompt, output)
            return None if found is None or math.isnan(value := float(found)) else value
        except Exception as error:  # noqa: BLE001 - a broken scorer does not stop the others
            self.scorer_errors.append(error)
            return None

    def get_trend(self, window: int = 100) -> dict[str, float | None]:
        """Averages and extremes of the last `window` scores; empty without any, None where none was judged."""
        recent = list(self._history)[-window:] if window > 0 else []
        return trend(recent) if recent else {}


def _name_of(scorer: Scorer) -> str:
    return getattr(scorer, "__name__", None) or type(scorer).__name__


def _with_own(score: QualityScore, found: Mapping[str, float | None]) -> QualityScore:
    own = {name: min(max(float(value), 0.0), 1.0) for name, value in found.items() if value is not None}
    judged = [*own.values(), *([] if score.overall is None else [score.overall])]
    return replace(score, own=own, overall=min(judged, default=None))


def trend(scores: Sequence[QualityScore]) -> dict[str, float | None]:
    """overall_avg, overall_min, overall_max, relevance_avg, coherence_avg and safety_avg of some scores."""
    overall = [score.overall for score in scores if score.overall is not None]
    return {
        "overall_avg": _mean(overall),
        "overall_min": min(overall, default=None),
        "overall_max": max(overall, default=None),
        "relevance_avg": _mean([score.relevance for score in scores if score.relevance is not None]),
        "coherence_avg": _mean([score.coherence for score in scores if score.coherence is not None]),
        "safety_avg": _mean([score.safety for score in scores if score.safety is not None]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
