"""What was recorded before: a request that is sent again records nothing twice.

A call has the identity of its `request_id` and content, a metric sample that of its series, time and value, a span
that of its ids. Other items are counted each time, unless their request has an `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Self

import msgspec

from llmmon.live.server.intake import CALLS, SAMPLES, MetricRequest, Shape, identity_of
from llmmon.live.server.otlp import Signal, export_of
from llmmon.live.server.settings import RefusedError

_MOST: Final = 200_000  # of items, the last that came
_MOST_SAMPLES: Final = 50_000
_LOOKED_BACK: Final = 16 << 20  # bytes of the log that are read when the service starts


class Claim:
    """The items of one request: `new` says of each whether it is to be recorded."""

    def __init__(self, memory: DeliveredItems, identities: Sequence[bytes]) -> None:
        known = memory.known
        self._memory = memory
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.new = [not one or one not in known for one in identities]
        self._twins = {twin for one in identities if one and (twin := known.get(one)) is not None}
        self._claimed = [one for one, is_new in zip(identities, self.new, strict=True) if is_new and one]
        known.update(dict.fromkeys(self._claimed, self._done))

    @property
    def duplicates(self) -> int:
        """How many items were recorded before, or are being recorded."""
        return len(self.new) - sum(self.new)

    async def settle_twins(self) -> None:
        """Wait until what others are recording is on the disk; raises `RefusedError` where that failed."""
        for twin in self._twins:
            await asyncio.shield(twin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            self._memory.settle(self._claimed)
            self._done.set_result(None)
            return
        self._memory.forget(self._claimed)
        refused = error if isinstance(error, RefusedError) else RefusedError(503, "it was not recorded")
        self._done.set_exception(refused)
        self._done.exception()  # there may be no twin that asks


class DeliveredItems:
    """The identities of the last items that were recorded; those that are being recorded have a future."""

    def __init__(self, most: int = _MOST) -> None:
        self.known: dict[bytes, asyncio.Future[None] | None] = {}
        self._most = most

    def claim(self, identities: Sequence[bytes]) -> Claim:
        """Claim the items that are new; use as a context manager around what records them."""
        return Claim(self, identities)

    def settle(self, identities: Iterable[bytes]) -> None:
        """Take items as recorded."""
        self.known.update(dict.fromkeys(identities))
        for one in list(islice(self.known, max(0, len(self.known) - self._most))):
            del self.known[one]

    def forget(self, identities: Iterable[bytes]) -> None:
        """Take items as not recorded."""
        for one in identities:
            self.known.pop(one, None)

    def recall(self, log: Path, *, by_id: bool) -> list[MetricRequest]:
        """Take what the end of the log holds as recorded, and return the metric samples there.

        Lines that cannot be read are passed over.
        """
        samples: deque[MetricRequest] = deque(maxlen=_MOST_SAMPLES)
        for line in _last_lines(log):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, RefusedError):
                self.settle(filter(None, _identities_in(line, samples, by_id=by_id)))
        return list(samples)


def _identities_in(line: bytes, samples: deque[MetricRequest], *, by_id: bool) -> list[bytes]:
    """The identities of what is on a line that the service wrote."""
    if line.startswith((b'{"resourceSpans"', b'{"resourceLogs"')):
        signal: Signal = "traces" if line.startswith(b'{"resourceSpans"') else "logs"
        return export_of(line, signal, protobuf=False, now_ns=1 << 63, keep_text=True).identities
    shape: Shape = SAMPLES if b'"value":' in line and b'"name":' in line[:20] else CALLS
    item = shape.one.decode(line)
    if shape is SAMPLES:
        samples.append(item)
    return [identity_of(item, shape, by_id=by_id)]


def _last_lines(log: Path) -> Iterator[bytes]:
    """Whole lines at the end of a log and, where it was just begun, of the one before it."""
    paths = [*sorted(log.parent.glob(f"{log.name}.[0-9]*"))[-1:], log]
    left = _LOOKED_BACK
    found: list[list[bytes]] = []
    for path in reversed(paths):
        with contextlib.suppress(OSError), path.open("rb") as file:
            size = file.seek(0, 2)
            start = file.seek(max(0, size - left))
            lines = file.read(left).splitlines()
            found.append(lines[1:] if start else lines)
            left -= size - start
        if left <= 0:
            break
    for lines in reversed(found):
        yield from lines
