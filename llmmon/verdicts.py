"""Verdicts that were given before: a folder of small files by the hash of what was asked, without any text."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from llmmon.judge import Verdict
from llmmon.whole_files import appearing


class VerdictCache:
    """Verdicts by what was asked of which judge; files of mode 0600, in a folder of mode 0700.

    A cache that cannot be read or written is none: it never stops a run.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> VerdictCache:
        """The user's: under $XDG_CACHE_HOME, else ~/.cache."""
        root = environment.get("XDG_CACHE_HOME") or (Path(environment.get("HOME") or "~").expanduser() / ".cache")
        return cls(Path(root) / "llmmon" / "verdicts")

    def get(self, key: str) -> Verdict | None:
        """The verdict kept under a key, None if there is none that can be read."""
        if self._folder is None:
            return None
        try:
            return msgspec.json.decode((self._folder / f"{key}.json").read_bytes(), type=Verdict)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict, whole or not at all."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with appearing(self._folder / f"{key}.json", mode=0o600) as file:
                file.write(msgspec.json.encode(verdict))


def key_of(url: str, model: str, criteria: Sequence[str], asked: str) -> str:
    """What a verdict is kept under: a hash of everything that could change it."""
    parts = msgspec.json.encode([1, url, model, list(criteria), asked.encode("utf-8", "replace").decode()])
    return hashlib.blake2b(parts, digest_size=20).hexdigest()
