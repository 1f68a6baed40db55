"""`rules test`: the inputs of tests are read or made, and every test is run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llmmon.backtesting import read_calls
from llmmon.config import Config
from llmmon.errors import InputError
from llmmon.pipeline import Query
from llmmon.rule_tests import RuleTest, RuleTestResult, calls_of_test, run_test
from llmmon.rules import AlertRule


def run_tests(config: Config, rules: Sequence[AlertRule], now_us: int) -> list[RuleTestResult]:
    """The result of each test of a configuration; raises `InputError` where a log cannot be read."""
    query = Query(logs=(), config=config, wall_us=now_us, tz=config.timezone, naive_tz=config.naive_timezone)
    return [_run(test, config, rules, query) for test in config.tests]


def _run(test: RuleTest, config: Config, rules: Sequence[AlertRule], query: Query) -> RuleTestResult:
    if not test.input:
        return run_test(test, rules, calls_of_test(test))
    folder = config.path.parent if config.path is not None else None
    path = test.input if folder is None else str(folder / test.input)
    try:
        calls = read_calls(msgspec.structs.replace(query, logs=(path,)), rules)
    except InputError as error:
        raise InputError(f"test {test.name!r}: {error}", hint="input is seen from the configuration file") from None
    return run_test(test, rules, calls)
