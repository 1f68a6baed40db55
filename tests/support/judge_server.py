"""A chat endpoint on this machine that behaves as a test says, and remembers what it was sent."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request: a status with headers and a body, after a wait, or a broken connection."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    wait_s: float = 0.0
    reset: bool = False


def chat(text: str | None, **usage: int) -> Answer:
    """A chat completion with this content."""
    reply = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage or None}
    return Answer(body=json.dumps(reply).encode())


def verdict(score: float = 8) -> Answer:
    """A good answer of a judge."""
    scores = {"relevance": score, "accuracy": score, "helpfulness": score, "overall": score}
    return chat(json.dumps(scores), prompt_tokens=100, completion_tokens=20)


@dataclass
class JudgeServer:
    """Its address, and the requests so far as (path, headers, body)."""

    url: str
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)


Behaviour = Callable[[int, Any], Answer]


@contextmanager
def judge_server(behave: Behaviour) -> Iterator[JudgeServer]:
    """A server whose nth request (from 0) with a JSON body is answered by `behave(n, body)`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.loads(raw) if raw else None
            with lock:
                number = len(found.seen)
                found.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self._answer(behave(number, body))

        def do_GET(self) -> None:
            self.do_POST()

        def _answer(self, answer: Answer) -> None:
            time.sleep(answer.wait_s)
            if answer.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.shutdown(socket.SHUT_RD)
                self.close_connection = True
                return
            try:
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:  # the client went away, as it should after its time limit
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = JudgeServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
