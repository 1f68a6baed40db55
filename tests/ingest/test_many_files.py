"""Many small files of one kind are read together, and each as if it were read alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reader import typed_decoders
from llmmon.formats.small_files import BatchReader, which_fit
from tests.conftest import Run

FILES = 12


def line(file: int, number: int, **more: Any) -> dict[str, Any]:
    """A line of a coding agent's session: a question first, then its answer."""
    name = f"{file}-{number}"
    common = {
        "sessionId": f"session-{file}",
        "uuid": f"uuid-{name}",
        "timestamp": f"2026-03-02T10:{file:02}:{number:02}Z",
    }
    if number % 2 == 0:
        return {**common, "type": "user", "message": {"role": "user", "content": "Go on."}, **more}
    usage = {"input_tokens": 100 + file, "output_tokens": 10 + number}
    message = {"id": f"msg-{name}", "model": "claude-sonnet-4-5", "role": "assistant", "content": [], "usage": usage}
    return {**common, "type": "assistant", "requestId": f"req-{name}", "message": message, **more}


def write(folder: Path, file: int, *extra: str) -> None:
    lines = [json.dumps(line(file, number), separators=(",", ":")) for number in range(6)]
    (folder / f"{file:02}.jsonl").write_text("\n".join([*lines, *extra]) + "\n")


def test_the_calls_of_all_files_count_once_and_the_lines_add_up(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for file in range(FILES):
        write(tmp_path / "logs", file)
    found = json.loads(run("summarize", "logs", "-f", "json").stdout)
    assert found["source"]["lines"] == FILES * 6
    assert (found["source"]["used"], found["source"]["skipped"]) == (FILES * 3, FILES * 3)
    assert found["source"]["dialects"] == {"claude_code": FILES * 6}
    totals = found["data"]["totals"]
    assert totals["request_count"] == FILES * 3
    assert totals["prompt_tokens"] == sum(3 * (100 + file) for file in range(FILES))


def test_each_call_is_placed_in_its_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for file in range(FILES):
        write(tmp_path / "logs", file)
    rows = json.loads(run("requests", "logs", "-f", "json", "--limit", "0").stdout)["data"]["requests"]
    places = {(row["request_id"], Path(row["file"]).name, row["line"]) for row in rows}
    assert places == {(f"msg-{f}-{n}", f"{f:02}.jsonl", n + 1) for f in range(FILES) for n in (1, 3, 5)}


def test_a_broken_line_and_a_file_of_another_kind_are_found_among_them(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for file in range(FILES):
        write(tmp_path / "logs", file, *(['{"sessionId": "cut'] if file == 7 else []))
    other = {"timestamp": "2026-03-02T11:00:00Z", "model": "gpt-4o", "prompt_tokens": 5, "completion_tokens": 2}
    (tmp_path / "logs" / "05b.jsonl").write_text(json.dumps(other) + "\n")
    source = json.loads(run("summarize", "logs", "-f", "json").stdout)["source"]
    assert (source["requests"], source["rejected"]) == (FILES * 3 + 1, 1)
    assert [(Path(each["file"]).name, each["line"]) for each in source["first_rejects"]] == [("07.jsonl", 7)]


def test_one_file_or_all_of_them_give_the_same_calls(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "whole").mkdir()
    for file in range(FILES):
        write(tmp_path / "logs", file)
    texts = [path.read_text() for path in sorted((tmp_path / "logs").iterdir())]
    (tmp_path / "whole" / "all.jsonl").write_text("".join(texts))
    many, one = (json.loads(run("summarize", folder, "-f", "json").stdout) for folder in ("logs", "whole"))
    assert many["data"] == one["data"]


ODD: Final[dict[str, Callable[[str], str]]] = {
    "without-a-last-newline": lambda text: text.rstrip("\n"),
    "with-returns": lambda text: text.replace("\n", "\r\n"),
    "with-blank-lines": lambda text: text.replace("\n", "\n\n"),
    "indented": lambda text: " " + text,
    "empty": lambda text: text[:0],
    "cut": lambda text: text[:-40] + "\n",
    "two-on-a-line": lambda text: text.replace("}\n{", "}{", 1),
    "without-calls": lambda text: text.splitlines()[0] + "\n",
}


def test_odd_files_among_others_are_accounted_for_as_if_each_were_alone(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for file in range(FILES):
        write(folder, file)
    for number, (name, change) in enumerate(ODD.items()):
        write(folder, FILES + number)
        path = folder / f"{FILES + number:02}.jsonl"
        path.write_bytes(change(path.read_text()).encode())
        path.rename(folder / f"{number:02}-{name}.jsonl")
    counts = ("lines", "blank", "used", "skipped", "rejected")
    together = json.loads(run("summarize", "logs", "-f", "json").stdout)["source"]
    alone = dict.fromkeys(counts, 0)
    for path in sorted(folder.iterdir()):
        source = json.loads(run("summarize", str(path), "-f", "json").stdout or "{}").get("source", {})
        for name in counts:
            alone[name] += source.get(name, 0)
    without_calls = 1  # the one line of a file that is no log by itself
    alone["lines"] += without_calls
    alone["skipped"] += without_calls
    assert {name: together[name] for name in counts} == alone
    assert together["lines"] == sum(together[name] for name in counts[1:])


def test_files_are_decoded_together_where_all_their_lines_are_of_one_kind(tmp_path: Path) -> None:
    for file in range(FILES):
        write(tmp_path, file)
    contents = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    plan = plan_for(contents[0], Wanted(frozenset({"timestamp", "model", "prompt_tokens"})))
    assert which_fit(plan, typed_decoders(plan), contents) == [True] * FILES
    assert which_fit(plan, typed_decoders(plan), [*contents, b'{"a": 1}\n', b""]) == [*[True] * FILES, False, False]
    firsts = [1000 * file for file in range(FILES)]
    together, alone = BatchReader(plan, Interners()), BatchReader(plan, Interners())
    accounts = together.read_files(contents, firsts)
    for first, content, account in zip(firsts, contents, accounts or [], strict=True):
        alone.go_on(first)
        assert alone.feed(content) is None
        assert alone.accounting == account
    one, other = together.flush().columns, alone.flush().columns
    assert one.size == other.size == FILES * 3
    assert one.positions is not None
    assert other.positions is not None
    assert one.positions.tolist() == other.positions.tolist()
    assert one.timestamp.tolist() == other.timestamp.tolist()
    assert BatchReader(plan, Interners()).read_files([*contents, b'{"a": 1}\n'], [*firsts, 99_000]) is None
