"""`cost --invoice`: every known export read beside the log, and planted gaps explained by their cause."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmmon.reports.invoice import common_name
from llmmon.reports.invoice_forms import FORMS, read_invoice
from tests.conftest import Run

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 5
Row = dict[str, Any]
GPT = {"input": 2.5e-6, "cached": 1.25e-6, "output": 10e-6}
CLAUDE = {"input": 3e-6, "cached": 0.3e-6, "output": 15e-6, "written": 3.75e-6}


def calls(model: str = "gpt-4o-2024-08-06", each: int = 20, **more: Any) -> list[Row]:
    """Twenty calls on each of five days."""
    return [
        {
            "timestamp": (START + timedelta(days=day, minutes=30 * number)).isoformat(),
            "model": model,
            "prompt_tokens": 10_000 + 100 * number,
            "cached_tokens": 4_000,
            "completion_tokens": 1_000,
            "status": "ok",
        }
        | more
        for day in range(DAYS)
        for number in range(each)
    ]


def usd(row: Row) -> float:
    prices = CLAUDE if row["model"].startswith("claude") else GPT
    fresh = row["prompt_tokens"] - row["cached_tokens"]
    return float(
        fresh * prices["input"] + row["cached_tokens"] * prices["cached"] + row["completion_tokens"] * prices["output"]
    )


def by_day(rows: Sequence[Row]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(row["timestamp"][:10], []).append(row)
    return days


def epoch(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def total(rows: Sequence[Row], key: str) -> int:
    return sum(row[key] for row in rows)


def openai_usage(rows: Sequence[Row], **more: Any) -> str:
    """The Usage API's page, a bucket a day."""
    data = [
        {
            "object": "bucket",
            "start_time": epoch(day),
            "end_time": epoch(day) + 86400,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": total(mine, "prompt_tokens"),
                    "input_cached_tokens": total(mine, "cached_tokens"),
                    "output_tokens": total(mine, "completion_tokens"),
                    "num_model_requests": len(mine),
                    "model": mine[0]["model"],
                    "batch": None,
                }
                | more
            ],
        }
        for day, mine in by_day(rows).items()
    ]
    return json.dumps({"object": "page", "data": [*data, bucket_without_results()], "has_more": False})


def bucket_without_results() -> Row:
    day = epoch("2026-10-09")
    return {"object": "bucket", "start_time": day, "end_time": day + 86400, "results": []}


def openai_costs(rows: Sequence[Row], factor: float = 1.0) -> str:
    """The Costs API's page by line item."""
    data = []
    for day, mine in by_day(rows).items():
        kinds = {
            "input": (total(mine, "prompt_tokens") - total(mine, "cached_tokens")) * GPT["input"],
            "cached input": total(mine, "cached_tokens") * GPT["cached"],
            "output": total(mine, "completion_tokens") * GPT["output"],
        }
        results = [
            {
                "object": "organization.costs.result",
                "amount": {"value": amount * factor, "currency": "usd"},
                "line_item": f"{mine[0]['model']}, {kind}",
                "project_id": "proj_1",
            }
            for kind, amount in kinds.items()
        ]
        data.append({"object": "bucket", "start_time": epoch(day), "end_time": epoch(day) + 86400, "results": results})
    return json.dumps({"object": "page", "data": data, "has_more": False, "next_page": None})


def table(rows: Sequence[Row], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def openai_cost_table(rows: Sequence[Row], delimiter: str = ",") -> str:
    return table(
        [
            {
                "start_time": epoch(day),
                "end_time": epoch(day) + 86400,
                "start_time_iso": f"{day}T00:00:00+00:00",
                "amount_value": f"{sum(map(usd, mine)):.16f}",
                "amount_currency": "usd",
                "line_item": "gpt-4o-2024-08-06, input",
                "project_id": "",
            }
            for day, mine in by_day(rows).items()
        ],
        delimiter,
    )


def openai_usage_table(rows: Sequence[Row]) -> str:
    return table(
        [
            {
                "start_time": epoch(day),
                "end_time": epoch(day) + 86400,
                "num_model_requests": len(mine),
                "model": mine[0]["model"],
                "batch": "False",
                "service_tier": "",
                "input_tokens": total(mine, "prompt_tokens"),
                "output_tokens": total(mine, "completion_tokens"),
                "input_cached_tokens": total(mine, "cached_tokens"),
            }
            for day, mine in by_day(rows).items()
        ]
    )


def anthropic_usage(rows: Sequence[Row]) -> str:
    data = [
        {
            "starting_at": f"{day}T00:00:00Z",
            "ending_at": (datetime.fromisoformat(day) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z"),
            "results": [
                {
                    "uncached_input_tokens": total(mine, "prompt_tokens") - total(mine, "cached_tokens"),
                    "cache_read_input_tokens": total(mine, "cached_tokens"),
                    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
                    "output_tokens": total(mine, "completion_tokens"),
                    "server_tool_use": {"web_search_requests": 0},
                    "model": mine[0]["model"],
                    "service_tier": "standard",
                }
            ],
        }
        for day, mine in by_day(rows).items()
    ]
    return json.dumps({"data": data, "has_more": False, "next_page": None})


def anthropic_costs(rows: Sequence[Row]) -> str:
    data = [
        {
            "starting_at": f"{day}T00:00:00Z",
            "ending_at": (datetime.fromisoformat(day) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z"),
            "results": [
                {
                    "amount": f"{sum(map(usd, mine)) * 100:.5f}",  # cents
                    "currency": "USD",
                    "cost_type": "tokens",
                    "description": "Claude Sonnet 4.5 Usage - Input Tokens",
                    "model": mine[0]["model"],
                    "token_type": "uncached_input_tokens",
                }
            ],
        }
        for day, mine in by_day(rows).items()
    ]
    return json.dumps({"data": data, "has_more": False, "next_page": None})


def console_usage(rows: Sequence[Row]) -> str:
    return table(
        [
            {
                "usage_date_utc": day,
                "model_version": mine[0]["model"],
                "api_key": "key",
                "workspace": "Default",
                "usage_type": "standard",
                "context_window": "≤ 200k",
                "usage_input_tokens_no_cache": total(mine, "prompt_tokens") - total(mine, "cached_tokens"),
                "usage_input_tokens_cache_write_5m": 0,
                "usage_input_tokens_cache_write_1h": 0,
                "usage_input_tokens_cache_read": total(mine, "cached_tokens"),
                "usage_output_tokens": total(mine, "completion_tokens"),
                "web_search_count": 0,
            }
            for day, mine in by_day(rows).items()
        ]
    )


def console_costs(rows: Sequence[Row]) -> str:
    return table(
        [
            {
                "usage_date_utc": day,
                "model": "Claude Sonnet 4.5",
                "workspace": "Default",
                "token_type": kind,
                "cost_usd": f"{sum(map(usd, mine)) * share:.2f}",
                "list_price_usd": "9",
                "cost_type": "token",
            }
            for day, mine in by_day(rows).items()
            for kind, share in (("input_no_cache", 0.75), ("output", 0.25))
        ]
    )


def openrouter_calls(rows: Sequence[Row]) -> str:
    return table(
        [
            {
                "generation_id": f"gen-{number}",
                "created_at": row["timestamp"][:19].replace("T", " ") + ".271",
                "cost_total": usd(row),
                "tokens_prompt": row["prompt_tokens"],
                "tokens_completion": row["completion_tokens"],
                "tokens_cached": row["cached_tokens"],
                "model_permaslug": f"openai/{row['model']}",
                "provider_name": "OpenAI",
            }
            for number, row in enumerate(rows)
        ]
    )


def openrouter_days(rows: Sequence[Row]) -> str:
    return table(
        [
            {
                "Date": f"{day} 00:00:00",
                "Slug": "openai/gpt-4o",
                "Usage": sum(map(usd, mine)),
                "BYOK Usage": 0,
                "Requests": len(mine),
                "Prompt Tokens": total(mine, "prompt_tokens"),
                "Completion Tokens": total(mine, "completion_tokens"),
                "Reasoning Tokens": 0,
            }
            for day, mine in by_day(rows).items()
        ]
    )


def openrouter_activity(rows: Sequence[Row]) -> str:
    data = [
        {
            "date": f"{day} 00:00:00",
            "model": "openai/gpt-4o",
            "model_permaslug": "openai/gpt-4o-2024-08-06",
            "usage": sum(map(usd, mine)),
            "requests": len(mine),
            "prompt_tokens": total(mine, "prompt_tokens"),
            "completion_tokens": total(mine, "completion_tokens"),
            "reasoning_tokens": 0,
        }
        for day, mine in by_day(rows).items()
    ]
    return json.dumps({"data": data})


def focus(rows: Sequence[Row]) -> str:
    lines: list[Row] = []
    for day, mine in by_day(rows).items():
        period = {"ChargePeriodStart": f"{day}T00:00:00Z", "BillingCurrency": "USD", "ServiceName": "Azure OpenAI"}
        shared = {"ChargePeriodEnd": (datetime.fromisoformat(day) + timedelta(days=1)).isoformat()}
        usage = {"ChargeCategory": "Usage", "BilledCost": sum(map(usd, mine)), "SkuMeter": "gpt-4o Input Tokens"}
        tax = {"ChargeCategory": "Tax", "BilledCost": 3, "SkuMeter": ""}
        lines += [period | shared | usage, period | shared | tax]
    return table(lines)


OPENAI = {
    "usage.json": openai_usage,
    "costs.json": openai_costs,
    "usage.csv": openai_usage_table,
    "costs.csv": openai_cost_table,
    "costs.tsv": lambda rows: openai_cost_table(rows, "\t"),
    "calls.csv": openrouter_calls,
    "days.csv": openrouter_days,
    "activity.json": openrouter_activity,
    "focus.csv": focus,
}
ANTHROPIC = {
    "usage.json": anthropic_usage,
    "costs.json": anthropic_costs,
    "usage.csv": console_usage,
    "costs.csv": console_costs,
}


def compare(run: Run, folder: Path, rows: Sequence[Row], *exports: tuple[str, str]) -> dict[str, Any]:
    log = folder / "calls.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = []
    for name, text in exports:
        (folder / name).write_text(text)
        options += ["--invoice", str(folder / name)]
    done = run("cost", str(log), *options, "-f", "json")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = done.json["data"]["invoice"]
    return found


def causes(found: dict[str, Any]) -> dict[str, float]:
    return dict(found["total"]["classes"])


@pytest.mark.parametrize("name", OPENAI)
def test_an_export_of_the_same_calls_leaves_no_gap(run: Run, tmp_path: Path, name: str) -> None:
    rows = calls()
    found = compare(run, tmp_path, rows, (name, OPENAI[name](rows)))
    assert found["total"]["invoice_usd"] == pytest.approx(sum(map(usd, rows)), rel=1e-6)
    assert found["total"]["gap_usd"] == pytest.approx(0, abs=0.01)
    assert causes(found) == {}
    assert len(found["periods"]) == DAYS
    assert [row["model"] for row in found["models"]] == ["gpt-4o"]


@pytest.mark.parametrize("name", ANTHROPIC)
def test_exports_of_anthropic(run: Run, tmp_path: Path, name: str) -> None:
    rows = calls("claude-sonnet-4-5-20250929")
    found = compare(run, tmp_path, rows, (name, ANTHROPIC[name](rows)))
    assert found["total"]["invoice_usd"] == pytest.approx(sum(map(usd, rows)), abs=0.05)
    assert causes(found) == {}
    assert [row["model"] for row in found["models"]] == ["claude-sonnet-4-5"]


def test_every_form_has_an_export_here() -> None:
    rows, claude = calls(each=1), calls("claude-sonnet-4-5", each=1)
    texts = [make(rows) for make in OPENAI.values()] + [make(claude) for make in ANTHROPIC.values()]
    assert {read_invoice(text.encode(), "x").form for text in texts} == {form.name for form in FORMS}


def test_missing_calls_by_usage(run: Run, tmp_path: Path) -> None:
    rows = calls()
    logged = [row for number, row in enumerate(rows) if number % 4]
    found = compare(run, tmp_path, logged, ("usage.json", openai_usage(rows)))
    gap = sum(map(usd, rows)) - sum(map(usd, logged))
    assert found["total"]["gap_usd"] == pytest.approx(gap)
    assert causes(found)["missing_calls"] == pytest.approx(gap, rel=0.02)
    assert (found["total"]["invoice_calls"], found["total"]["log_calls"]) == (100, 75)


def test_a_day_that_is_not_in_the_log(run: Run, tmp_path: Path) -> None:
    rows = calls()
    logged = [row for row in rows if not row["timestamp"].startswith("2026-10-03")]
    found = compare(run, tmp_path, logged, ("costs.json", openai_costs(rows)))
    days = {row["period"][:10]: row for row in found["periods"]}
    assert days["2026-10-03"]["log_usd"] == 0
    assert causes(found) == {"missing_calls": pytest.approx(days["2026-10-03"]["invoice_usd"])}


def test_failed_calls_that_were_billed_are_retries(run: Run, tmp_path: Path) -> None:
    rows = calls()
    failed = {"status": "error", "prompt_tokens": None, "completion_tokens": None, "cached_tokens": None}
    logged = [row if number % 10 else row | failed for number, row in enumerate(rows)]
    found = compare(run, tmp_path, logged, ("usage.json", openai_usage(rows)))
    gap = sum(usd(row) for row in rows[::10])
    assert causes(found)["retries"] == pytest.approx(gap, rel=0.02)
    assert "missing_calls" not in causes(found)
    by_amount = compare(run, tmp_path, logged, ("costs.json", openai_costs(rows)))
    assert causes(by_amount) == {"retries": pytest.approx(gap, rel=0.02)}


def test_a_log_that_ignores_cached_tokens(run: Run, tmp_path: Path) -> None:
    rows = calls()
    without = [row | {"cached_tokens": 0} for row in rows]
    saved = sum(row["cached_tokens"] for row in rows) * (GPT["input"] - GPT["cached"])
    found = compare(run, tmp_path, without, ("usage.json", openai_usage(rows)))
    assert causes(found) == {"cache": pytest.approx(-saved, rel=0.005)}
    wrong = [row | {"cost_usd": row["prompt_tokens"] * GPT["input"] + row["completion_tokens"] * 10e-6} for row in rows]
    found = compare(run, tmp_path, wrong, ("costs.json", openai_costs(rows)))
    assert causes(found) == {"cache": pytest.approx(-saved, rel=0.005)}


def test_batches_that_the_log_does_not_tell(run: Run, tmp_path: Path) -> None:
    rows = calls()
    half = sum(map(usd, rows)) / 2
    found = compare(run, tmp_path, rows, ("usage.json", openai_usage(rows, batch=True)))
    assert causes(found) == {"tier": pytest.approx(-half, rel=0.005)}
    found = compare(run, tmp_path, rows, ("costs.json", openai_costs(rows, 0.5)))
    assert causes(found) == {"tier": pytest.approx(-half, rel=0.005)}


def test_a_price_of_ones_own(run: Run, tmp_path: Path) -> None:
    rows = calls()
    off = -0.15 * sum(map(usd, rows))
    found = compare(run, tmp_path, rows, ("costs.json", openai_costs(rows, 0.85)))
    assert causes(found) == {"price": pytest.approx(off, rel=0.005)}
    both = (("usage.json", openai_usage(rows)), ("costs.json", openai_costs(rows, 0.85)))
    assert causes(compare(run, tmp_path, rows, *both)) == {"price": pytest.approx(off, rel=0.005)}


def test_calls_that_were_not_billed(run: Run, tmp_path: Path) -> None:
    rows = calls()
    billed = [row for number, row in enumerate(rows) if number % 5]
    found = compare(run, tmp_path, rows, ("usage.json", openai_usage(billed)))
    assert causes(found)["not_billed"] == pytest.approx(-sum(usd(row) for row in rows[::5]), rel=0.02)


def test_other_providers_and_times_are_not_compared(run: Run, tmp_path: Path) -> None:
    rows = calls()
    elsewhere = calls("claude-sonnet-4-5") + calls(provider="azure")
    later = [rows[0] | {"timestamp": "2026-11-20T00:00:00Z"}]
    found = compare(run, tmp_path, [*rows, *elsewhere, *later], ("usage.json", openai_usage(rows)))
    assert causes(found) == {}
    assert found["outside_calls"] == 201


def test_a_table_and_rows(run: Run, tmp_path: Path) -> None:
    rows = calls()
    log, export = tmp_path / "calls.jsonl", tmp_path / "usage.json"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows[:50]))
    export.write_text(openai_usage(rows))
    shown = run("cost", str(log), "--invoice", str(export), env={"COLUMNS": "80"})
    assert "missing calls" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    found = list(csv.DictReader(io.StringIO(run("cost", str(log), "--invoice", str(export), "-f", "csv").stdout)))
    assert [row["period"] for row in found] == [f"2026-10-0{day}" for day in range(1, 6)]
    assert run("cost", str(log), "--invoice", str(export), "--fail-on", "gap_share>0.01").code == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "not an invoice or export that is known (keys: a, b)"),
        ("{", "not valid JSON"),
        ('{"data": []}', "not an invoice"),
        ("usage_date_utc,model,cost_usd\nnot-a-date,x,y\n", "no line of this Anthropic console cost can be read"),
        ('{"data":[{"start_time":1,"end_time":2,"results":[{"amount":{"value":3,"currency":"eur"}}]}]}', "no line"),
    ],
)
def test_what_is_no_invoice_is_an_input_error(run: Run, tmp_path: Path, text: str, words: str) -> None:
    log, export = tmp_path / "calls.jsonl", tmp_path / "export"
    log.write_text(json.dumps(calls()[0]) + "\n")
    export.write_text(text)
    done = run("cost", str(log), "--invoice", str(export))
    assert (done.code, words in done.stderr) == (3, True)
    assert run("cost", str(log), "--invoice", str(tmp_path / "none")).code == 3


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("Claude Sonnet 4.5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("GPT-4o mini", "gpt-4o-mini"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet"),
        ("gpt-5.4", "gpt-5-4"),
    ],
)
def test_names_of_models_meet(name: str, common: str) -> None:
    assert common_name(name) == common
