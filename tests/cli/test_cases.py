"""Golden cases: every file of cases/ is one run of the command line, with all that it must say.

why = "one sentence"
args = ["summarize", "a.jsonl"]        # run in an empty folder
inputs = ["day.jsonl"]                 # copied there from cases/inputs/
stdin = "..."                          # otherwise stdin is /dev/null
before = [["simulate", "logs"]]        # runs of the command line that prepare the folder
unreadable = ["b.jsonl"]               # made so before the run
[env]                                  # added to an empty environment
[files]                                # name -> text; .gz and .zst are compressed
[output]                               # name -> text of a file that the run must have written
[expect]                               # exit, stdout, stderr: rewritten by `pytest --rewrite-cases`
"""

from __future__ import annotations

import gzip
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import Ran, Run

CASES = Path(__file__).parents[1] / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.toml"))
# what differs from run to run, and what it is written as
VARYING = (
    (re.compile(r"last event [\d,]+ \w+ ago"), "last event {some time} ago"),
    (re.compile(r"(Since: +)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), r"\1{some time}"),
)


def prepare(case: dict[str, Any], folder: Path, run: Run) -> None:
    """Put the case's files where it will run."""
    for name in case.get("inputs", []):
        shutil.copy(CASES / "inputs" / name, folder / name)
    for name, text in case.get("files", {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(name, text.encode()))
    for args in case.get("before", []):
        assert run(*args).code == 0
    for name in case.get("unreadable", []):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)  # a circle: no one can open it, not even root


def packed(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if name.endswith(".zst") else data


def settled(text: str, folder: Path) -> str:
    """The text without what differs from run to run."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text.replace(str(folder), "{folder}")


def quoted(text: str) -> str:
    """A TOML string, easy to read where that is possible."""
    if "'''" in text or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        signs = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
        return '"' + re.sub(r'[\x00-\x1f\x7f\\"]', lambda m: signs.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'
    return f"'''\n{text}'''" if text else "''"


def rewrite(path: Path, ran: Ran) -> None:
    """Replace what the case expects by what was."""
    head = path.read_text().partition("\n[expect]\n")[0].rstrip("\n")
    expected = f"exit = {ran.code}\nstdout = {quoted(ran.stdout)}\nstderr = {quoted(ran.stderr)}\n"
    path.write_text(f"{head}\n\n[expect]\n{expected}")


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, run: Run, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    path = CASES / f"{name}.toml"
    case = tomllib.loads(path.read_text())
    prepare(case, tmp_path, run)
    found = run(*case["args"], stdin=case.get("stdin"), env=case.get("env"))
    ran = Ran(found.code, settled(found.stdout, tmp_path), settled(found.stderr, tmp_path))
    if pytestconfig.getoption("--rewrite-cases"):
        rewrite(path, ran)
    else:
        assert case["expect"]["exit"] == ran.code, ran.stderr
        assert case["expect"]["stdout"] == ran.stdout
        assert case["expect"]["stderr"] == ran.stderr
    for written, text in case.get("output", {}).items():
        assert text == (tmp_path / written).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_case_says_why_it_is_there(name: str) -> None:
    case = tomllib.loads((CASES / f"{name}.toml").read_text())
    assert len(case["why"].split()) >= 3
    known = {"why", "args", "inputs", "stdin", "before", "unreadable", "env", "files", "output", "expect"}
    assert case.keys() <= known
    assert "internal error" not in case["expect"]["stderr"]
    assert "Traceback" not in case["expect"]["stderr"]
