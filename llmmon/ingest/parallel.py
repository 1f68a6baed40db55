"""Child processes: a map over tasks that workers share, and single pieces of work beside this process.

There is one way to run a child: `fork` (a copy of this process) or `spawn` (a new one) starts it, its value or what
it raised comes back through a pipe, and it ends by itself soon after its parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NoReturn, TypeVar

from llmmon.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Iterator[Any]], Any]

_LENGTH: Final = struct.Struct("<Q")
_NUMBER: Final = struct.Struct("<I")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_THE_TERMINAL: Final = (signal.SIGWINCH, signal.SIGTSTP)
_NICE: Final = 10
_LOOK_S: Final = 0.5


class WorkerDiedError(InputError):
    """A worker process ended without a result."""

    @classmethod
    def of(cls, status: int) -> WorkerDiedError:
        """The error for an exit status of `os.waitpid`."""
        how = f"was killed (signal {os.WTERMSIG(status)})" if os.WIFSIGNALED(status) else "ended without a result"
        return cls(f"a worker process {how}", hint="if memory is short: --jobs 1")


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
    children: list[Child[Any]] = []
    try:
        for _ in range(jobs - 1):
            with _interrupts_wait():  # a child that is not yet known could not be ended
                children.append(fork(lambda: work(queue.take(tasks))))
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


class Child(Generic[Result]):
    """A process of our own that computes one value, and the pipe that the value comes through."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid = pid
        self._pipe = pipe
        self._reaped = False
        self._closed = False

    @property
    def is_done(self) -> bool:
        """Whether `result` has something to return or raise, so that it does not wait for the work."""
        return bool(select.select([self._pipe], [], [], 0)[0])

    def result(self) -> Result:
        """Wait for the value; raises what the work raised, `WorkerDiedError` if the process was killed."""
        try:
            ok, value = _receive(self._pipe)
        except EOFError:
            raise self._death() from None
        if not ok:
            raise value
        found: Result = value
        return found

    def _death(self) -> BaseException:
        self._reaped = True
        _, status = os.waitpid(self._pid, 0)
        interrupted = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
        return KeyboardInterrupt() if interrupted else WorkerDiedError.of(status)

    def kill(self) -> None:
        """Stop the work; a `result` that another thread waits for raises `WorkerDiedError`."""
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process if it still runs, and release what it held; may be called again."""
        self.kill()
        if not self._closed:
            self._closed = True
            os.close(self._pipe)
        if not self._reaped:
            self._reaped = True
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


def fork(work: Callable[[], Result], *, background: bool = False) -> Child[Result]:
    """Start a copy of this process that does the work; what it returns must pickle.

    In the `background` it has a low priority, and Ctrl-C is left to this process, which ends it.
    Not for a process with other threads, which may hold locks: use `spawn` there.
    """
    receive, send = _wide_pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        _answer(send, parent, work, background=background)
    os.close(send)
    return Child(pid, receive)


def spawn(work: Callable[..., Result], *arguments: Any) -> Child[Result]:
    """Start a new process in the background that calls `work`; the function, its arguments and result must pickle."""
    call = pickle.dumps((work, arguments))
    given, give = os.pipe()
    receive, send = _wide_pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", f"from {__name__} import run_spawned; run_spawned()"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, send, 1)],
        )
    finally:
        os.close(given)
        os.close(send)
    with contextlib.suppress(BrokenPipeError), os.fdopen(give, "wb") as file:
        file.write(call)
    return Child(pid, receive)


def run_spawned() -> NoReturn:
    """Do the work of `spawn`: read the call from standard input, send the answer to what was standard output."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    parent = os.getppid()

    def work() -> Any:
        function, arguments = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our own parent
        return function(*arguments)

    _answer(pipe, parent, work, background=True)


def _answer(pipe: int, parent: int, work: Callable[[], Any], *, background: bool) -> NoReturn:
    """Do the work of a child, send its result or what it raised, and end this process."""
    status = 1
    try:
        for number in (*_ENDING, *_OF_THE_TERMINAL):
            signal.signal(number, signal.SIG_DFL)
        if background:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.nice(_NICE)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        try:
            answer: tuple[bool, Any] = (True, work())
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            answer = (False, error)
        _send(pipe, answer)
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
