"""`llmmon serve` as a process of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import clean_environment, llmmon_command

_LISTENING = re.compile(r"listening on (https?://\S+),")


class Served:
    """A running server: its address, a client, its log and its end."""

    def __init__(self, folder: Path, *args: str, env: dict[str, str] | None = None, verify: Any = True) -> None:
        self.folder = folder
        self.log = folder / "state.jsonl"
        self.process = subprocess.Popen(
            llmmon_command("serve", "--port", "0", "--state", str(folder / "state.db"), *args),
            cwd=folder,
            env=clean_environment(folder, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.url = self._address()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=verify)

    def _address(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := _LISTENING.search(line):
                return found[1]
        raise AssertionError(f"exit {self.process.wait()}: {''.join(self.said)}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said += self.process.stderr

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Post a value as JSON, or bytes as they are."""
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers={"content-type": "application/json", **headers})
        return self.client.post(path, json=body, headers=headers)

    def get(self, path: str, **parameters: Any) -> Any:
        """The value that a path replies."""
        return self.client.get(path, params=parameters).raise_for_status().json()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextlib.contextmanager
def served(folder: Path, *args: str, env: dict[str, str] | None = None, verify: Any = True) -> Iterator[Served]:
    """A server for as long as this lasts."""
    server = Served(folder, *args, env=env, verify=verify)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()
