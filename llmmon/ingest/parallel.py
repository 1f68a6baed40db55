"""Spans to workers: a map over a shared queue of spans, in this process and in forked ones."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from llmmon.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Iterator[Any]], Any]

_LENGTH: Final = struct.Struct("<Q")
_NUMBER: Final = struct.Struct("<I")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S: Final = 0.5


class WorkerDiedError(InputError):
    """A worker process ended without a result."""

    def __init__(self, status: int) -> None:
        how = f"was killed (signal {os.WTERMSIG(status)})" if os.WIFSIGNALED(status) else "ended without a result"
        super().__init__(f"a worker process {how}", hint="if memory is short: --jobs 1")


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def run(work: Callable[[Iterator[Task]], Result], tasks: Sequence[Task], jobs: int) -> list[Result]:
    """The results of `jobs` workers that share the tasks out among themselves; this process is the first.

    `work` takes its tasks from an iterator, each once, and returns one result, which must pickle.
    An exception in any worker is raised here.
    """
    jobs = min(jobs, len(tasks))
    _reuse_freed_memory()
    collecting = gc.isenabled()
    gc.disable()  # decoding makes millions of objects and no cycles
    try:
        if jobs <= 1 or not hasattr(os, "fork"):
            return [work(iter(tasks))]
        return _run_forked(work, tasks, jobs)
    finally:
        if collecting:
            gc.enable()


@lru_cache(maxsize=1)
def _reuse_freed_memory() -> None:
    """Have arrays of some hundred kilobytes come from memory that was freed before, not each time from the system.

    By default glibc gives back what each of numpy's intermediate results took, and the next one is made of pages that
    the system clears first: a tenth to a quarter of all time.
    """
    import ctypes  # which numpy has loaded

    with contextlib.suppress(AttributeError, OSError):  # where there is no glibc
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, 32 << 20)
        set_option(_TRIM_THRESHOLD, 128 << 20)


_TRIM_THRESHOLD: Final = -1  # the numbers of malloc.h
_MMAP_THRESHOLD: Final = -3


def _run_forked(work: Work, tasks: Sequence[Task], jobs: int) -> list[Any]:
    queue = _Queue(len(tasks))
    children: list[_Child] = []
    try:
        for _ in range(jobs - 1):
            with _interrupts_wait():  # a child that is not yet known could not be ended
                children.append(_fork(work, tasks, queue))
        results = [work(queue.take(tasks))]
        results.extend(child.result() for child in children)
        return results
    finally:
        for child in children:
            child.end()
        queue.close()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """What ends a run takes effect only afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


class _Child:
    """A forked worker and the pipe that its result comes through."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid = pid
        self._pipe = pipe
        self._ended = False

    def result(self) -> Any:
        """What the worker returned; raises what it raised, `WorkerDiedError` if it was killed."""
        try:
            ok, value = _receive(self._pipe)
        except EOFError:
            raise self._death() from None
        if not ok:
            raise value
        return value

    def _death(self) -> BaseException:
        self._ended = True
        _, status = os.waitpid(self._pid, 0)
        interrupted = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
        return KeyboardInterrupt() if interrupted else WorkerDiedError(status)

    def end(self) -> None:
        """Kill the worker if it still runs, and let go of it."""
        os.close(self._pipe)
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


class _Queue:
    """Task numbers in a pipe that all workers read from."""

    def __init__(self, size: int) -> None:
        self._read, self._write = os.pipe()
        # a pipe holds 64 KB: one ticket per 4 bytes would block beyond 16,384 tasks, so tickets are ranges
        step = max(1, -(-size // 8192))
        self._ranges = [(first, min(first + step, size)) for first in range(0, size, step)]
        os.write(self._write, b"".join(_NUMBER.pack(number) for number in range(len(self._ranges))))
        os.close(self._write)

    def take(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Tasks until none is left."""
        while ticket := os.read(self._read, _NUMBER.size):
            first, last = self._ranges[_NUMBER.unpack(ticket)[0]]
            yield from tasks[first:last]

    def close(self) -> None:
        os.close(self._read)


def _fork(work: Work, tasks: Sequence[Task], queue: _Queue) -> _Child:
    receive, send = _wide_pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(send)
        return _Child(pid, receive)
    os.close(receive)
    status = 1
    try:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        try:
            answer: tuple[bool, Any] = (True, work(queue.take(tasks)))
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            answer = (False, error)
        _send(send, answer)
        status = 0
    finally:
        os._exit(status)


def _wide_pipe() -> tuple[int, int]:
    """A pipe that takes a megabyte at a time where the system lets it."""
    import fcntl

    receive, send = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(send, fcntl.F_SETPIPE_SZ, 1 << 20)
    return receive, send


def _end_with(parent: int) -> None:
    """End this process soon after the one that wants its result is gone, as after SIGKILL."""

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)


def _send(pipe: int, answer: tuple[bool, Any]) -> None:
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    with os.fdopen(pipe, "wb", buffering=0) as file:
        sizes = [part.nbytes for part in parts]
        _write(file, _LENGTH.pack(len(parts)) + b"".join(map(_LENGTH.pack, sizes)))
        for part in parts:
            _write(file, part)


def _write(file: Any, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view[: 1 << 20]) :]


def _receive(pipe: int) -> tuple[bool, Any]:
    (count,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    sizes = [_LENGTH.unpack(_exactly(pipe, _LENGTH.size))[0] for _ in range(count)]
    body, *buffers = [_exactly(pipe, size) for size in sizes]
    answer: tuple[bool, Any] = pickle.loads(body, buffers=buffers)  # noqa: S301 - from our own child
    return answer


def _exactly(pipe: int, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        read = os.readv(pipe, [view])
        if not read:
            raise EOFError
        view = view[read:]
    return data
