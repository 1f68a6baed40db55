"""Credentials in a text: by provider prefix, by key material, by assignment. Mentions of words are none."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from llmmon.quality.scorers.flags import CLEAN, Signal, strongest

_B: Final = r"(?<![A-Za-z0-9_-])"
# Prefixes that providers give their keys so that scanners find them, as documented by each.
PROVIDER_KEYS: Final = re.compile(
    rf"{_B}(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"
    r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{50,255}"
    r"|gl(?:pat|dt|rt|cbt|ptt|soat|ffct|imt|agent|oas)-[\w-]{20,120}"
    r"|sk-[A-Za-z0-9_-]{20,250}|[srpw]k_(?:live|test|prod)_[A-Za-z0-9]{10,120}|whsec_\w{20,80}"
    r"|xox[abeoprs](?:\.xox[bp])?-[\w-]{10,200}|xapp-\d-[\w-]{10,200}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,300}|GOCSPX-[\w-]{20,60}"
    r"|hf_[A-Za-z0-9]{30,60}|api_org_[A-Za-z0-9]{30,60}|SG\.[\w-]{16,60}\.[\w-]{16,80}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[\w-]{50,250}|do[opr]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|ntn_\w{40,80}|secret_[A-Za-z0-9]{40,60}|dapi[a-f0-9]{32}|hv[sb]\.[\w-]{24,200}"
    r"|sgp_(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}|EAA[A-Z][A-Za-z0-9]{30,250}|glsa_\w{32,80}"
    r"|HRKU-[\w-]{30,80}|PMAK-[\w-]{50,80}|key-[a-f0-9]{32}|pul-[a-f0-9]{40}|rubygems_[a-f0-9]{48}"
    r"|\d{8,10}:AA[\w-]{32,36}|pplx-\w{40,60}|gsk_\w{40,60}|xai-\w{60,100}|r8_\w{30,50}|fw_\w{20,40}"
    r"|ATATT3\w{50,250}|dckr_pat_[\w-]{20,60}|lin_api_\w{30,60}|figd_[\w-]{30,60}|sntrys_[\w+/=-]{40,250}"
    r"|LTAI[A-Za-z0-9]{17,21}|[a-f0-9]{32}-us\d{1,2}|(?:NRAK|NRII)-[\w-]{20,60}|AGE-SECRET-KEY-1\w{50,70}"
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}(?:\.[\w-]{0,1000})?"
    r")"
)
WEBHOOK: Final = re.compile(
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{20,120}"
    r"|discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{30,100}"
)
PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----\s{0,8}[\w+/=:,. \n\r\\-]{64}")
URL_PASSWORD: Final = re.compile(
    r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,80}:([^\s@/\"'<>]{3,100})@[\w.-]{2}"
)
HEADER: Final = re.compile(
    r"(?i)\b(?:bearer|basic|api-token|apikey|splunk)\s{1,3}([\w.~+/=-]{16,400})"
    r"|(?:\s-u|--user)[= ]{1,3}[\"']?[^\s\"':$]{2,60}:([^\s\"'$]{6,120})"
)
# What follows one of _NAMES where a value is assigned to it.
ASSIGNED: Final = re.compile(
    r"(?i)[\w.-]{0,24}[\"'\]*`]{0,4}\s{0,4}(?:=>|:=|\?=|\|\|:|==?|:|\bis\b|,)\s{0,4}[*`]{0,2}[\"'`]?"
    r"([^\s\"'`,;<>(){}\[\]]{8,200})"
)
PLACEHOLDER: Final = re.compile(
    r"(?i)your|example|placeholder|x{4}|\*{3}|change.?me|[<$%{]|redacted|dummy|environ|getenv|process\.|_here|insert"
    r"|\.{3}|…|sample|1234567890|abcdef|fake|foo|bar\b|config|settings|function|self\.|this\.|replace|my[_-]?(?:secret|api|pass|key|token)"
)
WORDY: Final = re.compile(r"[A-Za-z]{2,20}(?:[_.:/-][A-Za-z]{2,20}){1,8}")
HEX: Final = re.compile(r"[a-fA-F0-9-]{16,200}")

# One of these is in every text that a pattern above can match.
_PREFIXES: Final = (
    "AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glrt-",
    "glcbt-", "glptt-", "glsoat-", "glffct-", "glimt-", "glagent-", "gloas-", "sk-", "k_live_", "k_test_", "k_prod_",
    "whsec_", "xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "hf_", "api_org_", "SG.", "npm_", "pypi-", "_v1_", "shpat_",
    "shpca_", "shppa_", "shpss_", "ntn_", "secret_", "dapi", "hvs.", "hvb.", "sgp_", "EAA", "HRKU-", "PMAK-", "key-",
    "pul-", "rubygems_", ":AA", "pplx-", "gsk_", "xai-", "r8_", "fw_", "ATATT3", "dckr_", "lin_api", "figd_", "sntrys_",
    "LTAI", "-us", "NRAK-", "NRII-", "AGE-SECRET", "eyJ", "glsa_",
)  # fmt: skip
_NAMES: Final = ("key", "secret", "password", "passwd", "passphrase", "pwd", "token", "auth", "credential", "signature")
_HEADERS: Final = ("bearer ", "authorization", "--user", " -u ", "apikey ", "api-token ")
_SHORTEST: Final = 14


def find_secrets(text: str, pieces: Sequence[str] | None = None) -> Signal:
    """The credentials in a text: strength by kind, places, kinds; placeholders are not counted.

    `pieces` are those of `text.split()`, where the caller has them.
    """
    return strongest(list(_candidates(text, text.split() if pieces is None else pieces))) if text else CLEAN


def _candidates(text: str, pieces: Sequence[str]) -> Iterator[Signal]:
    # No key holds a blank: only the few long pieces of a text need to be searched for prefixes.
    long = " ".join([piece for piece in pieces if len(piece) >= _SHORTEST])
    if any(prefix in long for prefix in _PREFIXES):
        yield from _known(text)
    if "PRIVATE KEY" in text:
        for match in PRIVATE_KEY.finditer(text):
            yield Signal(1.0, (match.span(),), "private key")
    if "://" in long:
        yield from _in_urls(text)
    lower = text.lower()
    if len(lower) == len(text):  # not so for a few signs that grow; then the places would not fit
        yield from _assigned(text, lower)
    if any(name in lower for name in _HEADERS):
        yield from _in_headers(text)


def _known(text: str) -> Iterator[Signal]:
    for match in PROVIDER_KEYS.finditer(text):
        value = match.group()
        varied = entropy(value[4:]) >= 2.5 and any(c.isdigit() for c in value[3:])
        if varied and not PLACEHOLDER.search(value):
            yield Signal(0.98, (match.span(),), "provider key")


def _assigned(text: str, lower: str) -> Iterator[Signal]:
    done = 0
    for at in sorted(_places(lower)):
        match = ASSIGNED.match(text, at) if at >= done else None
        if match:
            done = match.end()
            if (strength := randomness(match.group(1).rstrip(".*"))) > 0:
                yield Signal(strength, (match.span(1),), "assignment")


def _places(lower: str) -> Iterator[int]:
    """Where the name of a credential ends."""
    for name in _NAMES:
        at = lower.find(name)
        while at >= 0:
            at += len(name)
            yield at
            at = lower.find(name, at)


def _in_urls(text: str) -> Iterator[Signal]:
    for match in WEBHOOK.finditer(text):
        if entropy(match.group()[-24:]) >= 3.0 and not PLACEHOLDER.search(match.group()):
            yield Signal(0.95, (match.span(),), "webhook")
    if "@" not in text:
        return
    for match in URL_PASSWORD.finditer(text):
        value = match.group(1)
        if not PLACEHOLDER.search(value) and value.lower() not in _WEAK and not value.isdigit():
            yield Signal(0.85, (match.span(1),), "password in a URL")


def _in_headers(text: str) -> Iterator[Signal]:
    for match in HEADER.finditer(text):
        group = 1 if match.group(1) else 2
        if (strength := randomness(match.group(group))) > 0:
            yield Signal(strength, (match.span(group),), "authorization")


_WEAK: Final = frozenset({"pass", "password", "passwd", "pwd", "secret", "token", "user", "username", "port", "pw"})


def randomness(value: str) -> float:
    """How much a value looks generated, in [0, 1]: 0 for words, placeholders and code, from 0.6 for keys."""
    if len(value) < 8 or PLACEHOLDER.search(value) or WORDY.fullmatch(value):
        return 0.0
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    signs = len(value) - digits - letters
    if (
        not digits
        or not letters
        or (digits < 3 and "." in value)
        or "=" in value[:-2]
        or value.startswith(("http", "/", "./"))
    ):
        return 0.0
    measure = entropy(value)
    if HEX.fullmatch(value):
        return 0.8 if measure >= 2.8 and digits >= 3 else 0.0
    if len(value) < 10:
        return 0.6 if signs and measure >= 2.75 and value.lower() != value else 0.0
    return 0.75 if measure >= 3.0 else 0.0


def entropy(value: str) -> float:
    """Shannon entropy in bits a character; 0 for an empty text.

    >>> entropy("abcdabcd")
    2.0
    """
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
