"""Where records lie in a file, and what stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.layouts import DocumentSplitter
from tests.support.log_samples import SAMPLES, calls_in, lines, objects, plan, read

CALL: dict[str, Any] = {"timestamp": "2026-03-14T09:17:00Z", "model": "gpt-5", "prompt_tokens": 7, "latency_ms": 90}
BARE: dict[str, Any] = {key: value for key, value in CALL.items() if key != "timestamp"}
SAME = calls_in(lines(CALL))


@pytest.mark.parametrize("indent", [None, 2])
def test_the_elements_of_an_array_count_as_lines(indent: int | None) -> None:
    data = json.dumps([CALL, 5, CALL, "x"], indent=indent).encode()
    columns, accounting = read(data)
    assert (columns.size, accounting.lines, accounting.used, accounting.rejected) == (2, 4, 2, 2)
    assert not plan(data).splittable


def test_pretty_printed_objects_one_after_the_other() -> None:
    data = "\n".join(json.dumps(each, indent=4) for each in objects("otel_console")).encode()
    assert calls_in(SAMPLES["otel_console"].read_bytes()) == calls_in(data)


def test_an_object_cut_off_does_not_take_the_next_ones_with_it() -> None:
    cut = json.dumps({**CALL, "tags": {"a": "b"}}, indent=1).removesuffix("\n}")
    data = "\n".join([json.dumps(CALL, indent=1), cut, json.dumps(CALL, indent=1)]).encode()
    columns, accounting = read(data)
    assert (columns.size, accounting.lines, accounting.rejected) == (2, 3, 1)


def test_a_rejected_element_says_where_it_begins() -> None:
    data = b"[" + json.dumps(CALL).encode() + b",\n 17]"
    (reject,) = read(data)[1].rejects
    assert (1, data.rindex(b"17")) == (reject.line, reject.byte)


def test_an_array_on_a_line_of_its_own_is_rejected() -> None:
    data = lines([CALL], CALL, CALL)
    _, accounting = read(data)
    assert (accounting.lines, accounting.used, accounting.rejected) == (3, 2, 1)
    assert plan(data).splittable


def test_a_broken_first_line_makes_no_document_of_a_log() -> None:
    _, accounting = read(b'{"timestamp": "2026-\n' + lines(CALL, CALL))
    assert (accounting.lines, accounting.used, accounting.rejected) == (3, 2, 1)


@given(texts=st.lists(st.text('a"\\{}[],:\n é', max_size=12), max_size=5), cuts=st.sets(st.integers(1, 200)))
def test_documents_come_out_as_they_went_in(texts: list[str], cuts: set[int]) -> None:
    found = [{"k": text, "n": [{"t": text}, []]} for text in texts]
    for whole in (json.dumps(found, indent=2), "\n".join(json.dumps(each, indent=1) for each in found)):
        data = whole.encode()
        splitter, elements = DocumentSplitter(), []
        ends = sorted({cut for cut in cuts if cut < len(data)})
        for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
            elements += splitter.feed(data[start:end])
        elements += splitter.finish()
        assert found == [json.loads(element) for _, element in elements]
        assert all(data[offset:].startswith(element) for offset, element in elements)


@pytest.mark.parametrize("sample", ["azure_llm_trace", "burstgpt"])
def test_csv_can_be_read_from_the_middle(sample: str) -> None:
    data = SAMPLES[sample].read_bytes()
    how = plan(data)
    assert (how.layout.kind, how.splittable) == ("csv", True)
    *_, last = data.splitlines(keepends=True)
    assert calls_in(data)[-1:] == [call for call in calls_in(data) if call in calls_in(data.splitlines(True)[0] + last)]


def test_csv_of_calls_with_quotes_and_gaps() -> None:
    data = b'timestamp,model,prompt_tokens,user\n2026-03-14T09:17:00Z,"gpt,5",7,\n2026-03-14T09:17:01Z,gpt-5\n'
    columns, accounting = read(data)
    assert (columns.name("model").texts(), columns.name("user").texts()) == (["gpt,5"], [None])
    assert (accounting.lines, accounting.skipped, accounting.used, accounting.rejected) == (3, 1, 1, 1)


def test_text_with_commas_is_no_csv() -> None:
    assert plan(b"hello, model, time\n").layout.kind == "lines"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + lines(CALL),
        lines(CALL).replace(b"\n", b"\r\n"),
        lines(CALL).removesuffix(b"\n"),
        b"\n  \n" + lines(CALL) + b"\n",
        json.dumps(json.dumps(CALL)).encode() + b"\n",
        b"2026-01-01 00:00:00,123 INFO app LLMTRACE: " + lines(CALL),
        b"data: " + lines(CALL),
        "\ufeff[\n".encode() + json.dumps(CALL).encode() + b"\n]\n",
    ],
)
def test_what_is_around_a_line_does_not_matter(data: bytes) -> None:
    assert calls_in(data) == SAME


@pytest.mark.parametrize("key", ["records", "data", "runs", "observations", "events", "logs", "items", "result"])
def test_a_list_of_records_in_an_object(key: str) -> None:
    assert calls_in(lines({key: [CALL, CALL]})) == SAME * 2


@pytest.mark.parametrize(
    "around",
    [
        {"log": json.dumps(CALL) + "\n", "stream": "stdout", "time": "2026-01-01T00:00:00Z"},
        {"@timestamp": "2026-01-01 00:00:00.000", "@message": json.dumps(CALL)},
        {"id": "1", "timestamp": 1767225600000, "message": "INFO " + json.dumps(CALL)},
        {"events": [{"timestamp": 1767225600000, "message": json.dumps(CALL)}]},
        {"insertId": "1", "timestamp": "2026-01-01T00:00:00Z", "logName": "x", "jsonPayload": CALL},
        {"text": "...", "record": {"extra": CALL, "time": {"repr": "", "timestamp": 1767225600.0}, "message": "call"}},
        {"log": json.dumps({"message": json.dumps(CALL)}), "stream": "stderr", "time": "2026-01-01T00:00:00Z"},
    ],
)
def test_envelopes(around: dict[str, Any]) -> None:
    assert calls_in(lines(around)) == SAME


@pytest.mark.parametrize(
    "around",
    [
        {"log": json.dumps(BARE), "stream": "stdout", "time": "2026-03-14T09:17:00Z"},
        {"timestamp": 1773479820000, "message": json.dumps(BARE)},
        {"timestamp": "2026-03-14T09:17:00Z", "jsonPayload": BARE},
        {"text": "...", "record": {"extra": BARE, "time": {"timestamp": 1773479820.0}}},
    ],
)
def test_an_envelope_lends_its_time(around: dict[str, Any]) -> None:
    assert calls_in(lines(around)) == SAME


def test_a_line_of_text_lends_its_time() -> None:
    assert calls_in(b"[2026-03-14 09:17:00] trace " + lines(BARE)) == SAME


def test_a_dialect_inside_an_envelope_is_still_that_dialect() -> None:
    (found, *_) = objects("bedrock")
    _, accounting = read(lines({"@message": json.dumps(found)}, {"events": [{"message": json.dumps(found)}]}))
    assert accounting.dialects == {"bedrock": 2}


def test_text_in_a_container_log_is_skipped_and_not_lost() -> None:
    text = {"log": "starting\n", "stream": "stdout", "time": "2026-03-14T09:17:00Z"}
    columns, accounting = read(lines(text, {**text, "log": json.dumps(CALL)}, text))
    assert (columns.size, accounting.lines, accounting.used, accounting.skipped) == (1, 3, 1, 2)


def test_a_message_that_is_only_text_is_a_key_like_any_other() -> None:
    assert calls_in(lines({**CALL, "message": "took {90} ms"})) == SAME


def test_a_mixed_file_is_told_apart_line_by_line() -> None:
    data = lines(CALL, *objects("litellm")[:1], *objects("otlp")[:1], CALL, *objects("helicone")[:1])
    columns, accounting = read(data)
    assert {name.replace("llmmon", "generic"): count for name, count in accounting.dialects.items()} == {
        "generic": 2,
        "litellm": 1,
        "otlp": 1,
        "helicone": 1,
    }
    positions = columns.positions
    assert positions is not None
    assert positions.tolist() == [0, 1, 2, 3, 4]


def test_a_dialect_can_be_forced() -> None:
    _, accounting = read(lines(CALL), plan(lines(CALL), dialect="helicone"))
    assert accounting.dialects == {"helicone": 1}
    data = SAMPLES["helicone"].read_bytes()
    assert "helicone" not in read(data, plan(data, dialect="generic"))[1].dialects


@pytest.mark.parametrize(
    "data",
    [
        lines(CALL).replace(b"}\n", b"},\n"),
        b"\n" + lines(CALL).replace(b"{", b",{", 1),
        lines(CALL).replace(b"}\n", b", }\n"),
        b"\x1b[32m" + lines(CALL).replace(b"\n", b"\x1b[0m\n"),
        lines(CALL).replace(b'"model"', b'\x1b[1;34m"model"\x1b[39m'),
        b"\x1b[36mINFO\x1b[0m " + lines(CALL),
        b"\0" * 300 + lines(CALL) + b"\0\0\n",
        b"\x1e" + lines(CALL),
    ],
)
def test_what_is_wrong_with_a_line_is_repaired_where_that_is_safe(data: bytes) -> None:
    assert calls_in(data) == SAME


@pytest.mark.parametrize("between", [b"", b" ", b",", b", "])
def test_several_objects_on_a_line(between: bytes) -> None:
    one = lines(CALL).strip()
    columns, accounting = read(lines(CALL) + between.join([one, one]) + b"\n")
    assert (columns.size, accounting.lines, accounting.used) == (3, 2, 2)


def test_a_line_of_utf16_among_others() -> None:
    data = lines(CALL) + lines({**CALL, "user": "Zoë"}).decode().encode("utf-16-le")
    columns, accounting = read(data)
    assert (columns.size, accounting.rejected) == (2, 0)


def test_bytes_that_are_no_utf8_are_read_as_windows_1252() -> None:
    data = b'{"model": "m", "prompt_tokens": 3, "user": "Zo\xeb \x80"}\n'
    assert read(data)[0].name("user").texts() == ["Zoë €"]


def test_a_comma_inside_a_text_stays() -> None:
    data = b'{"model": "m", "prompt_tokens": 3, "user": "a ,} b",}\n'
    assert read(data)[0].name("user").texts() == ["a ,} b"]


@pytest.mark.parametrize("line", ["{'model': 'm', 'prompt_tokens': 3}", "INFO {'model': 'm'}"])
def test_a_python_dict_is_named(line: str) -> None:
    (reject,) = read(line.encode())[1].rejects
    assert reject.reason.startswith("a Python dict, not JSON")


def test_an_object_inside_a_broken_one_is_no_record() -> None:
    _, accounting = read(b'{"model": "m", "usage": {"prompt_tokens": 3}\n')
    assert (accounting.used, accounting.rejected) == (0, 1)
