"""Logs of HTTP servers: by ranges where the server gives them, else fetched once, onto the disk.

A body is bounded in size and has to keep coming, so that no server can fill the memory or hold a command up for ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import IO, Final, NamedTuple

from llmmon.http_client import Download, download

_REPLACED: Final = "it was replaced while it was read"
_SILENCE_S: Final = 30.0
_STATUSES: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "permission denied",
    HTTPStatus.FORBIDDEN: "permission denied",
    HTTPStatus.NOT_FOUND: "no such file",
    HTTPStatus.GONE: "no such file",
}
_MOST_BODY_BYTES: Final = 1 << 30  # of a server that gives no ranges
_LEAST_A_SECOND: Final = 1 << 10


class _Body(NamedTuple):
    """A whole file of a server that gives no ranges, on the disk without a name; and what told its version."""

    file: IO[bytes]
    size: int
    version: tuple[str, ...]


_bodies: dict[str, _Body] = {}


def size_of(url: str) -> int:
    """Bytes of a file, which is fetched whole where its server gives no ranges; raises `OSError`."""
    with _answered(url, 0, 1) as reply:
        if reply.status != HTTPStatus.PARTIAL_CONTENT:
            return _whole(url, reply).size
        total = reply.headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit():
            raise OSError(errno.EIO, "its size is not known")
        return int(total)


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of a file; raises `OSError`."""
    if (body := _bodies.get(url)) is None:
        with _answered(url, start, end) as reply:
            if reply.status == HTTPStatus.PARTIAL_CONTENT:
                data = b"".join(_bounded(reply, end - start))
                if len(data) != end - start or not reply.headers.get("content-range", "").startswith(f"bytes {start}-"):
                    raise OSError(errno.EIO, _REPLACED)
                return data
            body = _whole(url, reply)
    data = os.pread(body.file.fileno(), end - start, start)
    if len(data) != end - start:
        raise OSError(errno.EIO, _REPLACED)
    return data


@contextlib.contextmanager
def _answered(url: str, start: int, end: int) -> Iterator[Download]:
    """A reply that has a body; raises `OSError`. An empty file has no range, so that all of it is asked for then."""
    for headers in ({"Range": f"bytes={start}-{end - 1}"}, {}):
        with download(url, headers, _SILENCE_S) as reply:
            if reply.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers and not start:
                continue
            if reply.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise OSError(errno.EIO, _STATUSES.get(reply.status, f"the server answered {reply.status}"))
            yield reply
            return


def _whole(url: str, reply: Download) -> _Body:
    """The file of a reply without a range: on the disk from now on, unless this version is there already."""
    version = tuple(reply.headers.get(name, "") for name in ("etag", "last-modified", "content-length"))
    known = _bodies.get(url)
    if known is not None and any(version[:2]) and known.version == version:
        return known
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as this process
    try:
        for piece in _bounded(reply, _MOST_BODY_BYTES):
            file.write(piece)
        file.flush()
    except BaseException:
        file.close()
        raise
    if known is not None:
        known.file.close()
    _bodies[url] = _Body(file, file.tell(), version)
    return _bodies[url]


def _bounded(reply: Download, most: int) -> Iterator[bytes]:
    """The pieces of a body; raises `OSError` for one that is too large, or comes so slowly that it may never end."""
    begun, size = time.monotonic(), 0
    for piece in reply.pieces:
        size += len(piece)
        if size > most:
            what = f"larger than {most >> 20:,} MiB, and its server gives no ranges"
            raise OSError(errno.EIO, what if most == _MOST_BODY_BYTES else _REPLACED)
        if (lasted := time.monotonic() - begun) > _SILENCE_S and size < lasted * _LEAST_A_SECOND:
            raise OSError(errno.EIO, f"it comes too slowly: {size:,} bytes in {lasted:.0f} s")
        yield piece
