"""Nothing that a log says makes a regular expression, a decoder or a decompressor explode in time or memory."""

from __future__ import annotations

import ast
import gzip
import importlib
import json
import pkgutil
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

import llmmon
from llmmon.errors import EXIT_INPUT
from llmmon.formats.accounting import LONGEST_LINE, LONGEST_UNPACKED
from llmmon.text.patterns import LazyPattern
from tests.conftest import Ran, Run, clean_environment, llmmon_command

PACKAGE = Path(llmmon.__file__).parent
CALL = b'{"model": "m", "latency_ms": 5, "output": "fine."}\n'
SIGNS = " \t\n.,:;-_=+*#|'\"`()[]{}<>/\\@!?0aA1xé。"
PIECES = (
    *("a ", "a.", "a@", "-a", "1 ", "1.", "1,", "1-", "1:", "0x", "A1", "\n\n", "\n- ", "\n1. ", "a,b", "a@b.", "::"),
    *("https://a.", "password=", "key: ", "token ", "Bearer ", "eyJ", "eyJa.", "sk-", "AKIA", "postgres://", "a:b@"),
    *(
        "-----BEGIN ",
        "```",
        "```json\n",
        '{"',
        '"a":',
        "[[",
        "<<",
        "I can't ",
        "as an AI ",
        "sorry ",
        "in json ",
        "us.",
    ),
    *(
        "at least ",
        "1 words ",
        "between 1 and ",
        "do not use ",
        "“",
        "2026-01-01T",
        "00:00:",
        "+49 ",
        "(1) ",
        "the word ",
    ),
    *("1.1.1.1", "DE89 ", '\\"', "claude-", "-20", "one or more ", "answer in ", "'=", "_x", "must not ", "20\u200b"),
)
# of what people write, or used on the beginning of a text only: tried there
FROM_THE_START = {
    *("metrics.filters._TOKEN", "metrics.filters._FORM", "alerting.rule_config._CHANGE", "ingest.remote._URL"),
    *("http_client._WORD", "alerting.rule_tests._RANGE", "formats.own_csv._MARKED", "formats.own_csv._FORMULA"),
    *("formats.csv_table._NAME", "formats.csv_table._MONEY", "formats.csv_table._COMMA", "formats.csv_table._NUMBER"),
    *("formats.durations._PARTS", "formats.durations._CLOCK", "quality.scorers.endings.CLOSING_TOKEN"),
    "metrics.vocabulary._VALUE",
}


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled regular expression of the package, wherever its modules hold it."""
    seen = set()
    for info in pkgutil.walk_packages(llmmon.__path__, "llmmon."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            for found in _within(value):
                if (found.pattern, found.flags) not in seen:
                    seen.add((found.pattern, found.flags))
                    yield f"{info.name.removeprefix('llmmon.')}.{name}", found


def _within(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, LazyPattern):
        yield value.compiled
    elif isinstance(value, dict):
        yield from (found for each in value.values() for found in _within(each))
    elif isinstance(value, tuple | list):
        yield from (found for each in value for found in _within(each))
    elif hasattr(value, "__struct_fields__") and not isinstance(value, type):
        yield from (found for name in value.__struct_fields__ for found in _within(getattr(value, name, None)))


def took_s(pattern: re.Pattern[Any], text: Any, *, anywhere: bool) -> float:
    before = time.thread_time()
    if anywhere:
        for _ in pattern.finditer(text):
            pass
    else:
        pattern.match(text)
        pattern.fullmatch(text)
    return time.thread_time() - before


def test_no_regular_expression_takes_more_than_its_share_of_a_text() -> None:
    """What grew with the square of the length would take a tenth of a second for these."""
    tried = 0
    for name, pattern in patterns():
        tried += 1
        for piece in (*SIGNS, *PIECES):
            text: Any = (piece * 2000)[:2000] + "\x00"
            text = text.encode() if isinstance(pattern.pattern, bytes) else text
            anywhere = name not in FROM_THE_START
            times = (took_s(pattern, text, anywhere=anywhere) for _ in range(4))
            assert any(took < 0.03 for took in times), (name, piece)
    assert tried > 100


def test_what_is_tried_from_the_start_only_is_used_so() -> None:
    for name in FROM_THE_START:
        module, _, variable = name.rpartition(".")
        tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
        }
        assert used <= {"match", "fullmatch"}, name


TEXTS = [
    piece * (1_000_000 // len(piece)) for piece in ("a", " ", "a@", '{"', "[", "1-", "sk-", "I can't ", "```json\n")
]


@pytest.mark.parametrize("command", [("score", "-f", "jsonl"), ("summarize", "-f", "json"), ("inspect", "-f", "json")])
def test_a_megabyte_of_anything_is_read_in_seconds(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    rows = [
        {"model": text[:200_000], "prompt": text, "output": text, "user": text[:9], "latency_ms": 1} for text in TEXTS
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = time.monotonic()
    assert run(command[0], "a.jsonl", *command[1:]).code == 0
    assert time.monotonic() - before < 30


DEEP = 100_000
NESTED = {
    "arrays": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "both": b'[{"a":' * DEEP + b"1" + b"}]" * DEEP,
    "open arrays": b"[" * DEEP,
    "open objects": b'{"a":' * DEEP,
    "within a call": b'{"model": "m", "latency_ms": 1, "metadata": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "within a text": b'{"model": "m", "latency_ms": 1, "usage": "' + b"{" * DEEP + b'"}',
    "as an answer": json.dumps(
        {"model": "m", "output": '{"a":' * DEEP + "1" + "}" * DEEP, "prompt": "as JSON"}
    ).encode(),
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("command", ["summarize", "score", "inspect"])
def test_depth_is_a_matter_of_one_line(name: str, command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(CALL + NESTED[name] + b"\n" + CALL)
    before = time.monotonic()
    done = run(command, "a.jsonl", "-f", "json")
    assert time.monotonic() - before < 20
    assert done.code == 0
    assert done.json["source"]["lines"] == 3
    assert done.json["source"]["requests"] >= 2


@pytest.mark.parametrize("name", NESTED)
def test_a_document_of_any_depth_is_said_to_be_unreadable_or_read(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" + NESTED[name])
    done = run("summarize", "a.json")
    assert done.code in {0, 3}
    assert "internal error" not in done.stderr


ROOM = 700 << 20  # bytes of memory that a run may reserve


def within_bounds(folder: Path, *args: str) -> Ran:
    """A run that gets no more memory than that."""
    done = subprocess.run(
        llmmon_command(*args),
        cwd=folder,
        env=clean_environment(folder, {"OPENBLAS_NUM_THREADS": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM)),
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def bomb(path: Path, sign: bytes, size: int, before: bytes = CALL, after: bytes = b"\n" + CALL) -> None:
    """A compressed file of many equal bytes between others."""
    block = sign * (1 << 20)
    if path.suffix == ".gz":
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(before)
            file.writelines(block for _ in range(size >> 20))
            file.write(after)
    else:
        compressor = zstandard.ZstdCompressor().compressobj()
        parts = [compressor.compress(part) for part in (before, *[block] * (size >> 20), after)]
        path.write_bytes(b"".join(parts) + compressor.flush())


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_line_that_unpacks_to_too_much_is_passed_over_in_little_memory(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl.{ending}"
    bomb(path, b"x", 2 * LONGEST_LINE)
    assert path.stat().st_size < LONGEST_LINE / 100
    done = within_bounds(tmp_path, "summarize", path.name, "-f", "json")
    assert done.code == 0
    assert done.json["source"]["requests"] == 2
    assert done.json["source"]["first_rejects"] == [
        {"file": path.name, "line": 2, "byte": len(CALL), "reason": "line longer than 64 MB"}
    ]


def test_a_line_that_never_ends_is_not_read_further(tmp_path: Path) -> None:
    bomb(tmp_path / "a.jsonl.zst", b"x", LONGEST_UNPACKED + (200 << 20))
    (tmp_path / "b.jsonl").write_bytes(CALL)
    done = within_bounds(tmp_path, "summarize", "a.jsonl.zst", "b.jsonl", "-f", "json")
    assert done.code == EXIT_INPUT
    assert "a.jsonl.zst: a line of more than 1 GB: what follows is not read" in done.stderr
    assert done.json["source"]["requests"] == 2


@pytest.mark.parametrize(
    ("name", "sign", "before"),
    [
        ("spaces.json.zst", b" ", b'[{"model": "m", "latency_ms": 1},'),
        ("string.json.zst", b"x", b'[{"model": "m", "latency_ms": 1}, {"model": "'),
        ("cell.csv.zst", b"x", b'model,latency_ms\nm,5\n"'),
        ("commas.csv.zst", b",", b"model,latency_ms\nm,5\n"),
        ("braces.jsonl.zst", b"{", CALL),
    ],
)
def test_whatever_unpacks_to_too_much_ends_in_little_memory(
    name: str, sign: bytes, before: bytes, tmp_path: Path
) -> None:
    bomb(tmp_path / name, sign, 200 << 20, before)
    done = within_bounds(tmp_path, "summarize", name)
    assert done.code in {0, EXIT_INPUT}
    assert not any(word in done.stderr for word in ("internal error", "out of memory"))
