"""The service as an application in this process: what needs no socket, signal or kill is tested on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from llmmon import create_app


class Mounted:
    """A running service: a client, its log."""

    def __init__(self, folder: Path, client: TestClient) -> None:
        self.folder = folder
        self.log = folder / "state.jsonl"
        self.client = client

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Post a value as JSON, or bytes as they are."""
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers={"content-type": "application/json", **headers})
        return self.client.post(path, json=body, headers=headers)

    def get(self, path: str, **parameters: Any) -> Any:
        """The value that a path replies."""
        return self.client.get(path, params=parameters).raise_for_status().json()


@contextlib.contextmanager
def mounted(folder: Path, **options: Any) -> Iterator[Mounted]:
    """A service for as long as this lasts; options are those of `create_app`."""
    app = create_app(state=folder / "state.db", **options)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield Mounted(folder, client)
