"""What a shell completes: names, models of the logs, rules and channels, without loading what reads logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmmon.metrics.definitions import statistic_called
from llmmon.metrics.vocabulary import usual_names
from tests.conftest import Run

CONFIG = """
logs = ["a.jsonl"]
[[rules]]
name = "slow"
metric = "latency_ms"
condition = "gt"
threshold = 1
[notify.pager]
type = "command"
command = ["true"]
"""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("summarize", "--by", "mo"), ["model", "model_requested"]),
        (("summarize", "--sort", "latency_p9"), ["latency_p95_ms", "latency_p99_ms"]),
        (("requests", "--where", "model=my"), ["model=my-model"]),
        (("cost", "a.jsonl", "--as", "my"), ["my-model"]),
        (("check", "--explain", "s"), ["slow"]),
        (("notify", "test", "p"), ["pager"]),
        (("summarize", "-f", "js"), ["json", "jsonl"]),
    ],
    ids=" ".join,
)
def test_names_are_completed(
    run: Run, write: Callable[..., Path], tmp_path: Path, words: tuple[str, ...], wanted: list[str]
) -> None:
    write("a.jsonl", [{"model": "my-model"}])
    (tmp_path / "llmmon.toml").write_text(CONFIG)
    typed = {"COMP_WORDS": "\n".join(("llmmon", *words)), "COMP_CWORD": str(len(words))}
    ran = run(env={"_LLMMON_COMPLETE": "complete_bash", **typed})
    assert ran.stdout.split() == wanted


def test_every_statistic_that_is_offered_is_accepted() -> None:
    for name in usual_names():
        assert statistic_called(name)
