"""`llmmon init`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from llmmon.errors import UsageError

TEMPLATE: Final = """\
# llmmon.toml: found upwards from where llmmon runs. Every line is optional.

# The logs that commands read when none are named; paths are relative to this file.
logs = ["logs/*.jsonl"]

# Time zone of days and of what is shown, and of time stamps that name none.
# timezone = "UTC"
# naive_timezone = "UTC"

# Where `check` remembers what it has read and told, and how long a minute waits for late lines.
# state = "llmmon-state.db"
# late = "2m"

# Alert rules, evaluated for every minute by `llmmon check` (run it from cron every 5 minutes).
# Keys: name, metric, aggregation, window, condition (gt ge lt le eq ne), threshold,
# severity (info warning error critical), for, keep_firing_for, cooldown, repeat, by, where,
# min_count, no_data (ok alert keep), notify, labels, description.

[[rules]]
name = "High Latency"
metric = "latency_ms"
aggregation = "avg"
threshold = 5000
severity = "error"

[[rules]]
name = "High Error Rate"
metric = "error_rate"
threshold = 0.1
severity = "critical"

# More to uncomment; adjust the thresholds to what is usual (`llmmon rules suggest` helps).

# [[rules]]
# name = "Slow answers"
# metric = "latency_p95_ms"
# threshold = 15000
# window = "15m"
# for = "5m"
# by = ["model"]
# severity = "warning"

# [[rules]]
# name = "Errors of a model"
# metric = "error_rate"
# threshold = 0.05
# window = "15m"
# by = ["model"]
# min_count = 50
# description = "{value} of the calls to {model} fail ({count} calls in {window})"

# [[rules]]
# name = "Spend per hour"
# metric = "cost_usd"
# aggregation = "sum"
# threshold = 25
# window = "1h"
# severity = "warning"
# repeat = "6h"

# [[rules]]
# name = "Cut-off answers"
# metric = "truncated_rate"
# threshold = 0.05
# window = "1h"
# min_count = 50
# severity = "warning"

# [[rules]]
# name = "No calls"
# metric = "requests"
# condition = "lt"
# threshold = 1
# window = "30m"
# severity = "critical"

# [[rules]]
# name = "Quality drop"
# metric = "quality_avg"
# condition = "lt"
# threshold = 0.7
# window = "1h"
# keep_firing_for = "15m"
# severity = "warning"

# [[rules]]
# name = "Slow first token"
# metric = "ttft_p95_ms"
# threshold = 3000
# window = "15m"
# for = "5m"
# severity = "warning"

# Whatever is unlike this log's own past, in any metric, overall and by model.
# [[rules]]
# name = "Anomaly"
# anomaly = true
# severity = "warning"

# Against the log's own past: the days before, or "same hour last week".
# [[rules]]
# name = "Slower than usual"
# metric = "latency_p95_ms"
# change = "+50%"
# versus = "previous 7d"
# window = "30m"
# severity = "warning"

# An objective: pages and tickets by how fast its error budget burns.
# [[slos]]
# name = "answers"
# objective = 0.99
# good = "ok and latency_ms<30000"

# A budget: told at each threshold once a period, and when the pace foretells more.
# [[budgets]]
# name = "spend"
# amount_usd = 1000
# per = "month"
# thresholds = [50, 80, 100]

# Who is told. A secret is named, not written: env:NAME or file:PATH.
# `llmmon notify test oncall` proves that it works.
# [notify.oncall]
# type = "slack"
# url = "env:SLACK_WEBHOOK_URL"
# min_severity = "warning"

# [notify.pager]
# type = "pagerduty"
# routing_key = "env:PAGERDUTY_KEY"
# min_severity = "critical"

# [notify.mail]
# type = "email"
# host = "smtp.example.com"
# username = "alerts"
# password = "env:SMTP_PASSWORD"
# from = "alerts@example.com"
# to = ["team@example.com"]

# What `llmmon serve` listens on and writes; where `logs` finds its log, every command reads it.
# [serve]
# log = "logs/posted.jsonl"
# host = "127.0.0.1"
# port = 8080
# token = "env:LLMMON_TOKEN"

# Prices of your own or self-hosted models, in USD per million tokens; 0 marks a free one.
# [prices."my-model"]
# input = 0.5
# output = 1.5
"""


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)] = Path("llmmon.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration file.

    Example: llmmon init
    """
    from llmmon.cli.output import write_whole

    if path.exists() and not force:
        raise UsageError(f"{path} is already there", hint="--force replaces it")
    write_whole(path, TEMPLATE.encode())
    typer.echo(f"wrote {path}")
