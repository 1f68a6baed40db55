"""The rules that make a time right: units, zones, starts and ends, and latency that is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.log_samples import SAMPLES, calls_in, lines, read


def test_litellm_response_time_is_no_latency() -> None:
    streamed = calls_in(SAMPLES["litellm"].read_bytes())[1]
    assert (streamed["latency_ms"], streamed["time_to_first_token_ms"]) == (3900, 620)


def test_a_first_token_at_the_end_is_a_call_that_did_not_stream() -> None:
    assert "time_to_first_token_ms" not in calls_in(SAMPLES["litellm"].read_bytes())[0]


def test_dotnet_ticks() -> None:
    found = calls_in(SAMPLES["azure_openai"].read_bytes())
    assert found[0]["timestamp"] == "2026-03-14T09:17:01Z"
    assert [call["latency_ms"] for call in found] == [1021.0, 1021.0, 12.0]


def test_a_negative_duration_is_missing() -> None:
    line = {"category": "RequestResponse", "resourceId": "r", "time": "2026-03-14T09:17:00Z", "durationMs": -3}
    assert "latency_ms" not in calls_in(lines(line))[0]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1.234s", 1234), ("845.2ms", 845.2), ("312.5µs", 0.3125), ("45us", 0.045), ("1m2.5s", 62_500), ("PT1.5S", 1500)],
)
def test_duration_strings(text: str, milliseconds: float) -> None:
    (call,) = calls_in(lines({"model": "m", "duration": text}))
    assert milliseconds == pytest.approx(call["latency_ms"], abs=0.001)


def test_durations_of_a_server_log() -> None:
    found = calls_in(SAMPLES["tgi"].read_bytes())
    assert [round(call["latency_ms"], 3) for call in found[:2]] == [1234.568, 845.2]


@pytest.mark.parametrize(
    ("key", "value", "milliseconds"),
    [
        ("latency_ms", 850, 850),
        ("latencyMs", 850, 850),
        ("latency_s", 0.85, 850),
        ("duration_seconds", 2, 2000),
        ("elapsed_us", 1500, 1.5),
        ("latency_ns", 2_000_000, 2),
        ("took", 850, 850),
        ("elapsed", 0.85, 850),
        ("latency", 1.9, 1900),
    ],
)
def test_seconds_and_milliseconds(key: str, value: float, milliseconds: float) -> None:
    assert milliseconds == calls_in(lines({"model": "m", key: value}))[0]["latency_ms"]


def test_tokens_tell_the_unit_of_a_latency_that_length_alone_would_not() -> None:
    rows = [{"model": "m", "duration": 45, "completion_tokens": 4500}] * 3
    assert [call["latency_ms"] for call in calls_in(lines(*rows))] == [45_000.0] * 3


def test_the_unit_is_decided_for_the_file_and_not_for_each_value() -> None:
    rows = [{"model": "m", "latency": value} for value in (900, 1200, 3, 850)]
    assert [call["latency_ms"] for call in calls_in(lines(*rows))] == [900, 1200, 3, 850]


@pytest.mark.parametrize(
    "stamp",
    [
        1773479820,
        1773479820.0,
        "1773479820",
        1773479820000,
        1773479820000000,
        1773479820000000000,
        639090766200000000,
        "2026-03-14T09:17:00Z",
        "2026-03-14 09:17:00",
        "2026-03-14T10:17:00+01:00",
        "2026-03-14T09:17:00.000000000Z",
        "Sat, 14 Mar 2026 09:17:00 GMT",
        "2026-03-14 09:17:00 UTC",
    ],
)
def test_a_time_in_any_form(stamp: Any) -> None:
    assert calls_in(lines({"ts": stamp, "model": "m"}))[0]["timestamp"] == "2026-03-14T09:17:00Z"


def test_naive_stamps_are_read_in_the_zone_that_was_named() -> None:
    data = lines({"timestamp": "2026-03-14T10:17:00", "model": "m"})
    assert calls_in(data, naive="Europe/Berlin")[0]["timestamp"] == "2026-03-14T09:17:00Z"
    assert calls_in(data)[0]["timestamp"] == "2026-03-14T10:17:00Z"


def test_naive_stamps_follow_daylight_saving() -> None:
    stamps = ("2026-03-29T01:30:00", "2026-03-29T03:30:00")
    found = calls_in(lines(*({"timestamp": stamp, "model": "m"} for stamp in stamps)), naive="Europe/Berlin")
    assert [call["timestamp"] for call in found] == ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]


@pytest.mark.parametrize("sample", ["langsmith", "langfuse-blob", "azure_llm_trace"])
def test_dialects_that_write_utc_without_saying_so_keep_it(sample: str) -> None:
    data = SAMPLES[sample].read_bytes()
    assert calls_in(data) == calls_in(data, naive="Asia/Tokyo")


def test_a_server_that_writes_its_own_time_is_read_in_it() -> None:
    late = calls_in(SAMPLES["sglang"].read_bytes(), naive="Europe/Berlin")[-1]
    assert late["timestamp"].startswith("2026-03-14T10:17")


def test_a_lone_end_gives_the_start() -> None:
    (call,) = calls_in(lines({"end_time": "2026-03-14T09:17:03Z", "duration_ms": 3000, "model": "m"}))
    assert call["timestamp"] == "2026-03-14T09:17:00Z"


def test_start_and_end_win_over_a_logged_latency() -> None:
    row = {"start_time": "2026-03-14T09:17:00Z", "end_time": "2026-03-14T09:17:03Z", "latency_ms": 40, "model": "m"}
    assert calls_in(lines(row))[0]["latency_ms"] == 3000


def test_an_end_before_the_start_is_no_latency() -> None:
    row = {"start_time": "2026-03-14T09:17:03Z", "end_time": "2026-03-14T09:17:00Z", "model": "m"}
    assert "latency_ms" not in calls_in(lines(row))[0]


def test_a_batch_has_no_latency() -> None:
    assert not any("latency_ms" in call for call in calls_in(SAMPLES["openai_batch"].read_bytes()))


def test_openrouter_latency_is_the_time_to_the_first_token() -> None:
    call = calls_in(SAMPLES["openrouter"].read_bytes())[0]
    assert (call["latency_ms"], call["time_to_first_token_ms"]) == (2940, 640)


def test_the_parts_that_a_server_timed_make_the_latency() -> None:
    assert calls_in(SAMPLES["openai_chat-servers"].read_bytes())[0]["latency_ms"] == 696.779


@pytest.mark.parametrize("stamp", ["", "soon", True, [], {}, 1e300, "2026-13-45T99:00:00Z", float(2**80)])
def test_what_is_no_time_leaves_a_call_undated(stamp: Any) -> None:
    columns, _ = read(lines({"timestamp": stamp, "model": "m"}))
    assert columns.dated.tolist() == [False]
