"""Check posted calls and metric samples, and turn them into lines of the log: all of a body or nothing of it.

The shapes come from `record.FIELDS`. Unknown keys are refused, because a text under a name that is not known could
not be left out; labels of one's own go under `tags`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Request
from msgspec import Meta
from starlette.requests import ClientDisconnect

from llmmon.live.server.settings import Fault, Limits, RefusedError
from llmmon.metrics.record import FIELDS, TEXTS, Field, FieldKind, Status
from llmmon.metrics.recording import MetricType
from llmmon.text.names import nearest

_LINES: Final = frozenset(
    {"application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines"}
)
_JSON: Final = frozenset({"application/json", ""})


class RequestBodies:
    """Receives request bodies; the size of all that are in flight is limited, too."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._in_flight = 0

    async def receive(self, request: Request, *, protobuf: bool = False) -> tuple[bytes, bool]:
        """The bytes of a JSON body, unpacked, and whether it has one object a line; raises `RefusedError`.

        A body of `protobuf` may be empty.
        """
        lines = not protobuf and _is_lines(request)
        is_gzip = _is_gzip(request)
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._limits.body:
            raise self._too_large()
        data = await self._collect(request)
        if is_gzip:
            data = self._unpacked(data)
        if not data.strip() and not protobuf:
            raise RefusedError(400, "the body is empty")
        return data, lines

    async def _collect(self, request: Request) -> bytes:
        taken: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for piece in _pieces(request):
                    size += len(piece)
                    self._in_flight += len(piece)
                    taken.append(piece)
                    if size > self._limits.body:
                        raise self._too_large()
                    if self._in_flight > self._limits.in_flight:
                        raise RefusedError(429, "too many bodies at once", hint="send it again later", retry_after="1")
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time", connection="close") from None
        finally:
            self._in_flight -= size
        return b"".join(taken)

    def _unpacked(self, data: bytes) -> bytes:
        """The content of all gzip members (RFC 1952, 2.2: a file is one member after another)."""
        found = bytearray()
        while data:
            unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                found += unpack.decompress(data, self._limits.body + 1 - len(found))
            except zlib.error as error:
                raise RefusedError(400, f"the body is not gzip: {error}") from None
            if len(found) > self._limits.body:
                raise self._too_large()
            if not unpack.eof:
                raise RefusedError(400, "the body is not gzip: it is cut off")
            data = unpack.unused_data
        return bytes(found)

    def _too_large(self) -> RefusedError:
        most = f"{self._limits.body:,} bytes"
        return RefusedError(413, f"the body is larger than {most}", hint="send fewer items at once", connection="close")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise RefusedError(400, "the body was cut off") from None


def _is_lines(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _LINES:
        return True
    if kind in _JSON:
        return False
    raise RefusedError(
        415,
        f"the body's type is {kind[:100]!r}, not JSON",
        hint="Content-Type: application/json, or application/x-ndjson for one object a line",
    )


def _is_gzip(request: Request) -> bool:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"gzip", "x-gzip"}:
        return True
    if coding == "identity":
        return False
    raise RefusedError(415, f"the body's encoding is {coding[:100]!r}", hint="send it as gzip, or as it is")


MOST_FAULTS: Final = 20
_AHEAD_S: Final = 3600.0
_MOST_TAGS: Final = 4000  # characters of a sample's tags: the last sample of each series is kept
EVIDENCE: Final = ("model", "latency_ms", "total_tokens", "prompt_tokens", "completion_tokens", "quality_score")
_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Label = Annotated[str, Meta(max_length=1000)]
Scalar = Label | int | float | bool | None
_Tags = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=100)], Scalar], Meta(max_length=64)]
_Moment = Annotated[
    datetime | float | None, Meta(description="RFC 3339, or seconds since 1970; when it is received, if missing")
]
_Count = Annotated[int, Meta(ge=0, le=10**12)] | Annotated[float, Meta(ge=0, le=1e12, multiple_of=1)]
_TAGS: Final = ("tags", Annotated[_Tags | None, Meta(description="labels of your own")], None)


def _kind_of(field: Field) -> Any:
    text = Meta(description=field.help)
    match field.kind:
        case FieldKind.TIME:
            return _Moment
        case FieldKind.TEXT:
            return Annotated[Any, text]
        case FieldKind.NAME if field.name == "status":
            return Annotated[Literal[tuple(s.value for s in Status)] | None, text]
        case FieldKind.NAME:
            return Annotated[Annotated[str, Meta(max_length=_LONGER.get(field.name, 1000))] | None, text]
        case FieldKind.NUMBER if field.name == "cache_hit":
            return Annotated[bool | None, text]
        case FieldKind.NUMBER if field.scale == 1:
            return Annotated[_Count | None, text]
        case FieldKind.NUMBER:
            most = 1.0 if field.name == "quality_score" else 1e9
            return Annotated[Annotated[float, Meta(ge=0, le=most)] | None, text]


_LONGER: Final = {"error_message": 10_000}

Call: Any = msgspec.defstruct(
    "Call",
    [
        *((field.name, _kind_of(field), None) for field in FIELDS.values()),
        ("success", Annotated[bool | None, Meta(description="the same as status, as a flag")], None),
        _TAGS,
    ],
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
)
Call.__doc__ = "One call: any of the record's fields, at least a model, tokens, a latency or a quality score."


class MetricRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One value of a metric; `type` follows from the name where it is not given."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    value: float
    type: Literal["latency", "tokens", "cost", "error", "quality", "throughput"] | None = None
    timestamp: _Moment = None
    tags: _Tags | None = None


class Taken(msgspec.Struct):
    """A body that was accepted: its items, what names each (`b""`: nothing), how many texts were left out of them."""

    items: list[Any]
    identities: list[bytes]
    texts_dropped: int = 0

    def lines(self, new: Sequence[bool]) -> bytes:
        """The lines of the items that are new."""
        return _ENCODER.encode_lines(self.items if all(new) else list(compress(self.items, new)))


class Shape(msgspec.Struct, frozen=True):
    """Decoders of one kind of item, alone or many at once; `settle` completes an item or says what is wrong."""

    one: msgspec.json.Decoder[Any]
    whole: msgspec.json.Decoder[Any]
    keys: tuple[str, ...]
    settle: Callable[[Any, datetime], str | None]

    @classmethod
    def of(cls, kind: Any, settle: Callable[[Any, datetime], str | None]) -> Shape:
        """The shape of a struct."""
        decoders = msgspec.json.Decoder(kind), msgspec.json.Decoder(kind | list[kind])
        return cls(*decoders, kind.__struct_fields__, settle)


def _settle_call(call: Any, now: datetime) -> str | None:
    if all(getattr(call, name) is None for name in EVIDENCE):
        return "nothing of a call: give a model, tokens, latency_ms or quality_score"
    if call.timestamp is None:
        call.timestamp = now
        return None
    return _time_fault(call.timestamp, now)


def _settle_sample(sample: MetricRequest, now: datetime) -> str | None:
    sample.type = sample.type or type_called(sample.name)
    tags = {name: _text(value) for name, value in (sample.tags or {}).items() if value is not None}
    sample.tags = dict(tags)
    if sum(len(name) + len(value) for name, value in tags.items()) > _MOST_TAGS:
        return f"tags: longer than {_MOST_TAGS:,} characters together; they name a series, and hold no texts"
    if sample.timestamp is None:
        sample.timestamp = now
        return None
    return _time_fault(sample.timestamp, now)


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _time_fault(stamp: datetime | float, now: datetime) -> str | None:
    """Times that cannot be: they would be read as none."""
    if isinstance(stamp, datetime):
        try:
            stamp = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError):
            return "timestamp: out of range"
    if 0 < stamp <= now.timestamp() + _AHEAD_S:
        return None
    return "timestamp: lies more than an hour ahead" if stamp > 0 else "timestamp: lies before 1970"


_KINDS: Final = (("latency", "latency"), ("token", "tokens"), ("cost", "cost"), ("error", "error"), ("quality",) * 2)


def type_called(name: str) -> Any:
    """The type of a metric by its name."""
    return next((kind for part, kind in _KINDS if part in name), MetricType.THROUGHPUT.value)


CALLS: Final = Shape.of(Call, _settle_call)
SAMPLES: Final = Shape.of(MetricRequest, _settle_sample)
_ENCODER: Final = msgspec.json.Encoder()
_SORTED: Final = msgspec.json.Encoder(order="sorted")


def identity_of(item: Any, shape: Shape, *, by_id: bool = False) -> bytes:
    """What a call with a `request_id` (with `by_id` this alone), or a sample with a time, is known by; else `b""`."""
    if shape is SAMPLES:
        return b"" if item.timestamp is None else _hashed(_SORTED.encode(item))
    if item.request_id is None:
        return b""
    return _hashed(item.request_id.encode() if by_id else _undated(item))


def _undated(item: Any) -> bytes:
    """What an item holds but for its time, which may be that of its arrival."""
    timestamp, item.timestamp = item.timestamp, None
    found = _SORTED.encode(item)
    item.timestamp = timestamp
    return found


def _hashed(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def taken(
    body: bytes, shape: Shape, *, lines: bool, keep_text: bool = False, by_id: bool = False, key: str = ""
) -> Taken:
    """A body of one item, an array of them, or with `lines` one a line; raises `RefusedError` naming all faults.

    `key` names the request: with it, items without an identity of their own have one by their place.
    """
    try:
        found = shape.one.decode_lines(body) if lines else shape.whole.decode(body)
    except msgspec.ValidationError:
        found = _each(body, shape, lines=lines)
    except _MALFORMED as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None
    items = found if isinstance(found, list) else [found]
    now = datetime.now(UTC)
    timed = [getattr(item, "timestamp", None) is not None for item in items]
    faults = [(at, fault) for at, item in enumerate(items) if (fault := shape.settle(item, now)) is not None]
    if faults:
        raise _refused([_fault(text, at if isinstance(found, list) else None) for at, text in faults], len(items))
    dropped = 0 if keep_text or shape is SAMPLES else sum(map(_without_texts, items))
    named = [b"" if shape is SAMPLES and not stamp else identity_of(item, shape, by_id=by_id)
             for item, stamp in zip(items, timed, strict=True)]  # fmt: skip
    if key:
        named = [one or _hashed(f"{at} {key} ".encode() + _undated(items[at])) for at, one in enumerate(named)]
    return Taken(items, named, dropped)


def _without_texts(call: Any) -> int:
    dropped = 0
    for name in TEXTS:
        if getattr(call, name) is not None:
            setattr(call, name, None)
            dropped += 1
    return dropped


def _each(body: bytes, shape: Shape, *, lines: bool) -> list[Any]:
    """Item by item, to name what is wrong with each."""
    single = not lines and not body.lstrip().startswith(b"[")
    raw: Sequence[Any] = [body]
    if lines:
        raw = [line for line in body.split(b"\n") if line.strip()]
    elif not single:
        try:
            raw = msgspec.json.decode(body, type=list[msgspec.Raw])
        except _MALFORMED as error:
            raise RefusedError(400, f"the body is not JSON: {error}") from None
    found, faults = [], []
    for at, one in enumerate(raw):
        try:
            found.append(shape.one.decode(one))
        except _MALFORMED as error:
            faults.append(_fault(_explained(str(error), shape), None if single else at))
    if faults:
        raise _refused(faults, len(raw))
    return found


def _explained(text: str, shape: Shape) -> str:
    strange = re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL)
    if strange:
        guess = nearest(strange[1], shape.keys)
        advice = f"did you mean {guess}?" if guess else "labels of your own go under tags"
        return f"{strange[1][:100]}: unknown key, {advice}"
    found = re.fullmatch(r"(.*) - at `\$(?:\.(.*))?`", text, re.DOTALL)
    return f"{found[2]}: {found[1]}" if found and found[2] else text


def _fault(text: str, item: int | None) -> Fault:
    field, colon, rest = text.partition(": ")
    if not colon or " " in field:
        return Fault(text, item)
    return Fault(rest, item, field)


def _refused(faults: list[Fault], size: int) -> RefusedError:
    many = f"{len(faults):,} of {size:,} items are" if size > 1 else "it is"
    return RefusedError(422, f"nothing was recorded: {many} not as they must be", items=tuple(faults[:MOST_FAULTS]))
