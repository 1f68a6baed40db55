"""`score --judge`: ask a model behind an OpenAI-compatible chat endpoint for verdicts, within a budget."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from llmmon.errors import DeliveryError, UsageError
from llmmon.files import appearing
from llmmon.http_client import Client, RefusedError, Reply, Request, Retries, check_url
from llmmon.quality.judge import DEFAULT_CRITERIA, Question, Verdict, parse_verdict


class JudgeCache:
    """Verdicts by what was asked of which judge; files of mode 0600, in a folder of mode 0700.

    A cache that cannot be read or written never stops a run.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> JudgeCache:
        """The user's: under $XDG_CACHE_HOME, else ~/.cache."""
        root = environment.get("XDG_CACHE_HOME") or (Path(environment.get("HOME") or "~").expanduser() / ".cache")
        return cls(Path(root) / "llmmon" / "verdicts")

    @property
    def folder(self) -> Path | None:
        """Where the verdicts are; None for none."""
        return self._folder

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
    """The key of a verdict: a hash of everything that could change it."""
    parts = msgspec.json.encode([1, url, model, list(criteria), asked.encode("utf-8", "replace").decode()])
    return hashlib.blake2b(parts, digest_size=20).hexdigest()


_CHAT: Final = "/chat/completions"
_FAILURES_IN_A_ROW: Final = 5  # after so many the rest is not asked
_CHARS_A_TOKEN: Final = 3
_ANSWER_TOKENS: Final = 300  # what an answer is taken to cost before its price is known
_NO_USE: Final = frozenset({401, 403, 404})  # the next question would fail too
_PICKY: Final = frozenset({400, 422})  # some endpoints know no JSON mode, or no temperature


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """The model to ask, the criteria and limits; `key` is secret. Prices are in USD a token, None where unknown."""

    url: str
    model: str
    key: str | None = None
    criteria: tuple[str, ...] = DEFAULT_CRITERIA
    max_calls: int | None = None
    max_usd: float | None = None
    concurrency: int = 4
    prices: tuple[float, float] | None = None
    retries: Retries = Retries()

    def checked(self) -> Judge:
        """The same with the endpoint's full address; raises `UsageError` where it cannot work."""
        check_url(self.url)
        if self.max_usd is not None and self.prices is None:
            raise UsageError(
                f"--judge-max-usd needs a price, and {self.model!r} has none",
                hint=f'[prices."{self.model}"] with input and output in llmmon.toml, or --judge-max-calls',
            )
        base = self.url.rstrip("/")
        return msgspec.structs.replace(self, url=base if base.endswith(_CHAT) else base + _CHAT)


class JudgeResults(msgspec.Struct, frozen=True):
    """Verdicts by position, how many questions were sent and how many answered from the cache, and what it cost."""

    verdicts: Mapping[int, Verdict]  # as the `JudgeVerdicts` of a score report
    calls: int
    cached: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None

    def taken(self) -> dict[str, Any]:
        """The effort for the verdicts, and why some are missing."""
        return {
            "calls": self.calls,
            "cached": self.cached,
            "failed": self.failed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": self.cost_usd,
            "unscored_reasons": self.reasons(),
        }

    def reasons(self) -> dict[str, int]:
        """Why answers stayed unscored, most frequent first."""
        found = Counter(str(v["reason"]) for v in self.verdicts.values() if v["status"] == "unscored")
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def ask_judge(questions: Sequence[Question], judge: Judge, cache: JudgeCache) -> JudgeResults:
    """A verdict on every question; what fails, or what the budget does not cover, is unscored with its reason."""
    return asyncio.run(_Round(judge.checked(), cache).run(questions))


class _Round:
    def __init__(self, judge: Judge, cache: JudgeCache) -> None:
        self._judge = judge
        self._cache = cache
        self._budget = JudgeBudget(judge)
        self._plain = False  # without JSON mode and temperature
        self._stopped = ""
        self._in_a_row = 0
        self._cached = self._failed = 0

    async def run(self, questions: Sequence[Question]) -> JudgeResults:
        by_text: dict[str, list[int]] = {}
        for question in sorted(questions):
            by_text.setdefault(question.asked, []).append(question.position)
        gate = asyncio.Semaphore(self._judge.concurrency)
        async with Client(self._judge.retries, connections=self._judge.concurrency) as client:
            verdicts = await asyncio.gather(*(self._verdict(asked, client, gate) for asked in by_text))
        budget = self._budget
        return JudgeResults(
            {at: verdict for places, verdict in zip(by_text.values(), verdicts, strict=True) for at in places},
            budget.calls,
            self._cached,
            self._failed,
            budget.prompt_tokens,
            budget.completion_tokens,
            budget.spent_usd,
        )

    async def _verdict(self, asked: str, client: Client, gate: asyncio.Semaphore) -> Verdict:
        judge = self._judge
        key = key_of(judge.url, judge.model, judge.criteria, asked)
        if (known := self._cache.get(key)) is not None:
            self._cached += 1
            return known
        async with gate:
            if why := self._stopped or self._budget.refusal(asked):
                return unscored(judge.criteria, why)
            held = self._budget.reserve(asked)
            try:
                answer = await self._answer(asked, client, held)
            except DeliveryError as error:
                self._note_failure(error)
                return unscored(judge.criteria, str(error))
        self._in_a_row = 0
        verdict = parse_verdict(answer, judge.criteria)
        if verdict["status"] == "scored":
            self._cache.put(key, verdict)
        return verdict

    async def _answer(self, asked: str, client: Client, held: float) -> str:
        usage: Mapping[str, Any] = {}
        try:
            try:
                reply = await client.send(self._request(asked))
            except RefusedError as error:
                if self._plain or error.status not in _PICKY:
                    raise
                reply = await client.send(self._request(asked, plain=True))
                self._plain = True
            answer, usage = read_reply(reply)
        finally:
            self._budget.settle(held, usage)
        return answer

    def _request(self, asked: str, *, plain: bool = False) -> Request:
        judge = self._judge
        body: dict[str, Any] = {"model": judge.model, "messages": [{"role": "user", "content": asked}]}
        if not (plain or self._plain):
            body |= {"temperature": 0, "response_format": {"type": "json_object"}}
        headers = {"content-type": "application/json", "accept": "application/json"}
        if judge.key:
            headers["authorization"] = f"Bearer {judge.key}"
        return Request(url=judge.url, body=orjson.dumps(_encodable(body)), headers=headers)

    def _note_failure(self, error: DeliveryError) -> None:
        self._failed += 1
        self._in_a_row += 1
        hopeless = isinstance(error, RefusedError) and error.status in _NO_USE
        if hopeless or self._in_a_row >= _FAILURES_IN_A_ROW:
            self._stopped = f"not asked: {error}"


class JudgeBudget:
    """Counts questions, tokens and money; a question is let through only where its likely cost still fits."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.calls = self.prompt_tokens = self.completion_tokens = 0
        self.spent_usd = None if judge.prices is None else 0.0
        self._held_usd = 0.0

    def refusal(self, asked: str) -> str:
        """Why a question may not be asked; empty if it may."""
        if self._judge.max_calls is not None and self.calls >= self._judge.max_calls:
            return "not asked: --judge-max-calls is reached"
        most = self._judge.max_usd
        if most is not None and (self.spent_usd or 0.0) + self._held_usd + self._estimate(asked) > most:
            return "not asked: --judge-max-usd is reached"
        return ""

    def reserve(self, asked: str) -> float:
        """Count a question and reserve money for it; returns the amount in USD."""
        self.calls += 1
        held = self._estimate(asked)
        self._held_usd += held
        return held

    def settle(self, held: float, usage: Mapping[str, Any]) -> None:
        """Settle a question: at its cost by usage, else at what was reserved."""
        self._held_usd -= held
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        sent, received = (number if type(number) is int and number >= 0 else 0 for number in tokens)
        self.prompt_tokens += sent
        self.completion_tokens += received
        if self.spent_usd is not None:
            self.spent_usd += self._cost(sent, received) if sent or received else held

    def _estimate(self, asked: str) -> float:
        return self._cost(len(asked) / _CHARS_A_TOKEN, _ANSWER_TOKENS)

    def _cost(self, sent: float, received: float) -> float:
        prices = self._judge.prices
        return 0.0 if prices is None else sent * prices[0] + received * prices[1]


def read_reply(reply: Reply) -> tuple[str, Mapping[str, Any]]:
    """The text and the usage of a chat completion; raises `DeliveryError` for anything else."""
    try:
        found = orjson.loads(reply.body)
        content = found["choices"][0]["message"]["content"]
        usage = found.get("usage")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise DeliveryError("the judge's reply is not a chat completion", retryable=False) from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else "", usage if isinstance(usage, dict) else {}


def unscored(criteria: Sequence[str], reason: str) -> Verdict:
    """The verdict where there is none."""
    return Verdict(status="unscored", scores={}, overall=None, missing=list(criteria), reason=reason)


def _encodable(value: Any) -> Any:
    """The same without half surrogates, which no JSON can carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _encodable(item) for name, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value
