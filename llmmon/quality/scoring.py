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
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS, SCORE_UNITS
from llmmon.quality.judge import JudgeSample, SampleFold, rank_of, smallest
from llmmon.quality.judge_client import Judge, JudgeCache, JudgeResults, ask_judge
from llmmon.quality.rates import ASSUMED_RATE
from llmmon.quality.report import ScoreReport, Shown, report_of
from llmmon.quality.scored import Scored, join
from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.flags import FLAGS, TextSpan, assumed_thresholds
from llmmon.quality.scorers.texts import Texts
from llmmon.quality.scores import Overall, QualityColumns, score_texts
from llmmon.text.names import lookup, nearest

SHOWN_NAMES: Final = ("request_id", "model", "user")
SHOWN_CHARS: Final = 2000
_NO_DETAILS: Final[dict[str, str]] = {}
NO_THRESHOLDS: Final[Mapping[str, float]] = {}  # each flag's own applies


class Method(msgspec.Struct, frozen=True):
    """How answers are judged: what the file's words tell, the flags' thresholds, the formula of `overall`.

    `names` are fields that the scored calls keep to be grouped by.
    """

    lexicon: Lexicon
    thresholds: Mapping[str, float]
    overall: Overall = "defects"
    names: tuple[str, ...] = ()


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
    texts: dict[int, Shown]
    also: Any = None


class CorpusFold:
    """The words of all answers and prompts, and how many calls there were, with and without output text."""

    def __init__(self, share: float = 1.0) -> None:
        self._corpus = Corpus.empty()
        self._answers = 0
        self._share = share

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        columns = sampled(columns, self._share)
        outputs = columns.text("output")
        self._answers += sum(output is not None for output in outputs)
        self._corpus = self._corpus.merge(Corpus.of(Texts(outputs=outputs, prompts=columns.text("prompt"))))

    def result(self) -> tuple[Corpus, int]:
        """The corpus, and how many answers it was made of."""
        return self._corpus, self._answers


def sampled(columns: Columns, share: float) -> Columns:
    """About this share of the calls: those with the smallest hashes of their texts, the same at every run."""
    if share >= 1.0:
        return columns
    below = int(share * 2**64)
    rows = zip(columns.text("prompt"), columns.text("output"), strict=True)
    kept = [i for i, (prompt, output) in enumerate(rows) if rank_of(prompt or "", output or "") < below]
    return columns.take(np.array(kept, np.int64))


class Keep(msgspec.Struct, frozen=True):
    """Which texts are kept to be shown: those of the `worst` answers with a flag, and of the call with this id."""

    worst: int = 0
    request_id: str | None = None


NO_TEXTS: Final = Keep()


class ScoreFold:
    """The quality of the calls, block by block, without their texts but for those of `keep`."""

    def __init__(self, method: Method, keep: Keep = NO_TEXTS, also: Any = None, share: float = 1.0) -> None:
        self._method = method
        self._also = also  # another fold, fed the same calls with their texts
        self._keep = keep
        self._share = share
        self._blocks: list[Scored] = []
        self._worst: list[tuple[float, int, Shown]] = []
        self._asked: dict[int, Shown] = {}

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Score a block."""
        columns = sampled(columns, self._share)
        if self._also is not None:
            self._also.add(columns, [])
        method = self._method
        quality = score_texts(texts_of(columns), method.lexicon, method.thresholds, method.overall)
        bare = dataclasses.replace(quality, details=[_NO_DETAILS] * columns.size)
        outputs = columns.text("output")
        has_text = np.array([output is not None for output in outputs], np.bool_)
        self._blocks.append(Scored(_bare(columns, method.names), has_text, bare))
        self._keep_texts(columns, quality)

    def _keep_texts(self, columns: Columns, quality: QualityColumns) -> None:
        positions = np.arange(columns.size) if columns.positions is None else columns.positions
        outputs, prompts = columns.text("output"), columns.text("prompt")

        def shown(row: int) -> Shown:
            return _shown(prompts[row], outputs[row] or "", quality.evidence[row])

        if self._keep.request_id is not None:
            ids = columns.name("request_id").texts()
            asked = [i for i, name in enumerate(ids) if name == self._keep.request_id]
            self._asked |= {int(positions[i]): shown(i) for i in asked}
        if self._keep.worst:
            ranked = (
                (_rank(quality.overall[i]), int(positions[i]), i) for i, flags in enumerate(quality.flags) if flags
            )
            new = [(rank, at, shown(i)) for rank, at, i in heapq.nsmallest(self._keep.worst, ranked)]
            self._worst = heapq.nsmallest(self._keep.worst, (*self._worst, *new), key=lambda item: item[:2])

    def result(self) -> ScoredPart:
        """The scored calls in one block, the worst ones' texts by position, the other fold's result."""
        texts = {at: shown for _, at, shown in self._worst} | self._asked
        also = None if self._also is None else self._also.result()
        return ScoredPart([join(self._blocks)] if self._blocks else [], texts, also)


def _rank(overall: float) -> float:
    return float(np.inf if np.isnan(overall) else overall)


_AROUND: Final = 40  # characters of an answer quoted before and after what a flag was raised for
_MASKED: Final = frozenset({"secret", "personal_data"})


def _shown(prompt: str | None, output: str, evidence: Mapping[str, Sequence[TextSpan]]) -> Shown:
    quotes = {name: quote(output, spans[0], hidden=name in _MASKED) for name, spans in evidence.items() if spans}
    return Shown(prompt and prompt[:SHOWN_CHARS], output[:SHOWN_CHARS], quotes)


def quote(text: str, span: TextSpan, *, hidden: bool = False) -> str:
    """What stands at a place and around it, the place itself in 【】; a `hidden` one shows only its first signs."""
    start, end = span
    found = text[start:end]
    if len(found) > 2 * _AROUND:
        found = f"{found[:_AROUND]} … {found[-_AROUND:]}"
    if hidden:
        found = f"{text[start : start + min(4, (end - start) // 3)]}…"
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    return f"{'…' * (start > _AROUND)}{before}【{found}】{after}{'…' * (end + _AROUND < len(text))}"


def _bare(columns: Columns, names: Sequence[str]) -> Columns:
    """The calls with only what their rows show, and the names to group by."""
    return msgspec.structs.replace(
        columns,
        numbers={"quality_score": columns.number("quality_score")},
        names={name: columns.name(name) for name in (*SHOWN_NAMES, *names)},
        texts={},
    )


TEXT_FIELDS: Final = ("output", "prompt", "expected", "context", "system", "schema")
SCORED_BY: Final = frozenset({*TEXT_FIELDS, "finish_reason", "reasoning_tokens", "completion_tokens"})
_SHOWN: Final = frozenset({*SHOWN_NAMES, "timestamp", "quality_score"})
_WORK: Final = 64  # scoring a byte, in units of reading it
_COUNTING: Final = 16
_ALL: Final = 1 << 60
OVERALLS: Final[dict[str, Overall]] = {"defects": "defects", "weighted": "weighted"}


class JudgeOptions(msgspec.Struct, frozen=True):
    """Which answers are judged, by whom, and where verdicts are kept."""

    sample: JudgeSample
    judge: Judge
    cache: JudgeCache


class Asked(msgspec.Struct, frozen=True):
    """What is asked of the scored calls.

    `limit` worst answers (0: all with a flag), with their texts where `show_text`; `only`: the answer with this id or
    at this FILE:LINE; rates by the fields `by` and, from `every_us`, by time; of about the `share` of the calls; with
    the fields `ids` in each row.
    """

    overall: str = "defects"
    limit: int = 10
    show_text: bool = False
    only: str | None = None
    by: tuple[str, ...] = ()
    every_us: int = 0
    share: float = 1.0
    assumed: float = ASSUMED_RATE
    ids: tuple[str, ...] = ()


ASKED: Final = Asked()


def score_calls(
    query: Query,
    *,
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
    asked: Asked = ASKED,
    judging: JudgeOptions | None = None,
) -> tuple[ScoreReport, Read]:
    """The quality of every call; raises `InputError` where there are calls and none has output text.

    What can be read only once, such as stdin, is kept for the second reading in a temporary file that only the
    user can read, and which is gone afterwards.
    """
    chosen = lookup(OVERALLS, asked.overall, "formula of overall")
    grouping = Grouping(asked.by, asked.every_us, query.tz) if asked.by or asked.every_us else None
    with rereadable(query) as again:
        lexicon = Lexicon.of(corpus_of(again.query, share=asked.share))
        method = Method(lexicon, thresholds, chosen, (*asked.by, *asked.ids))
        second = msgspec.structs.replace(again.query, say=say_nothing, rejects=query.rejects)
        fields = SCORED_BY | _SHOWN | frozenset((*asked.by, *asked.ids))
        found = again.named(read(second, fields, lambda: _fold(method, asked, judging), _WORK))
    blocks = [block for part in found.results for block in part.blocks]
    scored = join(blocks).in_log_order() if blocks else _nothing(method)
    texts = {at: shown for part in found.results for at, shown in part.texts.items()}
    judged = None if judging is None else _judged(judging, found)
    report = report_of(
        scored,
        lambda position: place(position, found.scanned),
        asked.limit,
        texts,
        judged,
        grouping,
        asked.assumed,
    )
    return report, found


def _fold(method: Method, asked: Asked, judging: JudgeOptions | None) -> ScoreFold:
    worst = _ALL if asked.only else asked.limit or _ALL
    keep = Keep(worst, asked.only) if asked.show_text else NO_TEXTS
    sample = None if judging is None else SampleFold(judging.sample, judging.judge.criteria)
    return ScoreFold(method, keep, sample, asked.share)


def _judged(judging: JudgeOptions, found: Read) -> JudgeResults:
    questions = smallest((question for part in found.results for question in part.also or ()), judging.sample.limit)
    return ask_judge(questions, judging.judge, judging.cache)


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


def checked_thresholds(
    thresholds: Mapping[str, float], path: Path | None, assumed: float = ASSUMED_RATE
) -> Mapping[str, float]:
    """The thresholds of the file `path`, the others as `assumed` moves them.

    Raises `ConfigError` for unknown flags and values outside [0, 1].
    """
    faults = [] if 0 < assumed < 1 else ["  score.assumed_rate: must lie between 0 and 1"]
    for name, value in thresholds.items():
        if name not in FLAGS:
            guess = nearest(name, FLAGS)
            known = f"did you mean {guess!r}?" if guess else f"known: {', '.join(FLAGS)}"
            faults.append(f"  score.thresholds.{name}: unknown flag, {known}")
        elif not 0 <= value <= 1:
            faults.append(f"  score.thresholds.{name}: must lie between 0 and 1")
    if faults:
        raise ConfigError(f"{path}: {len(faults)} error{'s' * (len(faults) > 1)}\n" + "\n".join(faults))
    return {**assumed_thresholds(assumed), **thresholds} if assumed != ASSUMED_RATE else thresholds


def share_of(text: str) -> float:
    """The share that `5%` names, above 0 and up to 1; raises `UsageError`."""
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if rest or not percent or not 0 < share <= 1:
        raise UsageError(f"--sample {text!r} is not a share", hint="--sample 5%")
    return share


def check_flags(conditions: Sequence[str]) -> None:
    """Raises `UsageError` where a `--fail-on flag=...` names a flag that does not exist."""
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if sign and name.strip().rstrip("!") == "flag":
            try:
                lookup(FLAGS, value.strip("= "), "flag")
            except UsageError as error:
                raise UsageError(f"--fail-on: {error}") from None


def corpus_of(query: Query, *, needed: bool = True, share: float = 1.0) -> Corpus:
    """The words of the query's texts; raises `InputError` where `needed` and calls, but no output text, are there."""
    found = read(query, frozenset({"output", "prompt"}), lambda: CorpusFold(share), _COUNTING)
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
