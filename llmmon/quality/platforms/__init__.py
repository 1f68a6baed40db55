"""Scores as feedback on a platform: for each platform, which of its calls an answer belongs to, and its requests.

A platform is one file and one row of `PLATFORMS`. Feedback has an id of its own that follows from the platform's call
and its name, so that sending the same scores again replaces them.
"""

from __future__ import annotations

import asyncio
import importlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from llmmon.errors import DeliveryError, UsageError
from llmmon.http_client import Client, Reply, Request, Retries, check_url
from llmmon.quality.scorers.flags import FLAGS
from llmmon.text.names import lookup

PREFIX: Final = "llmmon."
IDS: Final = ("trace", "span")  # the fields, beside request_id, in which a platform's ids stand
_NAMESPACE: Final = uuid.UUID("6f1d3f7e-0b8a-5d55-9c0e-4c1f0a4f3c11")
_AT_ONCE: Final = 8  # requests


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One score of one answer, in [0, 1]; a flag is 1 and has `flag` set. It holds no text of the answer."""

    name: str
    score: float
    flag: bool = False
    judged: bool = False  # by a model, not by the rules
    comment: str | None = None


class Target(msgspec.Struct, frozen=True):
    """The ids of a call on a platform; `trace` is None where the log has none."""

    call: str
    trace: str | None = None

    def id_of(self, feedback: Feedback) -> str:
        """An id that is the same whenever this call's feedback of this name is sent."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.trace}/{self.call}/{feedback.name}"))


class Platform(Protocol):
    """Where scores are sent, as its environment variables say."""

    name: str
    call: str  # what the platform calls a call
    at_once: int  # scores in a request

    def target(self, row: Mapping[str, Any]) -> Target | None:
        """The platform's call that a scored row belongs to; None where the row has no id of the platform's kind."""

    def body(self, scores: list[tuple[Target, Feedback]]) -> bytes:
        """The body of one request."""

    def address(self, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """URL and headers; raises `UsageError` where a variable is missing."""

    def refused(self, reply: Reply) -> int:
        """How many scores of a request that was answered with success were refused all the same."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the scores: `unknown` answers have no id that the platform knows."""

    platform: str
    host: str
    answers: int
    scores: int
    refused: int
    unknown: int
    error: str | None = None


PLATFORMS: Final[dict[str, str]] = {
    "langfuse": "langfuse.LANGFUSE",
    "langsmith": "langsmith.LANGSMITH",
    "phoenix": "phoenix.PHOENIX",
}


def platform_of(name: str) -> Platform:
    """The platform of a name; raises `UsageError` with what is known."""
    module, _, attribute = lookup(PLATFORMS, name.lower(), "platform").partition(".")
    found: Platform = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found


def feedback_of(row: Mapping[str, Any]) -> list[Feedback]:
    """The feedback on a scored row: its overall score, each flag, each criterion that a judge scored."""
    verdict = row.get("judge") or {}
    scores = [] if row["overall"] is None else [Feedback(name=f"{PREFIX}overall", score=row["overall"])]
    flags = [Feedback(name=PREFIX + name, score=1.0, flag=True, comment=FLAGS[name].help) for name in row["flags"]]
    judged = verdict.get("scores") or {} if verdict.get("status") == "scored" else {}
    return [
        *scores,
        *flags,
        *(Feedback(name=f"{PREFIX}judge.{name}", score=value, judged=True) for name, value in judged.items()),
    ]


class Outbox:
    """The scores of rows in requests for one platform; counts what it passes on."""

    def __init__(self, platform: Platform, rows: Iterable[Mapping[str, Any]]) -> None:
        self._platform = platform
        self._rows = rows
        self.answers = self.unknown = 0

    def __iter__(self) -> Iterator[list[tuple[Target, Feedback]]]:
        scores = self._scores()
        while part := list(islice(scores, self._platform.at_once)):
            yield part

    def _scores(self) -> Iterator[tuple[Target, Feedback]]:
        for row in self._rows:
            found = feedback_of(row)
            target = self._platform.target(row) if found else None
            self.answers += target is not None
            self.unknown += bool(found) and target is None
            if target is not None:
                yield from ((target, each) for each in found)

    def bodies(self) -> Iterator[bytes]:
        """The bodies of the requests."""
        return map(self._platform.body, self)


def send(
    platform: Platform,
    rows: Iterable[Mapping[str, Any]],
    environment: Mapping[str, str],
    retries: Retries | None = None,
) -> Sent:
    """Send the scores of rows; stops at the first request that fails for good, and says so in `error`.

    Raises `UsageError` where the address or a key is missing.
    """
    url, headers = platform.address(environment)
    check_url(url)
    return asyncio.run(_send(platform, Outbox(platform, rows), Request(url=url, headers=headers), retries))


async def _send(platform: Platform, outbox: Outbox, like: Request, retries: Retries | None) -> Sent:
    sent = refused = 0
    error = None
    parts = iter(outbox)
    async with Client(retries, connections=_AT_ONCE) as client:
        while error is None and (batch := list(islice(parts, _AT_ONCE))):
            requests = [msgspec.structs.replace(like, body=platform.body(part)) for part in batch]
            replies = await asyncio.gather(*map(client.send, requests), return_exceptions=True)
            for part, reply in zip(batch, replies, strict=True):
                if isinstance(reply, DeliveryError | UsageError):
                    error = error or str(reply)
                elif isinstance(reply, BaseException):
                    raise reply
                else:
                    no = min(platform.refused(reply), len(part))
                    sent, refused = sent + len(part) - no, refused + no
    return Sent(
        platform=platform.name,
        host=like.host,
        answers=outbox.answers,
        scores=sent,
        refused=refused,
        unknown=outbox.unknown,
        error=error,
    )


def key_of(environment: Mapping[str, str], *names: str, platform: str) -> str:
    """The first of these variables that is set; raises `UsageError`."""
    for name in names:
        if environment.get(name, "").strip():
            return environment[name].strip()
    raise UsageError(f"--send {platform} needs ${names[0]}", hint=f"export {names[0]}=...")


def place_of(environment: Mapping[str, str], *names: str, default: str) -> str:
    """The address that the first of these variables names, without a slash at its end."""
    return next((environment[name].strip() for name in names if environment.get(name, "").strip()), default).rstrip("/")
