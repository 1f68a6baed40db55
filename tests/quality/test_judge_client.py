"""`score --judge` against a real server: verdicts, budgets, failures, the cache, what leaves the machine."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmmon.errors import UsageError
from llmmon.http_client import Retries
from llmmon.metrics.columns import Columns
from llmmon.quality.judge import JudgeSample, Question, SampleFold, smallest
from llmmon.quality.judge_client import Judge, JudgeCache, JudgeResults, ask_judge
from llmmon.quality.report import agreement, spearman
from tests.conftest import Run
from tests.support.judge_server import Answer, Behaviour, chat, judge_server, verdict

KEY = "k-5e1f-not-to-be-told"
FAST = Retries(attempts=2, timeout_s=0.5, first_wait_s=0.01, longest_wait_s=0.05)
QUESTIONS = [Question(rank, 10 + rank, f"question {rank}") for rank in range(6)]


def ask(
    behave: Behaviour, questions: Sequence[Question] = QUESTIONS, folder: Path | None = None, **more: Any
) -> tuple[JudgeResults, list[Any]]:
    with judge_server(behave) as server:
        options: dict[str, Any] = {"concurrency": 1, "retries": FAST, "key": KEY, **more}
        judge = Judge(url=server.url, model="some-judge", **options)
        return ask_judge(questions, judge, JudgeCache(folder)), server.seen


def statuses(judged: JudgeResults) -> list[str]:
    return [judged.verdicts[at]["status"] for at in sorted(judged.verdicts)]


def test_every_question_gets_its_verdict() -> None:
    judged, seen = ask(lambda *_: verdict(8))
    assert [judged.verdicts[at]["overall"] for at in range(10, 16)] == [0.8] * 6
    assert (judged.calls, judged.failed, judged.prompt_tokens, judged.completion_tokens) == (6, 0, 600, 120)
    assert {path for path, _, _ in seen} == {"/v1/chat/completions"}
    assert {headers["authorization"] for _, headers, _ in seen} == {f"Bearer {KEY}"}
    assert [body["messages"][0]["content"] for _, _, body in seen] == [q.asked for q in QUESTIONS]


def test_the_full_address_is_taken_as_it_is() -> None:
    judge = Judge(url="https://judge.example/v1/chat/completions", model="m")
    assert judge.checked().url == judge.url


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>not a completion</html>"),
        Answer(body=b""),
        Answer(body=b'{"choices": []}'),
        Answer(body=b'["choices"]'),
        Answer(body=b'{"choices": [{"message": {}}]}'),
        chat("I would rather not say."),
        chat(None),
        chat('{"relevance": 11, "accuracy": -1, "helpfulness": "high"}'),
        Answer(500),
        Answer(429, headers=(("retry-after", "0"),)),
        Answer(404),
        Answer(reset=True),
    ],
)
def test_a_bad_answer_is_unscored_with_its_reason_and_never_0(answer: Answer) -> None:
    judged, _ = ask(lambda *_: answer, QUESTIONS[:1])
    (found,) = judged.verdicts.values()
    assert found["status"] == "unscored"
    assert found["overall"] is None
    assert found["scores"] == {}
    assert found["reason"]
    assert KEY not in str(found)


def test_a_judge_that_hangs_is_unscored() -> None:
    judged, _ = ask(lambda *_: Answer(wait_s=1.5), QUESTIONS[:1])
    assert statuses(judged) == ["unscored"]
    assert "did not answer within 0.5 s" in judged.reasons().popitem()[0]


def test_a_busy_judge_answers_in_the_end() -> None:
    judged, seen = ask(lambda n, _: Answer(429) if n % 2 == 0 else verdict())
    assert statuses(judged) == ["scored"] * 6
    assert len(seen) == 12


def test_a_judge_without_json_mode_is_asked_plainly_from_then_on() -> None:
    judged, seen = ask(lambda _, body: Answer(400) if "response_format" in body else verdict())
    assert statuses(judged) == ["scored"] * 6
    assert len(seen) == 7


def test_a_wrong_key_is_not_tried_again_and_again() -> None:
    judged, seen = ask(lambda *_: Answer(401))
    assert statuses(judged) == ["unscored"] * 6
    assert len(seen) == 1


def test_a_judge_that_is_down_is_given_up() -> None:
    questions = [Question(rank, rank, f"question {rank}") for rank in range(40)]
    judged, seen = ask(lambda *_: Answer(503), questions)
    assert statuses(judged) == ["unscored"] * 40
    assert len(seen) == 5 * FAST.attempts


def test_no_more_questions_than_allowed() -> None:
    judged, seen = ask(lambda *_: verdict(), max_calls=2)
    assert len(seen) == judged.calls == 2
    assert statuses(judged) == ["scored"] * 2 + ["unscored"] * 4
    assert judged.reasons() == {"not asked: --judge-max-calls is reached": 4}


def test_no_more_money_than_allowed() -> None:
    price = 0.001
    judged, seen = ask(lambda *_: verdict(), max_usd=0.5, prices=(price, price), concurrency=3)
    assert judged.cost_usd is not None
    assert judged.cost_usd <= 0.5
    assert judged.cost_usd == pytest.approx(len(seen) * 120 * price)
    assert 0 < len(seen) < 6


def test_a_budget_without_a_price_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs a price"):
        Judge(url="http://127.0.0.1/v1", model="some-judge", max_usd=1.0).checked()


def test_the_same_texts_are_asked_once() -> None:
    twice = [Question(1, 4, "same"), Question(1, 9, "same")]
    judged, seen = ask(lambda *_: verdict(7), twice)
    assert len(seen) == 1
    assert judged.verdicts[4] == judged.verdicts[9]


def test_verdicts_are_kept_without_text_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "verdicts"
    first, _ = ask(lambda n, _: verdict() if n else chat("no idea"), folder=folder)
    assert statuses(first).count("unscored") == 1
    files = list(folder.iterdir())
    assert len(files) == 5  # what failed is asked again
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(b"question" in file.read_bytes() or KEY.encode() in file.read_bytes() for file in files)


def test_what_is_kept_is_not_asked_again_by_anyone_with_the_same_question(tmp_path: Path) -> None:
    with judge_server(lambda *_: verdict(9)) as server:
        judge = Judge(url=server.url, model="m", retries=FAST)
        first = ask_judge(QUESTIONS, judge, JudgeCache(tmp_path))
        again = ask_judge(QUESTIONS, judge, JudgeCache(tmp_path))
        assert (again.cached, again.calls, again.verdicts) == (6, 0, first.verdicts)
        for file in tmp_path.iterdir():
            file.write_bytes(b'{"status": "scored", "overall"')
        assert ask_judge(QUESTIONS, judge, JudgeCache(tmp_path)).calls == 6


def test_the_sample_does_not_depend_on_blocks_or_order() -> None:
    texts = [(f"prompt {i}", f"answer {i}") for i in range(200)]
    sample = JudgeSample(20)

    def picked(order: Sequence[int], size: int) -> list[Question]:
        folds = []
        for start in range(0, len(order), size):
            fold = SampleFold(sample, ("relevance",))
            rows = list(order[start : start + size])
            fold.add(block(rows, texts), [])
            folds.append(fold.result())
        return smallest((q for part in folds for q in part), sample.limit)

    whole = picked(range(200), 200)
    assert len(whole) == 20
    assert whole == picked(range(200), 7) == picked(range(199, -1, -1), 30)


def block(rows: Sequence[int], texts: Sequence[tuple[str, str]]) -> Columns:
    return Columns(
        len(rows),
        np.zeros(len(rows), np.int64),
        texts={"prompt": [texts[i][0] for i in rows], "output": [texts[i][1] for i in rows]},
        positions=np.array(rows, np.int64),
    )


def test_empty_answers_are_not_judged() -> None:
    fold = SampleFold(JudgeSample(5), ("relevance",))
    fold.add(block([0, 1], [("p", ""), ("p", "x")]), [])
    assert [question.position for question in fold.result()] == [1]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "101%", "0%", "many", "5%%", "nan", "inf"])
def test_a_sample_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        JudgeSample.of(text)


def test_samples_by_number_and_share() -> None:
    assert JudgeSample.of("30") == JudgeSample(30)
    assert JudgeSample.of("5%").share == 0.05


def test_rank_correlation_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == 1
    assert spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == -1
    assert spearman(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.948683, abs=1e-6)
    assert spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None


def test_agreement_by_hand() -> None:
    found = agreement(np.array([0.9, 0.2, 0.8, 0.4]), np.array([1.0, 0.1, 0.3, np.nan]))
    assert found["pairs"] == 3
    assert found["same_side"] == pytest.approx(2 / 3, abs=1e-6)


ROWS = [
    {"model": "m", "prompt": f"What is {i} and {i}?", "output": f"The sum of {i} and {i} is {2 * i}, of course."}
    for i in range(12)
]


def judged_run(run: Run, behave: Behaviour, *more: str, rows: Any = ROWS, env: Any = None) -> tuple[Any, list[Any]]:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    with judge_server(behave) as server:
        args = ("score", "-", "--judge", "--judge-url", server.url, "--judge-model", "some-judge", *more)
        return run(*args, stdin=lines, env={"LLMMON_JUDGE_KEY": KEY, **(env or {})}), server.seen


def test_the_command_reports_the_judge_beside_the_scores(run: Run) -> None:
    ran, seen = judged_run(run, lambda *_: verdict(6), "-f", "json")
    assert ran.code == 0
    judge = ran.json["data"]["judge"]
    assert (judge["scored"], judge["unscored"], judge["calls"], judge["overall_avg"]) == (12, 0, 12, 0.6)
    assert judge["criteria"] == {"relevance": 0.6, "accuracy": 0.6, "helpfulness": 0.6}
    assert judge["agreement"]["pairs"] == 12
    assert len(seen) == 12
    assert KEY not in ran.stdout + ran.stderr


def test_rows_carry_the_verdict(run: Run) -> None:
    ran, _ = judged_run(run, lambda *_: verdict(7), "-f", "jsonl", "--judge-sample", "5")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["row"] for row in rows] == list(range(1, 13))
    assert sum(row["judge"] is not None for row in rows) == 5
    assert {row["judge"]["overall"] for row in rows if row["judge"]} == {0.7}


def test_secrets_and_personal_data_stay_here(run: Run) -> None:
    secret, mail = "sk-proj-0Not1A2Real3Key4Zq8Wm5Tp7Lx9", "ann.olsen@mailhost.org"
    row = {"prompt": f"my key is {secret}", "output": f"Your key {secret} belongs to {mail}, as you said before."}
    _, seen = judged_run(run, lambda *_: verdict(), rows=[row])
    sent = json.dumps([body for _, _, body in seen])
    assert len(seen) == 1
    assert secret not in sent
    assert mail not in sent
    assert "[redacted" in sent


def test_a_judge_that_never_answers_is_told_by_the_exit_code(run: Run) -> None:
    ran, _ = judged_run(run, lambda *_: Answer(401))
    assert ran.code == 5
    assert "not judged" in ran.stdout
    assert KEY not in ran.stdout + ran.stderr


def test_the_other_key_is_used_where_ours_is_not_set(run: Run) -> None:
    _, seen = judged_run(run, lambda *_: verdict(), env={"LLMMON_JUDGE_KEY": "", "OPENAI_API_KEY": "theirs"})
    assert seen[0][1]["authorization"] == "Bearer theirs"


def test_fail_on_the_judge(run: Run) -> None:
    ran, _ = judged_run(run, lambda *_: verdict(2), "--fail-on", "judge_overall_avg<0.5")
    assert ran.code == 1


@pytest.mark.parametrize(
    "args",
    [
        ("--judge",),
        ("--judge", "--judge-url", "http://127.0.0.1:9"),
        ("--judge", "--judge-url", "nowhere", "--judge-model", "m"),
        ("--judge", "--judge-url", "http://127.0.0.1:9", "--judge-model", "m-unpriced", "--judge-max-usd", "1"),
        ("--judge", "--judge-url", "http://127.0.0.1:9", "--judge-model", "m", "--judge-sample", "all"),
    ],
)
def test_options_that_cannot_work_are_usage_errors(run: Run, args: tuple[str, ...]) -> None:
    assert run("score", "-", *args, stdin='{"output": "a"}\n').code == 2
