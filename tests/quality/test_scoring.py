"""`llmmon score`: its rows and figures, whatever cuts or shares out the work, on good input and bad."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.errors import ConfigError
from llmmon.ingest.query import Query
from llmmon.metrics.columns import MISSING_TIME, Columns
from llmmon.quality.report import ScoredRows, ScoreReport
from llmmon.quality.scored import Scored, join
from llmmon.quality.scorers.corpus import Corpus, Lexicon
from llmmon.quality.scorers.flags import DIMENSIONS, FLAGS, SIGNALS
from llmmon.quality.scoring import Asked, Method, ScoreFold, checked_thresholds, score_calls
from tests.conftest import Run

Write = Callable[..., Path]
KEYS = [
    *("row", "file", "line", "request_id", "timestamp", "model", "user", "overall", *DIMENSIONS, "quality_score"),
    *("signals", "flags", "evidence", "confidence"),
]
WORDS = "the river bank model answer prompt tea train garden planet music winter engine letter market island".split()
ANSWERS = (
    "I'm sorry, but I can't help with that request.",
    "",
    '{"city": "Lisbon", "year": 2024',
    "My number is 4111 1111 1111 1111 and that is all.",
)


def rows_of(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Made-up calls with texts of many kinds; every seventh without output."""
    dice = random.Random(seed)  # noqa: S311 - the same texts every time

    def text(least: int) -> str:
        return " ".join(dice.choices(WORDS, k=dice.randint(least, 40))).capitalize() + "."

    rows = []
    for i in range(number):
        row: dict[str, Any] = {"request_id": f"r{i}", "model": dice.choice("abc"), "prompt": text(3)}
        if i % 7:
            row["output"] = dice.choice(ANSWERS) if i % 5 == 0 else row["prompt"] + " " + text(5)
        rows.append(row)
    return rows


def scored(path: Path, **options: Any) -> tuple[ScoreReport, Any]:
    jobs = options.pop("jobs", 1)
    direct = {name: options.pop(name) for name in ("thresholds", "judging") if name in options}
    return score_calls(Query(logs=(str(path),), wall_us=0, jobs=jobs), asked=Asked(**options), **direct)


def lines(run: Run, *args: str, **more: Any) -> list[dict[str, Any]]:
    ran = run("score", *args, "-f", "jsonl", **more)
    assert ran.code == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_row_has_exactly_its_keys_in_their_order(run: Run, write: Write) -> None:
    write("a.jsonl", rows_of(30))
    rows = lines(run, "a.jsonl")
    assert [row["row"] for row in rows] == list(range(1, 31))
    assert [row["line"] for row in rows] == list(range(1, 31))
    assert [row["request_id"] for row in rows] == [f"r{i}" for i in range(30)]
    for row in rows:
        assert list(row) == KEYS
        assert list(row["signals"]) == list(SIGNALS)
        assert set(row["flags"]) <= FLAGS.keys()
        assert row["evidence"].keys() <= set(row["flags"])
        for value in (row["overall"], *(row[name] for name in DIMENSIONS), *row["signals"].values()):
            assert value is None or 0 <= value <= 1


def test_a_row_without_output_is_nulls_and_an_empty_output_is_scored(run: Run, write: Write) -> None:
    write("a.jsonl", [{"model": "m", "prompt": "p"}, {"model": "m", "output": ""}, {"model": "m", "output": None}])
    nothing, empty, null = lines(run, "a.jsonl")
    for row in (nothing, null):
        assert row["overall"] is None
        assert row["quality_score"] is None
        assert set(row["signals"].values()) == {None}
        assert row["flags"] == []
    assert empty["flags"] == ["empty"]
    assert empty["overall"] == 0
    summary = run("score", "a.jsonl", "-f", "json").json["data"]["summary"]
    assert (summary["scored"], summary["without_text"]) == (1, 2)


def test_the_evidence_never_holds_the_secret(run: Run, write: Write) -> None:
    secret = "sk-proj-0Not1A2Real3Key4Zq8Wm5Tp7Lx9"
    write("a.jsonl", [{"prompt": "Which key do we use here?", "output": f"We use the key {secret} here."}])
    ran = run("score", "a.jsonl", "-f", "jsonl")
    row = json.loads(ran.stdout)
    assert row["flags"] == ["secret"]
    assert row["evidence"] == {"secret": [[15, 15 + len(secret)]]}
    assert secret not in ran.stdout + ran.stderr + run("score", "a.jsonl").stdout
    assert secret in run("score", "a.jsonl", "--show-text").stdout


def test_scored_rows_are_a_log_again(run: Run, write: Write) -> None:
    write("a.jsonl", rows_of(40))
    ran = run("score", "a.jsonl", "-o", "scored.jsonl", "-f", "json")
    again = run("summarize", "scored.jsonl", "-f", "json").json
    average = ran.json["data"]["summary"]["overall_avg"]
    assert again["data"]["totals"]["quality_avg"] == pytest.approx(average, abs=1e-5)
    assert again["source"]["rejected"] == 0


def test_a_logged_quality_is_kept(run: Run, write: Write) -> None:
    write("a.jsonl", [{"output": "All is well with the train.", "quality_score": 0.25}])
    (row,) = lines(run, "a.jsonl")
    assert (row["quality_score"], row["overall"]) == (0.25, 1.0)


def test_the_summary_is_of_the_rows(run: Run, write: Write) -> None:
    write("a.jsonl", rows_of(260))
    data = run("score", "a.jsonl", "-f", "json", "-o", "scored.jsonl").json["data"]
    rows = lines(run, "a.jsonl")
    overall = [row["overall"] for row in rows if row["overall"] is not None]
    assert data["summary"]["overall_avg"] == pytest.approx(sum(overall) / len(overall), abs=1e-5)
    assert (data["summary"]["overall_min"], data["summary"]["overall_max"]) == (min(overall), max(overall))
    assert data["flags"] == {name: sum(name in row["flags"] for row in rows) for name in FLAGS}
    assert data["trend"]["overall_avg"] == pytest.approx(sum(overall[-100:]) / 100, abs=1e-5)
    assert (data["summary"]["scored"], data["summary"]["without_text"]) == (len(overall), 260 - len(overall))


@given(st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False))
def test_blocks_and_their_order_change_no_row(cuts: list[int], dice: random.Random) -> None:
    whole = block(rows_of(60, seed=3))
    method = Method(Lexicon.of(Corpus.empty()), {})
    edges = [0, *sorted(cuts), 60]
    parts = [whole.take(np.arange(a, b)) for a, b in pairwise(edges) if a < b]
    dice.shuffle(parts)
    half = len(parts) // 2
    found = [fold(part, method) for part in (parts[:half], parts[half:]) if part]
    assert plain(join(found).in_log_order()) == plain(fold([whole], method))


def block(rows: list[dict[str, Any]]) -> Columns:
    texts = {name: [row.get(name) for row in rows] for name in ("prompt", "output")}
    return Columns(len(rows), np.full(len(rows), MISSING_TIME), texts=texts, positions=np.arange(len(rows)))


def fold(parts: list[Columns], method: Method) -> Scored:
    folded = ScoreFold(method)
    for part in parts:
        folded.add(part, [])
    (found,) = folded.result().blocks
    return found


def plain(found: Scored) -> list[dict[str, Any]]:
    return list(ScoredRows(found, lambda at: ("", at)))


def test_jobs_and_pieces_change_nothing(write: Write, tmp_path: Path) -> None:
    path = write("a.jsonl", rows_of(6000, seed=1))  # several pieces, enough to be shared out
    one, read_by_one = scored(path)
    three, read_by_three = scored(path, jobs=3)
    assert list(one.rows) == list(three.rows)
    assert (one.summary, one.flags, one.trend) == (three.summary, three.flags, three.trend)
    assert read_by_one.source == read_by_three.source
    assert read_by_one.source.lines == read_by_one.source.used == len(one.rows) == 6000


def test_rows_can_be_taken_by_number_and_slice(write: Write) -> None:
    rows = scored(write("a.jsonl", rows_of(20)))[0].rows
    everything = list(rows)
    assert (rows[3], rows[-1], rows[2:9:3]) == (everything[3], everything[-1], everything[2:9:3])
    with pytest.raises(IndexError):
        rows[20]


def test_stdin_is_scored_like_a_file_and_nothing_of_it_is_left(run: Run, write: Write, tmp_path: Path) -> None:
    text = write("a.jsonl", rows_of(50)).read_text()
    kept = tmp_path / "tmp"
    kept.mkdir()
    from_file, from_stdin = (
        lines(run, "a.jsonl"),
        lines(run, "-", stdin=text, env={"TMPDIR": str(kept)}),
    )
    assert {row.pop("file") for row in from_file} == {"a.jsonl"}
    assert {row.pop("file") for row in from_stdin} == {"-"}
    assert from_file == from_stdin
    assert list(kept.iterdir()) == []
    failed = run("score", "-", stdin='{"model": "m"}\nnot json\n', env={"TMPDIR": str(kept)})
    assert failed.code == 3
    assert str(kept) not in failed.stderr
    assert list(kept.iterdir()) == []


def test_a_log_without_output_text_names_what_was_looked_for(run: Run, write: Write) -> None:
    write("a.jsonl", [{"model": "m", "latency_ms": 5}] * 3)
    ran = run("score", "a.jsonl")
    assert ran.code == 3
    assert "no output text in a.jsonl (3 calls)" in ran.stderr
    assert "output, response, completion" in ran.stderr
    assert "--map output=" in ran.stderr


def test_a_time_without_calls_is_no_error(run: Run, write: Write) -> None:
    write("a.jsonl", [{"timestamp": "2026-03-02T10:00:00Z", "output": "All is well."}])
    ran = run("score", "a.jsonl", "--since", "2026-03-03T00:00:00Z", "-f", "json")
    assert ran.code == 0
    assert ran.json["data"]["summary"]["scored"] == 0
    assert ran.json["data"]["summary"]["overall_avg"] is None


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_o_takes_the_rows_and_stdout_the_summary(run: Run, write: Write, tmp_path: Path, name: str) -> None:
    write("a.jsonl", rows_of(15))
    ran = run("score", "a.jsonl", "-o", f"scored.{name}")
    assert ran.stdout.startswith("quality of 12 answers")
    assert (tmp_path / f"scored.{name}").read_text() == run("score", "a.jsonl", "-f", name).stdout
    as_json = run("score", "a.jsonl", "-o", "other.jsonl", "-f", "json")
    assert as_json.json["command"] == "score"
    assert (tmp_path / "other.jsonl").read_text() == run("score", "a.jsonl", "-f", "jsonl").stdout


@pytest.mark.parametrize(
    ("condition", "code"),
    [("overall_avg<0.99", 1), ("overall_avg<0", 0), ("flag=refusal", 1), ("flag=prompt_echo", 0), ("flag=secrets", 2),
     ("overal_avg<1", 2), ("flag!=refusal", 0), ("without_text>0", 1)],
)  # fmt: skip
def test_fail_on(run: Run, write: Write, condition: str, code: int) -> None:
    write("a.jsonl", rows_of(60))
    assert run("score", "a.jsonl", "--fail-on", condition).code == code


def test_thresholds_come_from_the_configuration(run: Run, write: Write, tmp_path: Path) -> None:
    write("a.jsonl", [{"prompt": "Where is it?", "output": "I'm sorry, but I can't help with that request."}])
    assert "refusal" in lines(run, "a.jsonl")[0]["flags"]
    (tmp_path / "llmmon.toml").write_text("[score.thresholds]\nrefusal = 1.0\n")
    assert "refusal" not in lines(run, "a.jsonl")[0]["flags"]


def test_thresholds_that_are_none_are_all_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 errors.*refusl.*'refusal'.*secret.*between 0 and 1"):
        checked_thresholds({"refusl": 0.5, "secret": 1.5, "empty": 0.5}, None)


def test_a_threshold_that_is_none_is_a_configuration_error(run: Run, write: Write, tmp_path: Path) -> None:
    write("a.jsonl", rows_of(3))
    (tmp_path / "llmmon.toml").write_text("[score.thresholds]\nrefusl = 1.0\n")
    assert run("score", "a.jsonl").code == 4


def test_weighted_is_the_weighted_mean(run: Run, write: Write) -> None:
    write("a.jsonl", [{"prompt": "Where is it?", "output": ""}, {"output": "All is well with the train."}])
    rows = lines(run, "a.jsonl", "--overall", "weighted")
    assert 0 < rows[0]["overall"] < 1
    assert run("score", "a.jsonl", "--overall", "mean").code == 2


def test_other_dialects_are_scored_too(run: Run, write: Write) -> None:
    reply = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1772445600,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    write("a.jsonl", [reply])
    (row,) = lines(run, "a.jsonl")
    assert row["flags"] == ["truncated"]
    assert row["model"] == "gpt-4o"


def test_texts_are_shown_escaped(run: Run, write: Write) -> None:
    write("a.jsonl", [{"prompt": "a\x1b[31mb", "output": "I'm sorry, but I can't help with that.\x1b]0;title\x07"}])
    shown = run("score", "a.jsonl", "--show-text").stdout
    assert "\x1b" not in shown
    assert "\\x1b" in shown


def test_half_surrogates_and_odd_values_are_survived(run: Run, write: Write) -> None:
    write("a.jsonl", ['{"output": "\\ud800 half", "prompt": 5}', '{"output": {"a": 1}}', '{"output": ["x", 1]}', "{"])
    rows = lines(run, "a.jsonl")
    assert [row["line"] for row in rows] == sorted(row["line"] for row in rows)
    assert rows[0]["overall"] is not None


@pytest.mark.parametrize("piece", ["word another ", "a", "{", "\n- ", "(((", "key = ", "1234 ", "é😀", '"\\'])
def test_ten_megabytes_take_bounded_time(write: Write, piece: str) -> None:
    huge = piece * (10_000_000 // len(json.dumps(piece)))  # as it is logged
    path = write("a.jsonl", [{"prompt": "Why is that so?", "output": huge}, {"output": "All is well."}])
    started = time.perf_counter()
    report, _ = scored(path)
    assert time.perf_counter() - started < 20
    assert len(report.rows) == 2


def test_quality_is_computed_for_a_summary_where_none_is_logged(run: Run, write: Write) -> None:
    write("a.jsonl", [{"model": "m", "output": ""}, {"model": "m", "output": "", "quality_score": 0.5}])
    assert run("summarize", "a.jsonl", "-f", "json").json["data"]["totals"]["quality_avg"] == 0.5
    assert run("summarize", "a.jsonl", "--score", "-f", "json").json["data"]["totals"]["quality_avg"] == 0.25


def test_what_the_answer_must_keep_is_read_as_logged(run: Run, write: Write) -> None:
    output = '{"city": "Rome"}'
    wanted = {"type": "json_schema", "json_schema": {"schema": {"required": ["city", "country"]}}}
    write("a.jsonl", [{"output": output, "response_format": wanted}, {"output": output, "schema": ["city"]}])
    assert ["invalid_json" in row["flags"] for row in lines(run, "a.jsonl")] == [True, False]
