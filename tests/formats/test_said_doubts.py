"""What a log leaves open is read one way, and said; amounts, numbers and answers in unusual forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.log_samples import calls_in, lines

CALL: dict[str, Any] = {"ts": "2026-03-14T09:17:00Z", "model": "gpt-4o", "prompt_tokens": 10, "completion_tokens": 5}


def summary(run: Run, path: Path, *rows: dict[str, Any], options: tuple[str, ...] = ()) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run("summarize", str(path), "-f", "json", *options).json


def dated(*texts: str) -> list[dict[str, Any]]:
    return [{**CALL, "ts": text} for text in texts]


def test_dates_that_may_be_read_two_ways_say_so(run: Run, tmp_path: Path) -> None:
    rows = dated("01/03/2026 09:17:00", "02/03/2026 09:17:00", "03/03/2026 09:17:00")
    found = summary(run, tmp_path / "a.jsonl", *rows)["source"]
    assert found["start"] == "2026-03-01T09:17:00Z"
    assert "dates of ts may have the day or the month first; read with the day first" in found["warnings"][0]
    other = summary(run, tmp_path / "a.jsonl", *rows, options=("--map", "timestamp=ts:mdy"))["source"]
    assert (other["start"], other["warnings"]) == ("2026-01-03T09:17:00Z", [])


@pytest.mark.parametrize(
    "texts", [("01/03/2026 09:17", "25/03/2026 09:17"), ("03/03/2026 09:17",), ("03/25/2026 09:17",)]
)
def test_dates_of_a_certain_order_say_nothing(run: Run, tmp_path: Path, texts: tuple[str, ...]) -> None:
    assert summary(run, tmp_path / "a.jsonl", *dated(*texts))["source"]["warnings"] == []


@pytest.mark.parametrize(
    ("cost", "currency"),
    [
        ({"cost": "€0.25"}, "EUR"),
        ({"cost": "0.25 EUR"}, "EUR"),
        ({"cost": "£1"}, "GBP"),
        ({"cost": 0.25, "currency": "EUR"}, "EUR"),
        ({"cost": {"amount": 0.25, "currency": "CHF"}}, "CHF"),
    ],
)
def test_a_cost_in_another_currency_is_never_read_as_dollars(
    run: Run, tmp_path: Path, cost: dict[str, Any], currency: str
) -> None:
    found = summary(run, tmp_path / "a.jsonl", *[{**CALL, **cost}] * 3)
    assert found["data"]["totals"]["cost_logged_usd"] is None
    assert f"is in {currency} on some lines, so it is not read" in found["source"]["warnings"][0]


@pytest.mark.parametrize("cost", ["$0.25", "0.25 USD", "USD 0.25", "US$0.25", 0.25, "0.25"])
def test_dollars_are_read_however_they_are_written(cost: Any) -> None:
    assert [call["cost_usd"] for call in calls_in(lines({**CALL, "cost": cost}))] == [0.25]


def test_numbers_in_the_extended_json_of_mongodb_are_numbers() -> None:
    usage = {"prompt_tokens": {"$numberLong": "10"}, "completion_tokens": {"$numberInt": "5"}}
    more = {"latency_ms": {"$numberDouble": "500.5"}, "cost": {"$numberDecimal": "0.25"}, "ts": {"$date": CALL["ts"]}}
    (call,) = calls_in(lines({**CALL, **usage, **more}))
    assert (call["prompt_tokens"], call["completion_tokens"], call["latency_ms"]) == (10, 5, 500.5)
    assert (call["cost_usd"], call["timestamp"]) == (0.25, CALL["ts"])


def test_a_structured_output_is_an_answer_as_json() -> None:
    (call,) = calls_in(lines({**CALL, "output": {"answer": "shed", "sure": True}}))
    assert json.loads(call["output"]) == {"answer": "shed", "sure": True}


def test_a_refusal_that_the_provider_marks_is_certain(run: Run, tmp_path: Path) -> None:
    message = {"role": "assistant", "content": None, "refusal": "Perhaps another time."}
    reply = {"id": "c", "object": "chat.completion", "created": 1773479820, "model": "gpt-4o"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    row = {**reply, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    assert [call["finish_reason"] for call in calls_in(lines(row, row))] == ["refusal"] * 2
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(row))
    assert run("score", str(path), "-f", "json").json["data"]["flags"]["refusal"] == 1
