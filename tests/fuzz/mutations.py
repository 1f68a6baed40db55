"""Damage to logs: each mutation takes the bytes of a log and gives other bytes, decided by a `random.Random` alone."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import zstandard

from llmmon.cli.init import template

SAMPLES: Final = Path(__file__).parents[1] / "samples"
Mutation = Callable[[bytes, Random], bytes]

_VALUES: Final = (
    *(b"null", b"true", b"{}", b"[]", b'""', b"0", b"-1", b"-0.0", b"1e308", b"-1e400", b"1e-400", b"NaN", b"Infinity"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"9" * 400),
    *(b"0.1" + b"0" * 300 + b"1", b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\x1b[2J\x07"'),
    *(b'"2026-13-45T99:99:99Z"', b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:59.999999999Z"', b'"1970"', b"1e18"),
    *(b'"' + b"a" * 5000 + b'"', b'{"a":' * 50 + b"1" + b"}" * 50, b'[{"type":"text","text":null}]', b'"=cmd()"'),
    *(b'"[bold]x"', b'"<script>"', b'"None"', b'"nan"', b'"1,5"', b'"0x1F"', b'" "', b"[[[]]]", b'{"": {"": ""}}'),
)
_DEEP: Final = (10, 200, 1_000, 3_000, 100_000)


def samples() -> dict[str, bytes]:
    """The logs to begin with, by name: small ones of every dialect."""
    found = {path.name: path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.is_file()}
    return {name: _first_lines(content) for name, content in found.items()}


def configurations() -> dict[str, bytes]:
    """The configurations to begin with, by name: what `init` writes, all of it in use, and that of the sample logs."""
    commented = re.compile(r"# (?=[a-z_]+ = |\[)")
    every = "\n".join(commented.sub("", line) for line in template().splitlines())
    sample = (SAMPLES.parents[1] / "sample_logs" / "llmmon.toml").read_bytes()
    return {"llmmon.toml": template().encode(), "every.toml": every.encode(), "sample.toml": sample}


def _first_lines(content: bytes, most: int = 24_000) -> bytes:
    return content if len(content) <= most else content[: content.rfind(b"\n", 0, most) + 1] or content[:most]


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.8 else data[at:]


def _chunk(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 3, 30, 300, 3000)))


def _delete(data: bytes, rng: Random) -> bytes:
    start, end = _chunk(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, end = _chunk(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 20)) + data[end:]


def _lines_shuffled(data: bytes, rng: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines[: rng.randrange(len(lines) + 1)])


def _value(data: bytes, rng: Random) -> bytes:
    """Another value behind one of the colons or commas."""
    places = [at for at, sign in enumerate(data) if sign in b":,"]
    for _ in range(rng.choice((1, 1, 3, 10))):
        if not places:
            break
        at = places.pop(rng.randrange(len(places))) + 1
        end = min((found for sign in b",}\n" if (found := data.find(bytes([sign]), at)) >= 0), default=len(data))
        data = data[:at] + rng.choice(_VALUES) + data[end:]
        places = [place for place in places if place < at]
    return data


def _object(data: bytes, rng: Random) -> bytes:
    """One line's object changed as an object: values of other types, keys gone, keys moved."""
    lines = data.splitlines()
    if not lines:
        return data
    at = rng.randrange(len(lines))
    try:
        found = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _flip(data, rng)
    lines[at] = json.dumps(_changed(found, rng)).encode()
    return b"\n".join(lines) + b"\n"


def _changed(value: Any, rng: Random, depth: int = 0) -> Any:
    odd = (None, True, 0, -1, 1e300, 2**70, "", "x", [], {}, [None], {"a": None}, "2026-01-01", -5.5, [1, "a", {}])
    if depth > 6 or rng.random() < 0.08:
        return rng.choice(odd)
    if isinstance(value, dict):
        kept = {k: _changed(v, rng, depth + 1) for k, v in value.items() if rng.random() > 0.03}
        return kept if rng.random() > 0.02 else {**kept, rng.choice(list(kept) or ["a"]): rng.choice(odd)}
    if isinstance(value, list):
        return [_changed(item, rng, depth + 1) for item in value for _ in range(rng.choice((1, 1, 1, 1, 0, 2)))]
    return value


def _splice(data: bytes, rng: Random) -> bytes:
    other = rng.choice(list(samples().values()))
    start, cut = rng.randrange(len(other) + 1), rng.randrange(len(data) + 1)
    if rng.random() < 0.5:
        return data + other
    return data[:cut] + other[start : start + 4000] + data[cut:]


def _nest(data: bytes, rng: Random) -> bytes:
    depth = rng.choice(_DEEP)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")))
    deep = opening * depth + (b"1" + closing * depth if rng.random() < 0.7 else b"")
    at = data.find(b":", rng.randrange(len(data) + 1)) + 1
    return data[:at] + deep + data[at:] if rng.random() < 0.7 else data + deep + b"\n"


def _insert(data: bytes, rng: Random) -> bytes:
    odd = (
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\\",
        b'"',
    )
    for _ in range(rng.choice((1, 2, 10))):
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice(odd) * rng.choice((1, 1, 1, 100)) + data[at:]
    return data


def _endings(data: bytes, rng: Random) -> bytes:
    return rng.choice((
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.replace(b"\n", b"\r"),
        lambda: data.replace(b"\n", b""),
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: b"[" + data.strip().replace(b"\n", b",\n") + b"]",
        lambda: data.replace(b"{", b"{\n"),
        lambda: b"2026-03-02 10:00:00,123 INFO " + data.replace(b"\n", b"\n2026-03-02 10:00:00,123 INFO "),
        lambda: b"",
        lambda: rng.randbytes(500),
    ))()  # fmt: skip


def _twice(data: bytes, rng: Random) -> bytes:
    """Keys twice in an object."""
    at = data.find(b"{", rng.randrange(len(data) + 1)) + 1
    end = data.find(b",", at)
    return data[:at] + data[at : end + 1] * 2 + data[end + 1 :] if at and end > at else data


MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(_flip, _truncate, _delete, _repeat, _lines_shuffled, _value, _value, _object, _object),
    *(_splice, _nest, _insert, _endings, _twice),
)


def damaged(logs: dict[str, bytes], rng: Random, *, packed: bool = True) -> tuple[str, bytes]:
    """A file name and content made from one of the logs by one to four mutations, at times compressed."""
    name = rng.choice(list(logs))
    data = logs[name]
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(MUTATIONS)(data, rng)[:2_000_000]
    share = rng.random() if packed else 1.0
    if share < 0.04:
        return f"{name}.gz", _flip(gzip.compress(data, 1), rng) if share < 0.02 else gzip.compress(data, 1)
    if share < 0.06:
        return f"{name}.zst", _truncate(zstandard.compress(data), rng)
    return name, data
