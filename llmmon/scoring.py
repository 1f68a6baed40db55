"""`score`: the calls of a query -> their quality, in two readings: which words the file uses, then each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.calls import place
from llmmon.columns import EMPTY, Columns
from llmmon.config import Config
from llmmon.errors import ConfigError, InputError, UsageError
from llmmon.formats.aliases import aliases_of
from llmmon.names import lookup, nearest
from llmmon.pipeline import Derive, Query, Read, read
from llmmon.quality import Overall, score_texts
from llmmon.record import SCORE_UNITS
from llmmon.reports import SourceReport
from llmmon.rereading import rereadable
from llmmon.score_folds import SHOWN_NAMES, CorpusFold, Method, ScoreFold, texts_of
from llmmon.score_report import ScoreReport, report_of
from llmmon.scored import Scored, join
from llmmon.scorers.corpus import Corpus, Lexicon
from llmmon.scorers.flags import FLAGS

TEXT_FIELDS: Final = ("output", "prompt", "expected", "context")
SCORED_BY: Final = frozenset({*TEXT_FIELDS, "finish_reason", "reasoning_tokens", "completion_tokens"})
_SHOWN: Final = frozenset({*SHOWN_NAMES, "timestamp", "quality_score"})
_WORK: Final = 64  # scoring a byte, in units of reading it
_COUNTING: Final = 16
_ALL: Final = 1 << 60
OVERALLS: Final[dict[str, Overall]] = {"defects": "defects", "weighted": "weighted"}


def score_calls(
    query: Query, *, overall: str = "defects", limit: int = 10, show_text: bool = False
) -> tuple[ScoreReport, Read]:
    """The quality of every call; raises `InputError` where there are calls and none has output text.

    What can be read only once, such as stdin, is kept for the second reading in a temporary file that only the
    user can read, and which is gone afterwards.
    """
    chosen = lookup(OVERALLS, overall, "formula of overall")
    thresholds = checked_thresholds(query.config)
    with rereadable(query) as again:
        corpus = corpus_of(again.query)
        method = Method(Lexicon.of(corpus), thresholds, chosen)
        second = msgspec.structs.replace(again.query, say=lambda _: None, rejects=query.rejects)
        keep = (limit or _ALL) if show_text else 0
        found = again.named(read(second, SCORED_BY | _SHOWN, lambda: ScoreFold(method, keep), _WORK))
    blocks = [block for blocks, _ in found.results for block in blocks]
    texts = {at: pair for _, kept in found.results for at, pair in kept.items()}
    scored = join(blocks).in_log_order() if blocks else _nothing(method)
    return report_of(scored, lambda position: place(position, found.scanned), limit, texts), found


def quality_column(query: Query) -> Derive:
    """The step that gives calls without a logged quality that of their answer's text."""
    thresholds = checked_thresholds(query.config)
    method = Method(Lexicon.of(corpus_of(query, needed=False)), thresholds)
    return Derive(SCORED_BY | {"quality_score"}, lambda columns: _with_quality(columns, method), _WORK)


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
    return fold.result()[0][0]
