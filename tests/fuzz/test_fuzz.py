"""Damaged logs of every dialect through every command, and damaged configurations: each is survived in order."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import FIGURES, clean_environment
from tests.fuzz.fuzz import COMMANDS, CONFIGURED
from tests.fuzz.mutations import MUTATIONS, configurations, damaged, samples

LOGS = samples()
WORDS = [words for words, _ in COMMANDS]
damages = st.lists(st.tuples(st.integers(0, len(MUTATIONS) - 1), st.integers(0, 2**32)), max_size=4)


class Fuzzing:
    """A process that runs command lines one after another (`python -m tests.fuzz.fuzz --serve`)."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.fuzz.fuzz", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(home),
            text=True,
        )

    def wrong(self, command: Sequence[str], name: str, data: bytes) -> str:
        """What is wrong with how a command takes a file; "" if nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told: dict[str, Any] = {"command": command, "name": name, "data": base64.b64encode(data).decode()}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        FIGURES["inputs tried"] += 1
        return str(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzing]:
    found = Fuzzing(tmp_path_factory.mktemp("home"))
    yield found
    found.close()


def mutated(data: bytes, steps: Sequence[tuple[int, int]]) -> bytes:
    for which, seed in steps:
        data = MUTATIONS[which](data, Random(seed))[:200_000]  # noqa: S311 - hypothesis decides
    return data


@pytest.mark.parametrize("command", WORDS, ids=lambda words: " ".join(words[:3]))
@settings(max_examples=15)
@given(name=st.sampled_from(sorted(LOGS)), steps=damages)
def test_a_command_survives_damaged_logs(
    command: Sequence[str], name: str, steps: list[tuple[int, int]], fuzzing: Fuzzing
) -> None:
    assert fuzzing.wrong(command, name, mutated(LOGS[name], steps)) == ""


@pytest.mark.parametrize("name", sorted(LOGS))
def test_damaged_logs_of_a_dialect_are_survived_by_any_command(name: str, fuzzing: Fuzzing) -> None:
    rng = Random(name)  # noqa: S311
    for command in rng.sample(WORDS, len(WORDS) // 2):
        seed = rng.getrandbits(64)
        packed_name, data = damaged({name: LOGS[name]}, Random(seed))  # noqa: S311
        assert fuzzing.wrong(command, packed_name, data[:200_000]) == "", (command, seed)


@pytest.mark.parametrize("command", CONFIGURED, ids=lambda words: " ".join(words[:2]))
@settings(max_examples=30)
@given(name=st.sampled_from(sorted(configurations())), steps=damages)
def test_a_damaged_configuration_is_survived(
    command: Sequence[str], name: str, steps: list[tuple[int, int]], fuzzing: Fuzzing
) -> None:
    assert fuzzing.wrong(command, name, mutated(configurations()[name], steps)) == ""
