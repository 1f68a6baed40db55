"""Batches of spans to the workers of a Dask cluster (extra `dask`): as `parallel`, over machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from llmmon.errors import InputError, missing_extra

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_S: Final = 5
_WORKERS_S: Final = 10
_BATCHES_A_THREAD: Final = 4  # so that a slow worker does not hold up the others


def run(
    address: str,
    work: Callable[[Sequence[Task]], Result],
    tasks: Sequence[Task],
    done: Callable[[Sequence[Task]], None],
) -> list[Result]:
    """The results of batches of neighbouring tasks, in their order, worked on by a Dask cluster.

    `work` must pickle and depend on nothing but its tasks: a batch whose worker died is given to another. `done` is
    called with each finished batch. Raises `UsageError` without the extra, `InputError` where the cluster fails.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise missing_extra("dask", "--engine dask://") from None
    with _quiet_dask(), _connected(Client, address) as client:
        batches = _batches(tasks, _BATCHES_A_THREAD * max(1, sum(client.nthreads().values())))
        try:
            futures = client.map(work, batches, pure=False)
            numbers = {future.key: number for number, future in enumerate(futures)}
            results: dict[int, Result] = {}
            for future in as_completed(futures, loop=client.loop):
                number = numbers[future.key]
                results[number] = future.result()
                future.release()
                done(batches[number])
            return [results[number] for number in range(len(batches))]
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - what a worker raises comes as it is
            raise _failed(address, error) from None


def _batches(tasks: Sequence[Task], count: int) -> list[Sequence[Task]]:
    size = -(-len(tasks) // count)
    return [tasks[at : at + size] for at in range(0, len(tasks), size)]


@contextlib.contextmanager
def _connected(client_of: Any, address: str) -> Iterator[Any]:
    """A client with at least one worker; raises `InputError`."""
    try:
        _greeted(address)
        client = client_of(f"tcp://{address}", timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError):  # a timeout is an OSError
        hint = f"dask scheduler --port {address.rpartition(':')[2]}"
        raise InputError(f"no Dask scheduler answers at {address}", hint=hint) from None
    try:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError:
            message = f"the Dask cluster at {address} has no workers"
            raise InputError(message, hint=f"dask worker tcp://{address}") from None
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


def _greeted(address: str) -> None:
    """Check that a scheduler greets, as they all do; raises `OSError`, where a client would wait without end."""
    import socket  # not needed on one machine

    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S) as connection:
        if not connection.recv(1):
            raise ConnectionError("closed at once")


def _failed(address: str, error: Exception) -> InputError:
    said = next(iter(str(error).splitlines()), "")
    hint = "the workers need the same version of llmmon and its dependencies, and enough memory"
    return InputError(f"the Dask cluster at {address} failed: {type(error).__name__}: {said}", hint=hint)


@contextlib.contextmanager
def _quiet_dask() -> Iterator[None]:
    """Silence the logs of Dask: what matters becomes an error."""
    import logging
    import warnings

    loggers = [logging.getLogger(name) for name in ("distributed", "tornado")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
