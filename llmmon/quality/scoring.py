"""`score`: the calls of a query -> their quality, in two readings: which words the file uses, then each answer."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import ConfigError, InputError, UsageError
from llmmon.formats.aliases import aliases_of
from llmmon.ingest.query import Derive, Query, Read, read, say_nothing
from llmmon.ingest.report import SourceReport
from llmmon.ingest.reread import comes_once, rereadable
from llmmon.ingest.scan import place
from llmmon.metrics.columns import EMPTY, MISSING_TIME, Columns, Names
from llmmon.metrics.record import NANO_DOLLARS, SCORE_UNITS
from llmmon.quality.judge import Sample, SampleFold, smallest
from llmmon.quality.judge_client import Judge, Judged, VerdictCache, judge_all
from llmmon.quality.report import Scored, ScoreReport, join, report_of
from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.flags import FLAGS
from llmmon.quality.scorers.texts import Texts
from llmmon.quality.scores import Overall, QualityColumns, score_texts
from llmmon.text.names import lookup, nearest

SHOWN_NAMES: Final = ("request_id", "model", "user")
SHOWN_CHARS: Final = 2000
_NO_DETAILS: Final[dict[str, str]] = {}
NO_THRESHOLDS: Final[Mapping[str, float]] = {}  # each flag's own applies


class Method(msgspec.Struct, frozen=True):
    """How answers are judged: what the file's words tell, the flags' thresholds, the formula of `overall`."""

    lexicon: Lexicon
    thresholds: Mapping[str, float]
    overall: Overall = "defects"


def texts_of(columns: Columns) -> Texts:
    """What the scorers read of calls."""
    return Texts(
        outputs=columns.text("output"),
        prompts=columns.text("prompt"),
        expected=columns.text("expected"),
        contexts=columns.text("context"),
        systems=columns.text("system"),
        schemas=columns.text("schema"),
        finish_reasons=columns.name("finish_reason").texts(),
        reasoning_tokens=_numbers(columns, "reasoning_tokens"),
        completion_tokens=_numbers(columns, "completion_tokens"),
    )


def _numbers(columns: Columns, name: str) -> list[float | None]:
    return [None if value != value else value for value in columns.public(name).tolist()]


class ScoredPart(msgspec.Struct, frozen=True, eq=False):
    """What one worker scored: its blocks of calls, texts to show by position, what another fold made of them."""

    blocks: list[Scored]
    texts: dict[int, tuple[str | None, str]]
    also: Any = None


class CorpusFold:
    """The words of all answers and prompts, and how many calls there were, with and without output text."""

    def __init__(self) -> None:
        self._corpus = Corpus.empty()
        self._answers = 0

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        outputs = columns.text("output")
        self._answers += sum(output is not None for output in outputs)
        self._corpus = self._corpus.merge(Corpus.of(Texts(outputs=outputs, prompts=columns.text("prompt"))))

    def result(self) -> tuple[Corpus, int]:
        """The corpus, and how many answers it was made of."""
        return self._corpus, self._answers


class ScoreFold:
    """The quality of the calls, block by block, without their texts but for those of the `keep` worst with a flag."""

    def __init__(self, method: Method, keep: int = 0, also: Any = None) -> None:
        self._method = method
        self._also = also  # another fold, fed the same calls with their texts
        self._keep = keep
        self._blocks: list[Scored] = []
        self._worst: list[tuple[float, int, str | None, str]] = []

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Score a block."""
        if self._also is not None:
            self._also.add(columns, [])
        method = self._method
        quality = score_texts(texts_of(columns), method.lexicon, method.thresholds, method.overall)
        bare = dataclasses.replace(quality, details=[_NO_DETAILS] * columns.size)
        outputs = columns.text("output")
        has_text = np.array([output is not None for output in outputs], np.bool_)
        self._blocks.append(Scored(_bare(columns), has_text, bare))
        if self._keep:
            self._keep_worst(columns, quality)

    def _keep_worst(self, columns: Columns, quality: QualityColumns) -> None:
        positions = np.arange(columns.size) if columns.positions is None else columns.positions
        outputs, prompts = columns.text("output"), columns.text("prompt")
        rows = [i for i, flags in enumerate(quality.flags) if flags]
        new = ((_rank(quality.overall[i]), int(positions[i]), prompts[i], outputs[i] or "") for i in rows)
        worst = heapq.nsmallest(self._keep, (*self._worst, *new), key=lambda item: item[:2])
        self._worst = [
            (rank, at, prompt and prompt[:SHOWN_CHARS], out[:SHOWN_CHARS]) for rank, at, prompt, out in worst
        ]

    def result(self) -> ScoredPart:
        """The scored calls in one block, the worst ones' texts by position, the other fold's result."""
        texts = {at: (prompt, output) for _, at, prompt, output in self._worst}
        also = None if self._also is None else self._also.result()
        return ScoredPart([join(self._blocks)] if self._blocks else [], texts, also)


def _rank(overall: float) -> float:
    return float(np.inf if np.isnan(overall) else overall)


def _bare(columns: Columns) -> Columns:
    """The calls with only what their rows show."""
    return msgspec.structs.replace(
        columns,
        numbers={"quality_score": columns.number("quality_score")},
        names={name: columns.name(name) for name in SHOWN_NAMES},
        texts={},
    )


TEXT_FIELDS: Final = ("output", "prompt", "expected", "context", "system", "schema")
SCORED_BY: Final = frozenset({*TEXT_FIELDS, "finish_reason", "reasoning_tokens", "completion_tokens"})
_SHOWN: Final = frozenset({*SHOWN_NAMES, "timestamp", "quality_score"})
_WORK: Final = 64  # scoring a byte, in units of reading it
_COUNTING: Final = 16
_ALL: Final = 1 << 60
OVERALLS: Final[dict[str, Overall]] = {"defects": "defects", "weighted": "weighted"}


class Judging(msgspec.Struct, frozen=True):
    """Which answers are judged, by whom, and where verdicts are kept."""

    sample: Sample
    judge: Judge
    cache: VerdictCache


def score_calls(
    query: Query,
    *,
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
    overall: str = "defects",
    limit: int = 10,
    show_text: bool = False,
    judging: Judging | None = None,
) -> tuple[ScoreReport, Read]:
    """The quality of every call; raises `InputError` where there are calls and none has output text.

    What can be read only once, such as stdin, is kept for the second reading in a temporary file that only the
    user can read, and which is gone afterwards.
    """
    chosen = lookup(OVERALLS, overall, "formula of overall")
    with rereadable(query) as again:
        method = Method(Lexicon.of(corpus_of(again.query)), thresholds, chosen)
        second = msgspec.structs.replace(again.query, say=say_nothing, rejects=query.rejects)
        keep = (limit or _ALL) if show_text else 0
        found = again.named(read(second, SCORED_BY | _SHOWN, lambda: _fold(method, keep, judging), _WORK))
    blocks = [block for part in found.results for block in part.blocks]
    scored = join(blocks).in_log_order() if blocks else _nothing(method)
    texts = {at: pair for part in found.results for at, pair in part.texts.items()}
    judged = None if judging is None else _judged(judging, found)
    return report_of(scored, lambda position: place(position, found.scanned), limit, texts, judged), found


def _fold(method: Method, keep: int, judging: Judging | None) -> ScoreFold:
    sample = None if judging is None else SampleFold(judging.sample, judging.judge.criteria)
    return ScoreFold(method, keep, sample)


def _judged(judging: Judging, found: Read) -> Judged:
    questions = smallest((question for part in found.results for question in part.also or ()), judging.sample.limit)
    return judge_all(questions, judging.judge, judging.cache)


def prices_of(model: str, prices: Mapping[str, Any]) -> tuple[float, float] | None:
    """USD for a token in and a token out of a model, None where it has no price."""
    from llmmon.pricing.costs import calculate
    from llmmon.pricing.price_table import PriceTable

    one_each = Columns(
        size=2,
        timestamp=np.full(2, MISSING_TIME),
        numbers={"prompt_tokens": np.array([1e3, 0.0]), "completion_tokens": np.array([0.0, 1e3])},
        names={"model": Names(np.zeros(2, np.int32), [model])},
    )
    costs = calculate(one_each, PriceTable.of(prices)) / NANO_DOLLARS / 1e3
    return None if np.isnan(costs).any() else (float(costs[0]), float(costs[1]))


def with_quality(query: Query, thresholds: Mapping[str, float] = NO_THRESHOLDS) -> Query:
    """The query whose calls without a logged quality get that of their answer's text.

    Raises `UsageError` for what can be read only once: words are counted in a first reading.
    """
    if any(map(comes_once, query.logs)):
        raise UsageError("--score reads the log twice, which a pipe does not allow", hint="write it to a file first")
    method = Method(Lexicon.of(corpus_of(query.quiet(), needed=False)), thresholds)
    added = Derive(SCORED_BY | {"quality_score"}, lambda columns: _with_quality(columns, method), _WORK)
    return msgspec.structs.replace(query, derive=added)


def _with_quality(columns: Columns, method: Method) -> Columns:
    logged = columns.number("quality_score")
    quality = score_texts(texts_of(columns), method.lexicon, method.thresholds, method.overall)
    computed = np.rint(quality.overall * SCORE_UNITS)
    return columns.with_numbers(quality_score=np.where(np.isnan(logged), computed, logged))


def checked_thresholds(thresholds: Mapping[str, float], path: Path | None) -> Mapping[str, float]:
    """The thresholds of the file `path`; raises `ConfigError` for unknown flags and values outside [0, 1]."""
    faults = []
    for name, value in thresholds.items():
        if name not in FLAGS:
            guess = nearest(name, FLAGS)
            known = f"did you mean {guess!r}?" if guess else f"known: {', '.join(FLAGS)}"
            faults.append(f"  score.thresholds.{name}: unknown flag, {known}")
        elif not 0 <= value <= 1:
            faults.append(f"  score.thresholds.{name}: must lie between 0 and 1")
    if faults:
        raise ConfigError(f"{path}: {len(faults)} error{'s' * (len(faults) > 1)}\n" + "\n".join(faults))
    return thresholds


def check_flags(conditions: Sequence[str]) -> None:
    """Raises `UsageError` where a `--fail-on flag=...` names a flag that does not exist."""
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if sign and name.strip().rstrip("!") == "flag":
            try:
                lookup(FLAGS, value.strip("= "), "flag")
            except UsageError as error:
                raise UsageError(f"--fail-on: {error}") from None


def corpus_of(query: Query, *, needed: bool = True) -> Corpus:
    """The words of the query's texts; raises `InputError` where `needed` and calls, but no output text, are there."""
    found = read(query, frozenset({"output", "prompt"}), CorpusFold, _COUNTING)
    if needed and found.source.requests and not any(answers for _, answers in found.results):
        raise no_output(found.source)
    corpus = Corpus.empty()
    for part, _ in found.results:
        corpus = corpus.merge(part)
    return corpus


def no_output(source: SourceReport) -> InputError:
    """The error for calls that carry no answer: which keys would have been one."""
    files = source.files[0] if len(source.files) == 1 else f"{len(source.files)} files"
    calls = f"{source.requests:,} call{'s' * (source.requests != 1)}"
    return InputError(
        f"no output text in {files} ({calls}); looked for: {', '.join(aliases_of('output'))}",
        hint="`--map output=path.to.text` names your own key; `llmmon inspect` shows what each file is",
    )


def _nothing(method: Method) -> Scored:
    fold = ScoreFold(method)
    fold.add(EMPTY, [])
    return fold.result().blocks[0]
