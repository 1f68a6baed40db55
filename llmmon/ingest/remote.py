"""Logs on object storage, named by URL: what there is, and its bytes by ranges, through fsspec (extra `remote`).

Nothing here is reached unless a URL was named. Each process opens its own connections: those of a forked worker's
parent are of no use to it. The messages of servers are not passed on, as they may hold parts of credentials.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from typing import Any, Final

from llmmon.errors import UsageError, missing_extra
from llmmon.text.patterns import lazy

_URL: Final = lazy(r"[a-zA-Z][a-zA-Z0-9+.\-]*://")
_BLOCK_BYTES: Final = 8 << 20
_FIRST_BYTES: Final = 256 << 10  # the head of a log is often all that is read of it
_CONNECT_S, _READ_S = 5, 30
_TRIES: Final = 2
_OF_EXTRA: Final = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_NO_CREDENTIALS: Final = (
    "no credentials found, as in $AWS_PROFILE, $AWS_ACCESS_KEY_ID or $GOOGLE_APPLICATION_CREDENTIALS"
)
_REASONS: Final = (  # names of exceptions of any library, and what they mean
    (("NoCredentials", "PartialCredentials", "DefaultCredentials", "TokenRetrieval"), _NO_CREDENTIALS),
    (("EndpointConnection", "ClientConnector", "ConnectionRefused"), "cannot connect to the server"),
    (("Timeout",), "timed out"),
    (("ConnectionClosed", "ServerDisconnected", "ConnectionError"), "the connection was closed"),
    (("FileNotFound", "NoSuchBucket", "NoSuchKey"), "no such file or bucket"),
    (("Permission", "AccessDenied", "Forbidden", "Unauthorized"), "permission denied"),
    (("SSL", "Certificate"), "its certificate cannot be trusted"),
)
_opened: dict[tuple[int, str], Any] = {}  # process, kind of storage -> its file system


def is_url(name: str) -> bool:
    """Whether a log is named by URL rather than by path."""
    return bool(_URL.match(name))


def expand(url: str) -> list[tuple[str, bool]]:
    """The files behind a URL, a glob or a "folder", each with whether it was found by looking into one.

    Raises `OSError` where there is nothing or it cannot be seen, `UsageError` for URLs of no known kind.
    """
    if _is_http(url) and not url.endswith("/") and not any(sign in url for sign in "*?["):
        _check(url)
        return [(url, False)]
    with _said():
        system, path = _system(url)
        if any(sign in path for sign in "*?["):
            return [(_url(url, found), False) for found in sorted(system.glob(path))]
        if not url.endswith("/") and system.isfile(path):
            return [(url, False)]
        found = sorted(system.find(path))
        if not found:
            raise FileNotFoundError(path)
        return [(_url(url, name), True) for name in found if not name.endswith("/")]


def size_of(url: str) -> int:
    """Bytes of a file; raises `OSError`."""
    if _is_http(url):
        _check(url)
        from llmmon.ingest import http_logs

        return http_logs.size_of(url)
    with _said():
        system, path = _system(url)
        size = system.info(path)["size"]
        if size is None:
            raise OSError("its size is not known")
        return int(size)


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of a file; raises `OSError`, also where it has become shorter."""
    if end <= start:
        return b""
    if _is_http(url):
        _check(url)
        from llmmon.ingest import http_logs

        return http_logs.read_range(url, start, end)
    with _said():
        system, path = _system(url)
        data = bytes(system.cat_file(path, start=start, end=end))
    if len(data) != end - start:
        raise OSError(errno.EIO, "it was replaced while it was read")
    return data


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


class Ranges:
    """A file read here and there, one block at a time: what is expected next is fetched at once."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._size = size
        self._start = 0  # of the block
        self._block = memoryview(b"")
        self._until = 0  # of what is expected

    def expect(self, end: int) -> None:
        """Note that all up to `end` will be read soon."""
        self._until = min(end, self._size)

    def read_into(self, view: memoryview, at: int) -> int:
        """Fill a buffer from an offset; how many bytes there were. Raises `OSError`."""
        wanted = min(at + len(view), self._size)
        if not self._start <= at <= wanted <= self._start + len(self._block):
            known = self._block[at - self._start :] if self._start <= at else memoryview(b"")
            end = max(wanted, min(self._until, at + _BLOCK_BYTES + _FIRST_BYTES))
            self._block = memoryview(bytes(known) + read_range(self._url, at + len(known), end))
            self._start = at
        found = self._block[at - self._start : at - self._start + len(view)]
        view[: len(found)] = found
        return len(found)

    def read(self, size: int, at: int) -> bytes:
        """Bytes from an offset; raises `OSError`."""
        taken = bytearray(max(0, min(size, self._size - at)))
        return bytes(taken[: self.read_into(memoryview(taken), at)]) if taken else b""

    def close(self) -> None:
        """Release the block."""
        self._block = memoryview(b"")


class RemoteFile(io.RawIOBase):
    """A file from its beginning to its end, in ever bigger blocks."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self._ranges = Ranges(url, size)
        self._size = size
        self._at = 0
        self._ahead = _FIRST_BYTES

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes; raises `OSError`."""
        view = memoryview(buffer).cast("B")[:_FIRST_BYTES]
        self._ranges.expect(self._at + self._ahead)
        read = self._ranges.read_into(view, self._at) if self._at < self._size else 0
        self._at += read
        self._ahead = min(_BLOCK_BYTES, max(_FIRST_BYTES, 2 * self._at))
        return read


def _check(url: str) -> tuple[str, str]:
    """The kind of storage that a URL names, and the rest of it; raises `UsageError`."""
    kind, _, rest = url.partition("://")
    kind = kind.lower()
    if not rest.strip("/"):
        raise UsageError(f"{url} names no bucket", hint=f"{kind}://BUCKET/logs/*.jsonl")
    if "@" in rest.split("/")[0]:
        raise UsageError("a URL must not contain a user or password", hint="credentials come from the environment")
    if kind.startswith("http") and "?" in rest:
        raise UsageError("a signed URL would show its signature", hint="use s3:// or gs:// with credentials")
    return kind, rest


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises `UsageError`."""
    kind, rest = _check(url)
    try:
        import fsspec
    except ImportError:
        raise missing_extra("remote", f"{kind}://") from None
    key = os.getpid(), f"{kind}://{rest.split('/')[0] if kind not in _OF_EXTRA else ''}"
    if key not in _opened:
        try:
            _opened[key] = fsspec.filesystem(kind, skip_instance_cache=True, use_listings_cache=False, **_options(kind))
        except ImportError as error:
            raise _not_installed(kind, error) from None
        except ValueError:
            raise UsageError(f"{kind}:// is not a supported storage", hint="s3://, gs://, https://") from None
        if hasattr(_opened[key], "retries"):
            _opened[key].retries = _TRIES
        import logging  # only needed with the libraries below

        for talker in ("fsspec", "gcsfs", "s3fs", "aiobotocore", "botocore", "asyncio"):
            logging.getLogger(talker).setLevel(logging.CRITICAL + 1)  # what matters becomes an error
    return _opened[key], url


def _options(kind: str) -> dict[str, Any]:
    if kind in ("s3", "s3a"):
        config = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": _TRIES}}
        return {"config_kwargs": config}
    return {"timeout": _READ_S} if kind in ("gs", "gcs") else {}


def _not_installed(kind: str, error: ImportError) -> UsageError:
    if kind in _OF_EXTRA:
        return missing_extra("remote", f"{kind}://")
    return UsageError(f"{kind}:// needs a library that is not installed: {error}")


def _url(asked: str, path: str) -> str:
    """The URL of a path that the file system of another URL gave."""
    return path if is_url(path) else f"{asked.partition('://')[0]}://{path.lstrip('/')}"


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Run a block and turn any error into an `OSError` with a message of our own."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - each library has exceptions of its own
        raise OSError(errno.EIO, _reason(error)) from None


def _reason(error: BaseException) -> str:
    names = [kind.__name__ for kind in type(error).__mro__[:-3]] or [type(error).__name__]
    if isinstance(error, TimeoutError):
        return "timed out"
    for name in names:
        for signs, reason in _REASONS:
            if any(sign in name for sign in signs):
                return reason
    if isinstance(error, FileNotFoundError):
        return "no such file or bucket"
    return f"cannot be read ({type(error).__name__})"
