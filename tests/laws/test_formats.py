"""What holds for every dialect: it claims its own, reads every field, never raises, and chunks do not matter."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats import DIALECTS, claimant
from llmmon.formats.accounting import Accounting
from tests.support.log_samples import FOLDER, SAMPLES, calls, dialect_of, objects, plan, read

HOME_MADE = {"generic", "llmmon", "wrapped"}
JSON_SAMPLES = sorted(name for name, path in SAMPLES.items() if path.suffix != ".csv")
LINE_SAMPLES = sorted(name for name, path in SAMPLES.items() if path.suffix == ".jsonl")
# records that stand in a sample of another dialect: error replies of a provider, which say nothing of a log
GUESTS = {
    "codex_exec": {"codex_exec", "api_error"},
    "qwen_code": {"qwen_code", "claude_code"},
    "claude_code_error": {"claude_code_error", "claude_code"},
    "anthropic": {"api_error"},
    "gemini": {"api_error"},
    "openai_chat": {"api_error"},
}
# samples whose records stand inside an envelope
WRAPPING = {"openrouter": "data"}


def test_every_dialect_has_a_sample() -> None:
    assert {dialect_of(name) for name in SAMPLES} == {*DIALECTS, *HOME_MADE}


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_table_names_a_dialect_and_the_keys_of_its_marks(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.name == name
    for mark in dialect.marks:
        keys = tuple(test.key for test in mark)
        assert dialect in DIALECTS.possible(keys), f"the row of {name} in formats.DIALECTS lacks {' '.join(keys)!r}"


def test_objects_of_no_known_keys_import_no_dialect() -> None:
    script = (
        "import sys\nfrom llmmon.formats import claimant\nclaimant({'model': 'm', 'timestamp': 1, 'cost_usd': 2})\n"
    )
    script += "print(*(name for name in sys.modules if name.startswith('llmmon.formats.dialects.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("sample", JSON_SAMPLES)
def test_a_record_is_claimed_by_its_own_dialect_and_no_other(sample: str) -> None:
    own = dialect_of(sample)
    for found in objects(sample):
        record = found.get(WRAPPING.get(sample, ""), found)
        claiming = {dialect.name for dialect in DIALECTS.values() if dialect.claims(record)}
        if own in HOME_MADE:
            assert claiming == set()
        else:
            assert claiming == {own} or claiming <= GUESTS.get(own, set())
            assert claimant(record) is next(dialect for dialect in DIALECTS.values() if dialect.name in claiming)


@pytest.mark.parametrize("sample", sorted(SAMPLES))
def test_a_sample_reads_as_expected(sample: str, request: pytest.FixtureRequest) -> None:
    columns, accounting = read(SAMPLES[sample].read_bytes())
    found = {"accounting": accounted(accounting), "calls": calls(columns)}
    golden = FOLDER / "expected" / f"{sample}.json"
    if request.config.getoption("--rewrite-cases"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert json.loads(golden.read_text(encoding="utf-8")) == found


def accounted(accounting: Accounting) -> dict[str, Any]:
    names = ("lines", "blank", "used", "skipped", "rejected", "samples", "dialects")
    return {name: getattr(accounting, name) for name in names}


@pytest.mark.parametrize("sample", sorted(SAMPLES))
@given(data=st.data())
def test_chunks_do_not_matter(sample: str, data: st.DataObject) -> None:
    content = SAMPLES[sample].read_bytes() * 3 if SAMPLES[sample].suffix == ".jsonl" else SAMPLES[sample].read_bytes()
    how = plan(content)
    ends = [at + 1 for at, sign in enumerate(content) if sign == 10] if how.layout.splittable else range(len(content))
    cuts = sorted(data.draw(st.sets(st.sampled_from(list(ends)), max_size=9)))
    chunks = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    whole, whole_accounting = read(content, how)
    pieces, accounting = read(content, how, chunks)
    assert calls(whole) == calls(pieces)
    assert whole_accounting == accounting


def adds_up(accounting: Accounting) -> bool:
    return accounting.lines == accounting.blank + accounting.used + accounting.skipped + accounting.rejected


ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, 1e300, -(2**40), 2**53, 2**70, 1_780_300_800, 1_780_300_800_123),
    *("", " ", "0", "12", "-3.5", "nan", "true", "ok", "error", "429", "HTTP 500", "1.5s", "2026-02-30", "\x00", "é"),
    *("2026-03-14T09:17:00Z", "2026-03-14 09:17:00.123456789", '{"a": 1}', "[1]", "{", "gpt-5"),
    *([], {}, [1], [None], [{}], {"a": 1}, {"error": {}}, {"usage": {"prompt_tokens": "7"}}, ["stop"], [[[]]]),
]


def mutated(sample: str, seed: int) -> bytes:
    """A sample's lines with values replaced, keys removed, added and repeated, and bytes damaged."""
    dice = random.Random(seed)  # noqa: S311  # test data
    found = []
    for line in SAMPLES[sample].read_bytes().splitlines() * 2:
        row = orjson.loads(line)
        for _ in range(dice.randrange(4)):
            mutate(dice, row)
        text = json.dumps(row, ensure_ascii=dice.random() < 0.5)
        if dice.random() < 0.1 and row:
            key, value = json.dumps(dice.choice(sorted(row))), json.dumps(dice.choice(ODD))
            text = f"{text[:-1]}, {key}: {value}}}"
        raw = text.encode("utf-8", "replace")
        if dice.random() < 0.1:
            at = dice.randrange(len(raw))
            raw = raw[:at] + dice.randbytes(dice.randrange(4)) + raw[at + dice.randrange(4) :]
        found.append(raw.replace(b"\n", b" "))
        if dice.random() < 0.05:
            found += dice.choice(
                [[b""], [b"   "], [b"[1, 2]"], [b"{}"], [raw + raw, b""], [b"2026-03-14 09:17:00 x " + raw]]
            )
    return b"\n".join(found) + dice.choice([b"", b"\n", b"\r\n", b"\n\n"])


def mutate(dice: random.Random, row: Any) -> None:
    """Change one value somewhere in an object."""
    while isinstance(row, (dict, list)) and row:
        keys: list[Any] = sorted(row) if isinstance(row, dict) else list(range(len(row)))
        key = dice.choice(keys)
        if isinstance(row[key], (dict, list)) and row[key] and dice.random() < 0.7:
            row = row[key]
            continue
        change = dice.randrange(6)
        if change == 0 and isinstance(row, dict):
            del row[key]
        elif change == 1 and isinstance(row, dict):
            added = dice.choice(["model", "usage", "error", "message", "data", "status", "x", "prompt"])
            row[added] = copy.deepcopy(dice.choice(ODD))
        else:
            row[key] = copy.deepcopy(dice.choice(ODD))
        return


SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("sample", LINE_SAMPLES)
@given(seed=SEEDS, forced=st.sampled_from([None, *DIALECTS]), naive=st.sampled_from(["UTC", "Europe/Berlin"]))
def test_damaged_lines_never_raise_and_always_add_up(sample: str, seed: int, forced: str | None, naive: str) -> None:
    content = mutated(sample, seed)
    how = plan(content, dialect=forced, tags=("env",), naive=naive)
    _, accounting = read(content, how)
    assert adds_up(accounting)


@pytest.mark.parametrize("sample", LINE_SAMPLES)
@given(seed=SEEDS)
def test_damaged_lines_read_the_same_whatever_the_chunks(sample: str, seed: int) -> None:
    """The typed decoder may take a chunk whole, a line, or nothing: the calls are the same."""
    content = mutated(sample, seed)
    how = plan(SAMPLES[sample].read_bytes())
    whole, accounting = read(content, how)
    each, one_by_one = read(content, how, content.splitlines(keepends=True) if b"\r" not in content else None)
    assert calls(whole) == calls(each)
    assert accounting == one_by_one


@pytest.mark.parametrize("sample", [name for name in LINE_SAMPLES if plan(SAMPLES[name].read_bytes()).typed])
@given(seed=SEEDS)
def test_the_typed_decoder_agrees_with_the_plain_one(sample: str, seed: int) -> None:
    content = mutated(sample, seed)
    how = plan(SAMPLES[sample].read_bytes())
    typed, accounting = read(content, how)
    plain, plain_accounting = read(content, msgspec.structs.replace(how, typed=False))
    assert calls(typed) == calls(plain)
    accounting.met = plain_accounting.met  # what fits the typed decoder is not looked at line by line
    assert accounting == plain_accounting


@given(content=st.binary(max_size=400), forced=st.sampled_from([None, "otlp", "litellm", "codex", "generic"]))
def test_any_bytes_are_survived(content: bytes, forced: str | None) -> None:
    _, accounting = read(content, plan(content, dialect=forced))
    assert adds_up(accounting)


@given(content=st.text('[]{}",:\\ \n1a', max_size=80))
def test_any_documents_are_survived_whatever_the_chunks(content: str) -> None:
    data = ("[" + content).encode()
    how = plan(data)
    _, accounting = read(data, how)
    assert adds_up(accounting)
    if not how.layout.splittable:
        assert accounting == read(data, how, [data[i : i + 1] for i in range(len(data))])[1]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_dialect_that_remembers_says_that_it_cannot_be_split(name: str) -> None:
    dialect = DIALECTS[name]
    if dialect.open is not None and dialect.splittable:
        assert dialect.open() is dialect.open() or _forgets(name)


def _forgets(name: str) -> bool:
    """Whether a line reads the same after others as on its own."""
    samples = [sample for sample in LINE_SAMPLES if dialect_of(sample) == name]
    return all(
        calls(read(SAMPLES[sample].read_bytes())[0])
        == [
            call
            for line in SAMPLES[sample].read_bytes().splitlines(keepends=True)
            for call in calls(read(line, plan(SAMPLES[sample].read_bytes()))[0])
        ]
        for sample in samples
    )
