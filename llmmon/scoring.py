"""`score`: the calls of a query -> their quality, in two readings: which words the file uses, then each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.calls import place
from llmmon.columns import EMPTY, MISSING_TIME, Columns, Names
from llmmon.config import Config
from llmmon.errors import ConfigError, InputError, UsageError
from llmmon.formats.aliases import aliases_of
from llmmon.judge_sample import Sample, SampleFold, smallest
from llmmon.judging import Judge, Judged, judge_all
from llmmon.names import lookup, nearest
from llmmon.pipeline import Derive, Query, Read, read
from llmmon.quality import Overall, score_texts
from llmmon.record import NANO_DOLLARS, SCORE_UNITS
from llmmon.reports import SourceReport
from llmmon.rereading import comes_once, rereadable
from llmmon.score_folds import SHOWN_NAMES, CorpusFold, Method, ScoreFold, texts_of
from llmmon.score_report import ScoreReport, report_of
from llmmon.scored import Scored, join
from llmmon.scorers.corpus import Corpus, Lexicon
from llmmon.scorers.flags import FLAGS
from llmmon.verdicts import VerdictCache

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
    query: Query, *, overall: str = "defects", limit: int = 10, show_text: bool = False, judging: Judging | None = None
) -> tuple[ScoreReport, Read]:
    """The quality of every call; raises `InputError` where there are calls and none has output text.

    What can be read only once, such as stdin, is kept for the second reading in a temporary file that only the
    user can read, and which is gone afterwards.
    """
    chosen = lookup(OVERALLS, overall, "formula of overall")
    thresholds = checked_thresholds(query.config)
    with rereadable(query) as again:
        method = Method(Lexicon.of(corpus_of(again.query)), thresholds, chosen)
        second = msgspec.structs.replace(again.query, say=lambda _: None, rejects=query.rejects)
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


def prices_of(model: str, config: Config) -> tuple[float, float] | None:
    """USD for a token in and a token out of a model, None where it has no price."""
    from llmmon.prices import PriceTable
    from llmmon.pricing import calculate

    one_each = Columns(
        size=2,
        timestamp=np.full(2, MISSING_TIME),
        numbers={"prompt_tokens": np.array([1e3, 0.0]), "completion_tokens": np.array([0.0, 1e3])},
        names={"model": Names(np.zeros(2, np.int32), [model])},
    )
    costs = calculate(one_each, PriceTable.of(config.prices)) / NANO_DOLLARS / 1e3
    return None if np.isnan(costs).any() else (float(costs[0]), float(costs[1]))


def with_quality(query: Query) -> Query:
    """The query whose calls without a logged quality get that of their answer's text.

    Raises `UsageError` for what can be read only once: words are counted in a first reading.
    """
    if any(map(comes_once, query.logs)):
        raise UsageError("--score reads the log twice, which a pipe does not allow", hint="write it to a file first")
    thresholds = checked_thresholds(query.config)
    first = msgspec.structs.replace(query, rejects=None, progress=None, say=lambda _: None)
    method = Method(Lexicon.of(corpus_of(first, needed=False)), thresholds)
    added = Derive(SCORED_BY | {"quality_score"}, lambda columns: _with_quality(columns, method), _WORK)
    return msgspec.structs.replace(query, derive=added)


def _with_quality(columns: Columns, method: Method) -> Columns:
    logged = columns.number("quality_score")
    quality = score_texts(texts_of(columns), method.lexicon, method.thresholds, method.overall)
    computed = np.rint(quality.overall * SCORE_UNITS)
    return columns.with_numbers(quality_score=np.where(np.isnan(logged), computed, logged))


def checked_thresholds(config: Config) -> Mapping[str, float]:
    """The configuration's thresholds; raises `ConfigError` for unknown flags and values outside [0, 1]."""
    faults = []
    for name, value in config.score_thresholds.items():
        if name not in FLAGS:
            guess = nearest(name, FLAGS)
            known = f"did you mean {guess!r}?" if guess else f"known: {', '.join(FLAGS)}"
            faults.append(f"  score.thresholds.{name}: unknown flag, {known}")
        elif not 0 <= value <= 1:
            faults.append(f"  score.thresholds.{name}: must lie between 0 and 1")
    if faults:
        raise ConfigError(f"{config.path}: {len(faults)} fault{'s' * (len(faults) > 1)}\n" + "\n".join(faults))
    return config.score_thresholds


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
