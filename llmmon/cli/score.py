"""`llmmon score`."""

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmmon.cli.options import fields_of, limit_of, with_logs

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query, Read
    from llmmon.quality.platforms import Platform
    from llmmon.quality.report import ScoreReport
    from llmmon.quality.scoring import JudgeOptions


Overall = Annotated[str, typer.Option(help="Formula of the overall score: defects or weighted.", metavar="FORMULA")]
Limit = Annotated[int, limit_of("worst answers")]
ShowText = Annotated[bool, typer.Option("--show-text", help="Show their prompts and outputs.")]
FailOn = Annotated[
    list[str] | None,
    typer.Option(help="Exit 1 if this holds: 'overall_avg<0.8', 'refusal_rate>0.02', flag=secret.", metavar="COND"),
]
Grouped = Annotated[
    list[str] | None, typer.Option(help="Rates of flags by this field or tag.X; repeatable.", metavar="FIELD")
]
Every = Annotated[str | None, typer.Option(help="Rates of flags by time: 1h, 1d, 1w.", metavar="WIDTH")]
Show = Annotated[
    str | None, typer.Option(help="Show one answer: every sign, its strength and place.", metavar="ID|FILE:LINE")
]
Share = Annotated[str, typer.Option("--sample", help="Score only about this share of the answers.", metavar="PERCENT")]
Send = Annotated[
    str | None,
    typer.Option(help="Send scores and flags (no texts) to langfuse, langsmith or phoenix.", metavar="PLATFORM"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what --send would send, one request a line.")]
Asked = Annotated[
    bool, typer.Option("--judge", help="Also ask an LLM judge: SENDS texts, with secrets removed, to --judge-url.")
]
Url = Annotated[
    str | None,
    typer.Option(help="OpenAI-compatible endpoint; the key is $LLMMON_JUDGE_KEY or $OPENAI_API_KEY.", metavar="URL"),
]
Model = Annotated[str | None, typer.Option(help="Model of the judge.", metavar="MODEL")]
Criteria = Annotated[
    list[str] | None,
    typer.Option(help="Criterion to judge; repeatable. Default: relevance, accuracy, helpfulness.", metavar="NAME"),
]
SampleSize = Annotated[str, typer.Option(help="Answers to judge: 100, or 5%.", metavar="N")]
MaxCalls = Annotated[
    int | None,
    typer.Option(help="Maximum number of requests to the judge; cached verdicts are free.", min=0, metavar="N"),
]
MaxUsd = Annotated[float | None, typer.Option(help="Maximum spend on the judge, in USD.", min=0, metavar="USD")]
Concurrency = Annotated[int, typer.Option(help="Concurrent requests to the judge.", min=1, max=64, metavar="N")]


@partial(with_logs, rows_apart=True)
def score(
    query: "Query",
    output: "Output",
    config: "Config",
    overall: Overall = "defects",
    limit: Limit = 10,
    show_text: ShowText = False,
    by: Grouped = None,
    every: Every = None,
    show: Show = None,
    sample: Share = "100%",
    fail_on: FailOn = None,
    send: Send = None,
    dry_run: DryRun = False,
    judge: Asked = False,
    judge_url: Url = None,
    judge_model: Model = None,
    judge_criteria: Criteria = None,
    judge_sample: SampleSize = "100",
    judge_max_calls: MaxCalls = None,
    judge_max_usd: MaxUsd = None,
    judge_concurrency: Concurrency = 4,
) -> int:
    """Score answers by their text and flag the defective ones.

    Flags include refused, cut off, looping, leaking, off-topic and broken. With -o, all rows are written.

    Examples:
      llmmon score sample_logs/prompts.jsonl
      llmmon score sample_logs/prompts.jsonl --by model --fail-on 'refusal_rate>10%'
    """
    from llmmon.output.views.scores import view_answer
    from llmmon.quality.platforms import IDS, Outbox
    from llmmon.quality.scoring import Asked, check_flags, checked_thresholds, score_calls, share_of
    from llmmon.text.times import width_us

    check_flags(fail_on or ())
    platform = _platform(send, dry_run=dry_run)
    thresholds = checked_thresholds(config.score_thresholds, config.path, config.score_assumed_rate)
    asked = Asked(
        overall=overall,
        limit=limit,
        show_text=show_text,
        only=show,
        by=fields_of(by),
        every_us=width_us(every) if every else 0,
        share=share_of(sample),
        assumed=config.score_assumed_rate,
        ids=IDS if platform else (),
    )
    limits = (judge_sample, judge_max_calls, judge_max_usd, judge_concurrency)
    judging = _judge_options(query, judge_url, judge_model, judge_criteria, limits) if judge else None
    report, found = score_calls(query, thresholds=thresholds, asked=asked, judging=judging)
    if show:
        return output.finish("score", view_answer(report, show, thresholds), found.source, {found.exit_code})
    if platform is not None and dry_run:
        return output.finish_lines(Outbox(platform, report.rows).bodies(), found.source, {found.exit_code})
    return _finish(output, report, found, fail_on or (), platform)


def _finish(
    output: "Output", report: "ScoreReport", found: "Read", fail_on: Sequence[str], platform: "Platform | None"
) -> int:
    """Send what is to be sent, show the report, check the conditions."""
    from llmmon.errors import EXIT_DELIVERY
    from llmmon.metrics.filters import checks_of
    from llmmon.output.views.scores import view_scores
    from llmmon.quality.platforms import send

    figures = {**report.summary, "judge_overall_avg": (report.judge or {}).get("overall_avg")}
    figures |= {f"{name}_rate": rate.rate for name, rate in report.rates.items()}
    failed = checks_of(fail_on, {**figures, "flag": {name for name, count in report.flags.items() if count}}, {})
    silent = report.judge is not None and report.judge["failed"] > 0 and not report.judge["scored"]
    sent = send(platform, report.rows, os.environ) if platform is not None else None
    undelivered = silent or (sent is not None and bool(sent.error or sent.refused))
    codes = {found.exit_code, EXIT_DELIVERY} if undelivered else {found.exit_code}
    return output.finish_rows("score", view_scores(report, sent), found.source, codes, failed)


def _platform(name: str | None, *, dry_run: bool) -> "Platform | None":
    """The platform to send to, its address and keys looked up first; raises `UsageError`."""
    from llmmon.errors import UsageError
    from llmmon.quality.platforms import platform_of

    if name is None:
        if dry_run:
            raise UsageError("--dry-run shows what --send would send", hint="--send langfuse --dry-run")
        return None
    found = platform_of(name)
    if not dry_run:
        found.address(os.environ)
    return found


def _judge_options(
    query: "Query", url: str | None, model: str | None, criteria: list[str] | None, limits: Any
) -> "JudgeOptions":
    """The judge that the options describe; raises `UsageError`."""
    from llmmon.errors import UsageError
    from llmmon.quality.judge import DEFAULT_CRITERIA, JudgeSample
    from llmmon.quality.judge_client import Judge, JudgeCache
    from llmmon.quality.scoring import JudgeOptions, prices_of

    if not url or not model:
        raise UsageError(
            "--judge needs --judge-url and --judge-model",
            hint="--judge-url https://api.openai.com/v1 --judge-model gpt-4o-mini",
        )
    sample, calls, usd, concurrency = limits
    asked = Judge(
        url=url,
        model=model,
        key=(os.environ.get("LLMMON_JUDGE_KEY") or os.environ.get("OPENAI_API_KEY") or "").strip() or None,
        criteria=tuple(name.strip() for text in criteria or () for name in text.split(",") if name.strip())
        or DEFAULT_CRITERIA,
        max_calls=calls,
        max_usd=usd,
        concurrency=concurrency,
        prices=prices_of(model, query.prices),
    )
    asked.checked()
    return JudgeOptions(JudgeSample.of(sample), asked, JudgeCache.of(os.environ))
