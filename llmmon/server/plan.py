"""What `serve` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from llmmon.pipeline import Query

MEBIBYTE: Final = 1 << 20


class Limits(msgspec.Struct, frozen=True):
    """How much is taken before the answer is 413 or 429; sizes in bytes."""

    body: int = 8 * MEBIBYTE  # of one request, decompressed
    queued: int = 32 * MEBIBYTE  # lines that wait to be written
    in_flight: int = 64 * MEBIBYTE  # bodies that are being received
    body_s: float = 30.0  # for a body to arrive
    connections: int = 1000


class ServePlan(msgspec.Struct, frozen=True, kw_only=True):
    """`query.logs` are followed beside the log that is written; `token` None asks for none."""

    query: Query
    state: Path
    journal: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    keep_text: bool = False
    every_s: float = 15.0
    limits: Limits = Limits()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
