"""Take secrets and personal data out of a text before it leaves the machine.

A finder says what is certainly a credential, so that a flag can be trusted; here the opposite error counts. Whatever
may be one goes: whole blocks of keys, keys that look like placeholders, every long random run. Words and prose stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llmmon.quality.scorers.flags import TextSpan
from llmmon.quality.scorers.personal_data import CARD, find_personal_data, luhn
from llmmon.quality.scorers.secrets import (
    CONNECTION,
    PROVIDER_KEYS,
    WEBHOOK,
    entropy,
    find_secrets,
    is_spoken,
)

SECRET, PERSONAL = "[redacted secret]", "[redacted personal data]"
BEGIN: Final = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-{4,5}")
END: Final = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-{4,5}")
# what stands between the lines of a key: blanks, also as `\n` in a string, quotes and signs of programs
PIECE: Final = re.compile(r"[A-Za-z0-9+/=_-]+")
RUN: Final = re.compile(r"[A-Za-z0-9+/_~-]{32,}={0,2}")
DISCORD: Final = re.compile(r"\b[MNO][\w-]{22,28}\.[\w-]{6}\.[\w-]{25,40}")
LOGIN: Final = re.compile(r"://[^\s/@\"'<>]{0,80}?:([^\s@/\"'<>]{2,200})@[\w.-]")
HEADER: Final = re.compile(r"(?i)\b(?:bearer|basic|token|apikey|api-key)\s{1,3}([\w.~+/=-]{12,2000})")
NAMES: Final = re.compile(
    r"(?i)passw(?:or)?d|passwort|kennwort|passphrase|pwd|contraseña|mot de passe|senha"
    r"|пароль|密码|密碼|パスワード|비밀번호|secret|token|api[_ -]?key|access[_ -]?key|account[_ -]?key"
    r"|private[_ -]?key|auth|credential|signature"
)
# what is assigned to such a name, shorter than what a flag would be raised for
GIVEN: Final = re.compile(
    r"[\w.-]{0,24}[\"'\]*`]{0,4}\s{0,4}(?:=>|:=|\?=|==?|:|\bis\b|,|(?=\s{0,2}[\"'`]))\s{0,4}[*`]{0,2}[\"'`]?"
    r"([^\s\"'`,;<>(){}\[\]]{4,200})"
)
_LONGEST_BLOCK: Final = 40_000  # characters; 16,384-bit RSA keys have 12,600
_LEAST_LINE: Final = 16  # characters of a line of a key, but for its last
_RANDOM_BITS: Final = 3.6  # entropy of a character in a random run of 32


def redact(text: str) -> str:
    """The text with all that may be a secret or personal data replaced by `[redacted secret]` and the like."""
    text = _replaced(text, [*_keys(text), *_runs(text)], SECRET)
    return _replaced(text, _personal(text), PERSONAL)


def redact_keys(text: str) -> str:
    """The text of an error with the credentials in it replaced; ids of requests stay, which only look random."""
    return _replaced(text, _keys(text), SECRET)


def _keys(text: str) -> list[TextSpan]:
    """Where something stands that may be a credential, by its form or by its name."""
    found = [*find_secrets(text).spans, *_blocks(text)]
    found += [match.span() for pattern in (PROVIDER_KEYS, WEBHOOK, DISCORD) for match in pattern.finditer(text)]
    found += [match.span(1) for pattern in (LOGIN, CONNECTION, HEADER) for match in pattern.finditer(text)]
    for named in NAMES.finditer(text):
        assigned = GIVEN.match(text, named.end())
        if assigned and _is_value(assigned[1]):
            found.append(assigned.span(1))
    return found


def _replaced(text: str, spans: list[TextSpan], by: str) -> str:
    parts: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start >= at:
            parts += [text[at:start], by]
        at = max(at, end)
    return "".join((*parts, text[at:]))


def _personal(text: str) -> list[TextSpan]:
    cards = [match.span() for match in CARD.finditer(text) if luhn(re.sub(r"\D", "", match.group()))]
    return [*find_personal_data(text).spans, *cards]


def _blocks(text: str) -> Iterator[TextSpan]:
    """Whole private keys: from their first to their last line, or as far as there is key where one is cut off."""
    if "PRIVATE KEY" not in text:
        return
    at = 0
    for begin in BEGIN.finditer(text):
        if begin.start() < at:
            continue
        end = END.search(text, begin.end(), begin.end() + _LONGEST_BLOCK)
        at = end.end() if end else _end_of_key(text, begin.end())
        yield begin.start(), at
    for end in END.finditer(text):
        if end.start() >= at or not BEGIN.search(text, max(0, end.start() - _LONGEST_BLOCK), end.start()):
            yield _start_of_key(text, end.start()), end.end()


def _end_of_key(text: str, start: int) -> int:
    """Where the lines of a key end that begin here."""
    at = start
    for piece in PIECE.finditer(text, start, start + _LONGEST_BLOCK):
        size = len(piece[0])
        after = text[piece.end() : piece.end() + 1]
        is_header = piece.start() - start < 400 and (after in (":", ",") or piece[0].isupper())
        if size < _LEAST_LINE and not is_header and not _is_value(piece[0]) and size > 2:
            break
        at = piece.end()
    return at


def _start_of_key(text: str, end: int) -> int:
    """Where the lines of a key begin that end here."""
    at = end
    pieces = list(PIECE.finditer(text, max(0, end - _LONGEST_BLOCK), end))
    for number, piece in enumerate(reversed(pieces)):
        if len(piece[0]) < _LEAST_LINE and number and not _is_value(piece[0]):
            break
        at = piece.start()
    return at


def _runs(text: str) -> Iterator[TextSpan]:
    """Long runs without a blank that are no words: keys, tokens, lines of base64."""
    for match in RUN.finditer(text):
        run = match[0]
        kinds = (any(map(str.isupper, run)), any(map(str.islower, run)), any(map(str.isdigit, run)))
        if sum(kinds) == len(kinds) and entropy(run) >= _RANDOM_BITS and not is_spoken(run):
            yield match.span()


def _is_value(value: str) -> bool:
    """Whether what is assigned may be a secret, and is no word."""
    core = value.strip(".,:!?*_")
    if len(core) < 4 or (core.isdigit() and len(core) < 6):
        return False
    return not core.isalpha() or (core.lower() != core and core.upper() != core and not core.istitle())
