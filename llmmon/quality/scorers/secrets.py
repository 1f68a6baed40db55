"""Credentials in a text: by provider prefix, by key material, by assignment. Mentions of words are none."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
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
    r"|A3-[A-Z0-9]{6}-(?:[A-Z0-9]{6}-[A-Z0-9]{5}|[A-Z0-9]{11})-[A-Z0-9]{5}-[A-Z0-9]{5}|ops_eyJ[A-Za-z0-9+/]{100,800}"
    r"|p8e-[A-Za-z0-9]{32}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|AKC[a-zA-Z0-9]{60,80}|cmVmd[A-Za-z0-9]{55,65}"
    r"|(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[\w+/=-]{30,120}"
    r"|ABSK[A-Za-z0-9+/]{100,280}|bedrock-api-key-[A-Za-z0-9]{20,400}|[\w~.]{3}\dQ~[\w~.-]{31,34}|CLOJARS_[a-z0-9]{60}"
    r"|v1\.0-[a-f0-9]{24}-[a-f0-9]{146}|4b1d[A-Za-z0-9]{38}|dnkey-[a-z0-9]{26}-[a-z0-9]{40,60}|dp\.(?:pt|st|ct|scim|audit)"
    r"\.[A-Za-z0-9._-]{40,60}|sl\.[A-Za-z0-9_=-]{120,200}|duffel_(?:test|live)_[\w=-]{43}|dt0[a-z]\d\d\.[A-Z0-9a-z]{24}\."
    r"[A-Za-z0-9]{64}|EZ[AT]K[A-Za-z0-9]{54}|FLW(?:SEC|PUB)K_TEST-[A-Za-z0-9]{12,34}(?:-X)?|fm[12]_[\w+/=-]{60,700}"
    r"|fo1_\w{40,50}|fio-u-[\w=-]{60,70}|gl(?:ft|ptt|rt|soat|wt)-[\w-]{18,120}|GR1348941[\w-]{18,30}|glc_[A-Za-z0-9+/]{30,400}"
    r"|eyJrIjoi[A-Za-z0-9]{60,400}|(?:pat|sat)\.[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}|[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}"
    r"|ico-[A-Za-z0-9]{32}|s-s4t2(?:ud|af)-[a-f0-9]{64}|xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}|xsmtpsib-[a-f0-9]{64}-\w{16}"
    r"|NR(?:JS|AA|MA|BR)-[a-f0-9]{18,40}|API-[A-Z0-9]{26,32}|sha256~[\w-]{43}|access-(?:sandbox|development|production)-[a-f0-9-]{36}"
    r"|pscale_(?:tkn|oauth|pw)_[\w=.-]{32,64}|pnu_[A-Za-z0-9]{36}|rdme_[a-z0-9]{70}|tk-us-[\w-]{48}|sntryu_[a-f0-9]{64}"
    r"|sm_(?:aat|pat|sat)_[A-Za-z0-9]{16}|shippo_(?:live|test)_[a-fA-F0-9]{40}|SK[0-9a-f]{32}|sq0(?:atp|csp|idp)-[\w-]{22,43}"
    r"|tfp_[\w=.-]{59}|s\.(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{24}|t1\.[A-Z0-9a-z_-]{1,200}=?\.[A-Z0-9a-z_-]{86}={0,2}|AQVN[\w-]{35,38}|YC[\w-]{38}"
    r"|pubkey-[a-f0-9]{32}|[ps]k\.eyJ[\w-]{20,200}\.[\w-]{20,60}|\w{6}_\w{29}_mmk|A{20,24}[A-Za-z0-9%]{60,110}"
    r"|apify_api_\w{36}|aio_[A-Za-z0-9]{28}|CCIPAT_\w{20,80}|lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|[ps]k-lf-[a-f0-9-]{36}"
    r"|pgar_\w{20,60}|nvapi-[\w-]{60,70}|tvly-\w{20,60}|vcp_\w{24,60}|sbp_[a-f0-9]{40}|sb_secret_[\w-]{20,60}|re_[A-Za-z0-9]{8}_\w{20,40}"
    r"|whsec_[A-Za-z0-9+/=]{24,80}|bkua_[a-f0-9]{40}|crates-io-[A-Za-z0-9]{30,40}|cio[a-zA-Z0-9]{32}|ATCTT3\w{50,250}|ATBB\w{32}"
    r"|AC[0-9a-f]{32}(?=[:,\s\"']{1,4}[0-9a-f]{32})|phc_[A-Za-z0-9]{40,50}|phx_\w{40,50}|ls__[a-f0-9]{32}|jina_\w{50,80}"
    r"|co_[A-Za-z0-9]{40}|ant-api\d\d-[\w-]{60,100}|mist_\w{30,60}|tgp_v1_[\w-]{40,60}|pk_live_\w{20,110}"
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}(?:\.[\w-]{0,1000})?"
    r")"
)
WEBHOOK: Final = re.compile(
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{20,120}"
    r"|discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{30,100}"
    r"|[\w-]{1,60}\.webhook\.office\.com/webhookb2/[\w@/-]{60,250}"
)
# What is named after a credential, and is none: secretName, key_id, token count, keyboard.
SUFFIX: Final = re.compile(
    r"(?i)s?[ _.-]?(?:name|id|count|type|length|size|file|path|ur[il]|ref|version|index|hash|vault|ring|pair|space"
    r"|word\b|board"
    r"|expir|limit|usage)"
)
HASHED: Final = re.compile(r"hash|md5|sha-?\d|digest|checksum")
# In a connection string, whatever stands for the password is one.
CONNECTION: Final = re.compile(
    r"(?i)\b(?:server|data source|host|hostname|user id|uid|user|username|accountname|endpoint|driver|database)\s?="
    r"[^;\n]{1,120};(?:[^;\n]{0,120};){0,6}?\s?(?:password|pwd|accountkey|sharedaccesskey)\s?=\s?"
    r"[\"'{]?([^;\s\"'}]{4,200})"
)
TOKEN: Final = re.compile(r"[A-Za-z0-9_+/~%-]{16,400}={0,2}")
UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Services whose keys have no prefix of their own: a random value that is assigned to the name of one is its key.
SERVICES: Final = re.compile(
    r"(?i)(?:abstract|adafruit|adobe|airbrake|airtable|algolia|alibaba|aliyun|amplitude|artifactory|asana|atlassian|auth0|aws"
    r"|azure|beamer|bing|bitbucket|bitly|bittrex|bitmex|braintree|browserstack|buildkite|bugsnag|circleci|clearbit"
    r"|cloudflare|cloudinary|codecov|cohere|coinbase|confluent|contentful|databricks|datadog|deepgram|digital_?ocean"
    r"|discord|docusign|drone_?ci|dropbox|elevenlabs|etsy|facebook|fastly|figma|finicity|finnhub|firebase|flickr"
    r"|freshbooks|freshdesk|giphy|git_?hub|git_?lab|gitter|gocardless|grafana|heroku|honeybadger|hubspot|huggingface"
    r"|instagram|intercom|ipinfo|jenkins|jfrog|xray|jira|kraken|kucoin|launchdarkly|linear|linked_?in|lob|looker"
    r"|mail_?chimp|mail_?gun|mapbox|mattermost|meraki|message[_-]?bird|mistral|netlify|new[_-]?relic|notion|nytimes"
    r"|new-york-times|okta|openai|openweather\w{0,4}|pagerduty|paypal|pinecone|plaid|postman|privateai|rapidapi|razorpay"
    r"|replicate|segment|sendbird|sendgrid|sentry|shodan|shopify|slack|snyk|sonar\w{0,4}|spotify|square|squarespace"
    r"|stripe|sumo(?:logic)?|telegr\w{0,2}|tiktok|travis|trello|twilio|twitch|twitter|typeform|unsplash|vercel|virustotal"
    r"|wakatime|weatherapi|yandex|youtube|zapier|zendesk|zoom)[\w.\s-]{0,30}[\"'`\]]{0,2}\s{0,3}(?::=|=>|\|\||\?=|[=:>,])>?"
    r"\s{0,3}[\"'`\[(]{0,2}\Z"
    r"|<(?:secret|password|token|apikey|api_key)>[^<>]{0,40}\Z"
)
HARMLESS: Final = re.compile(
    r"(?i)(?:sha-?\d{1,3}|md5|hash|checksum|digest|commit|revision|etag|fingerprint|integrity|trace|span|request|session|build"
    r"|image|partition|primary|foreign|sort|cache|routing|public|client|tenant|subscription|object|resource|account|project|app(?:lication)?|device|instance|cluster)"
    r"[\w.-]{0,12}(?: (?:key|token))?\W{0,6}\Z"
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
    r"(?i)[\w.-]{0,24}[\"'\]*`]{0,4}\s{0,4}(?:=>|:=|\?=|\|\|:|==?|:|\bis\b|,|(?=\s{0,2}[\"'`]))\s{0,4}[*`]{0,2}[\"'`]?"
    r"([^\s\"'`,;<>(){}\[\]]{8,200})"
)
PLACEHOLDER: Final = re.compile(
    r"(?i)your|example|placeholder|x{4}|\*{3}|change.?me|[<{]|^[$%]|\$[({A-Z]|redacted|dummy|environ|getenv|process\.|_here|insert"
    r"|\.{3}|…|sample|123456|abcdef|abc123|xyz789|klmnop|qrstuv|deadbeef|0{8}|fake|foo|bar\b|config|settings|function|self\.|this\.|replace|my[_-]?(?:secret|api|pass|key|token)"
)
_ENDINGS: Final = frozenset(
    """pem crt cer key pub jks p12 pfx json yaml yml toml ini cfg conf properties env txt md html xml csv js ts "
    "py go rs java
    rb php cs sh sql log png jpg jpeg svg gif pdf com net org io dev local internal""".split()
)
LETTERS: Final = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{3,}")
VOWEL: Final = re.compile(r"(?i)[aeiouy]")
HARD: Final = re.compile(r"(?i)[^aeiouy]{4}")
WORDY: Final = re.compile(r"[A-Za-z]{2,20}(?:[_.:/-][A-Za-z]{2,20}){1,8}")
HEX: Final = re.compile(r"[a-fA-F0-9-]{16,200}")

# Names after which a UUID, too, is a credential.
_STRONG_NAMES: Final = (
    "api_key",
    "apikey",
    "api-key",
    "secret",
    "token",
    "password",
    "secret_key",
    "access_key",
    "api key",
    "passwd",
    "pwd",
    "passphrase",
    "secretkey",
    "accesskey",
    "auth",
    "private_key",
)
_CHOSEN: Final = ("password", "passwd", "passphrase", "pwd")
_DULL: Final = ("pass", "pwd", "secret", "user", "admin", "test", "demo")
_NAMES: Final = ("key", "secret", "password", "passwd", "passphrase", "pwd", "token", "auth", "credential", "signature")
_HEADERS: Final = ("bearer ", "authorization", "basic ", "splunk ", "apikey ", "api-token ")
_SHORTEST: Final = 14


def find_secrets(text: str, pieces: Sequence[str] | None = None, digits: int = 1) -> Signal:
    """The credentials in a text: strength by kind, places, kinds; placeholders are not counted.

    `pieces` are those of `text.split()` and `digits` how many the text holds, where the caller knows them.
    """
    return strongest(list(_candidates(text, text.split() if pieces is None else pieces, digits))) if text else CLEAN


def _candidates(text: str, pieces: Sequence[str], digits: int) -> Iterator[Signal]:
    # No key holds a blank: only the few long pieces of a text need to be searched for prefixes.
    long = " ".join([piece for piece in pieces if len(piece) >= _SHORTEST])
    tokens = [token for token in TOKEN.findall(long) if not token.isalpha()]
    if long and PROVIDER_KEYS.search(long):
        yield from _known(text)
    if "PRIVATE KEY" in text:
        for match in PRIVATE_KEY.finditer(text):
            yield Signal(1.0, (match.span(),), "private key")
    if "://" in long:
        yield from _in_urls(text)
    lower = text.lower()
    if not digits and not any(name in lower for name in _CHOSEN):
        return  # no value without a digit but a password is taken for a credential
    if len(lower) == len(text):  # not so for a few signs that grow; then the places would not fit
        yield from _assigned(text, lower)
    if (tokens and any(name in lower for name in _HEADERS)) or " -u" in text or "--user" in text:
        yield from _in_headers(text)
    if tokens:
        yield from _of_services(text, tokens)
    if ";" in text and ("password" in lower or "pwd" in lower or "key=" in lower):
        yield from _in_connections(text)


def _known(text: str) -> Iterator[Signal]:
    for match in PROVIDER_KEYS.finditer(text):
        value = match.group()
        varied = entropy(value[4:]) >= (2.5 if any(c.isdigit() for c in value[3:]) else 3.5)
        if varied and not PLACEHOLDER.search(value) and not value.startswith(_SAMPLE_JWT) and not _words_only(value):
            yield Signal(0.98, (match.span(),), "provider key")


_SAMPLE_JWT: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkw"  # the one of the documentation


def _of_services(text: str, tokens: Sequence[str]) -> Iterator[Signal]:
    at = 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0:
            continue
        at = start + len(token)
        before = text[max(0, start - 60) : start]
        if SERVICES.search(before) and not HARMLESS.search(before) and randomness(token, named=True) > 0:
            yield Signal(0.75, ((start, at),), "key of a service")


def _in_connections(text: str) -> Iterator[Signal]:
    for match in CONNECTION.finditer(text):
        value = match.group(1)
        if not PLACEHOLDER.search(value) and value.lower() not in _WEAK:
            yield Signal(0.85, (match.span(1),), "connection string")


def _assigned(text: str, lower: str) -> Iterator[Signal]:
    done = 0
    for at in sorted(_places(lower)):
        match = ASSIGNED.match(text, at) if at >= done else None
        if match:
            done = match.end()
            name, value = lower[max(0, at - 24) : at], match.group(1).rstrip(".*")
            named = name.endswith(_STRONG_NAMES)
            if SUFFIX.match(text, at) or (not named and HARMLESS.search(name)):
                continue
            if HEX.fullmatch(value) and HASHED.search(lower, max(0, at - 40), at):
                continue
            chosen = name.endswith(_CHOSEN) and not any(word in value.lower() for word in _DULL)
            if (strength := randomness(value, named=named, chosen=chosen)) > 0:
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


def randomness(value: str, *, named: bool = False, chosen: bool = False) -> float:
    """How much a value looks generated, in [0, 1]: 0 for words, placeholders and code, from 0.6 for keys.

    `named`: it was called a credential in so many words, so that a UUID may be one. `chosen`: it was called a password,
    which people make of words.
    """
    if len(value) < 8 or PLACEHOLDER.search(value) or WORDY.fullmatch(value) or _is_place(value):
        return 0.0
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    signs = len(value) - digits - letters
    if chosen and not digits and letters and len(value) >= 10 and not is_spoken(value):
        switches = sum(a.islower() != b.islower() for a, b in pairwise(value))
        return 0.6 if switches >= 4 and entropy(value) >= 3.0 else 0.0
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
        if not named and UUID.fullmatch(value):
            return 0.0
        return 0.8 if measure >= 2.8 and digits >= 3 else 0.0
    if not chosen and is_spoken(value):
        return 0.0
    if len(value) < 10:
        return 0.6 if signs and measure >= 2.75 and value.lower() != value else 0.0
    return 0.75 if measure >= 3.0 else 0.0


def _words_only(value: str) -> bool:
    """Whether what follows the prefix of a key is words: a name in a program that happens to begin so."""
    return not any(c.isdigit() for c in value[3:]) and is_spoken(value)


def _is_place(value: str) -> bool:
    """Whether a value is the name of a file or a host."""
    return "." in value and value.rsplit(".", 1)[1].split(":")[0].lower() in _ENDINGS


def is_spoken(value: str) -> bool:
    """Whether most of a value is words that can be pronounced, as in names of hosts, files and variables."""
    runs = [run for run in LETTERS.findall(value) if VOWEL.search(run) and not HARD.search(run)]
    return sum(map(len, runs)) > 0.55 * len(value)


def entropy(value: str) -> float:
    """Shannon entropy in bits a character; 0 for an empty text.

    >>> entropy("abcdabcd")
    2.0
    """
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
