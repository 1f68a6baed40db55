"""Personal data that can be checked: e-mail, card (Luhn), IBAN (mod 97), SSN, phone, IP address, national numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from stdnum import iban

from llmmon.quality.scorers.flags import CLEAN, Signal, strongest
from llmmon.quality.scorers.national_ids import LIKELY, find_national_ids

EMAIL: Final = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,6}[A-Za-z]{2,24}\b")
# A boundary stands after the first sign, not before it, so that the search can jump to digits.
SSN: Final = re.compile(r"\d(?<![\d-]\d)(?<!9)\d{2}(?<!000)(?<!666)([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\d-])")
CARD: Final = re.compile(r"\d(?<![\d.,]\d)(?:[ -]?\d){11,18}(?!\d|[.,]\d)")
IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}|[A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30})(?![A-Za-z0-9])"
)
IPV4: Final = re.compile(r"\d(?<![\d.]\d)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\d|\.\d)")
_LEAST_DIGITS: Final = 5  # of any number below
# The middle of an address of version 6.
GROUPS: Final = re.compile(r":[0-9A-Fa-f]{1,4}:{1,2}[0-9A-Fa-f]{1,4}[:\s.,)\]]")
IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){3,7}(?![\w:])")
PHONE: Final = re.compile(
    r"(?<![\w.,/#$€£])(?:"
    r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,5}(?:[ .-]?\d{2,4}){1,4}"
    r"|(?:00\d{1,3}[ .-])?\(0?\d{1,4}\)[ .-]?\d{2,4}(?:[ .-]\d{2,4}){1,3}"
    r"|\d{2,5}[ .-]\d{2,4}(?:[ .-]\d{2,4}){1,3}|\d{3}[ .-]\d{4}|0\d{9,10}|0\d{1,4}[ /-]\d{5,8}|\d{5} \d{5,6}"
    r"|1[3-9]\d{9}|[6-9]\d{9}"
    r")(?:x\d{1,6})?(?![\w-]|\.\d|,\d)"
)
DATE: Final = re.compile(
    r"(?:19|20)\d\d[-. ]\d{1,2}|\d{4} ?- ?\d{4}\Z|\d{1,2}[-. ]\d{1,2}[-. ](?:19|20)\d\d(?!\d)|\d{5}-\d{4}\Z"
)
SPOKEN: Final = re.compile(
    r"(?i)\b(?:(?:tele)?phone|call|tel|fax|mobile|contact|number|cell|whatsapp|text|reach|ring|dial)(?:s|ed|ing)?\b"
    r"|\b(?:telefon\w{0,6}|handy|mobil\w{0,5}|rufnummer|téléphone|portable|appele[rz]|teléfono|móvil|celular|llam\w{1,4}"
    r"|telefone|cellulare|chiam\w{1,4}|telefoon|numer|тел|телефон\w{0,3}|звони\w{0,4})\b|电话|手机|致电|電話|携帯|전화"
)
NOT_CALLED: Final = re.compile(
    r"(?i)(?:isbn|issn|doi|order|invoice|version|=|\bid|part)\W{0,3}(?:no\.?|number)?\W{0,6}\Z"
)
DOTTED: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_NEAR: Final = 40  # characters before a number in which it is called a phone's
CARD_WORDS: Final = re.compile(r"(?i)card|credit|payment|visa|master")
INVENTED: Final = re.compile(
    r"(?i)@(?:[\w-]{1,40}\.){0,3}(?:example|domain|email|company|yourdomain|yourcompany|test|sample|acme)\.|@example\b"
    r"|^(?:your|user|name|first|someone|example|john\.?doe|jane\.?doe)[\w.]*@|no-?reply@|git@"
)
# Fictional and free numbers are nobody's.
INVENTED_NUMBER: Final = re.compile(
    r"\A0(?:120|570|800|180[0-9]?)(?!\d)|555[ .-]?0?1\d\d|123[ .()-]{0,3}456[ .-]?7890|(\d)(?:[ .()-]{0,3}\1){6}"
    r"|1234567"
    r"|\A(?:\+?1[ .-]?)?\(?8(?:00|33|44|55|66|77|88)[ .)-]"
)
# The sizes of IBANs run from Norway's 15 to Malta's 31 and Saint Lucia's 32.
_IBAN_SIZES: Final = range(15, 35)
# Seven digits with little between them, or the first two dots of an address: what all numbers below have.
DIGITS: Final = re.compile(r"\d(?:(?:[ .()/-]{0,3}\d){6}|\.\d{1,3}\.\d)")


def find_personal_data(text: str, digits: int | None = None) -> Signal:
    """The personal data in a text: strength by kind, places, kinds; documented examples count little.

    `digits` is how many the text holds, where the caller knows it.
    """
    return strongest(list(_candidates(text, digits))) if text else CLEAN


def _candidates(text: str, digits: int | None) -> Iterator[Signal]:
    if "@" in text:
        for match in EMAIL.finditer(text):
            yield Signal(0.2 if INVENTED.search(match.group()) else 0.9, (match.span(),), "email")
    if ":" in text and GROUPS.search(text):
        for match in IPV6.finditer(text):
            yield Signal(_ip6(match.group()), (match.span(),), "ip")
    if digits is not None and digits < _LEAST_DIGITS:
        return
    if DIGITS.search(text):
        yield from _numbers(text)
    elif LIKELY.search(text):
        yield from find_national_ids(text)


def _numbers(text: str) -> Iterator[Signal]:
    taken: list[tuple[int, int]] = []
    for found in find_national_ids(text):
        taken += found.spans
        yield found
    for kind, pattern, strength in (("iban", IBAN, iban_strength), ("card", CARD, card_strength), ("ssn", SSN, _ssn)):
        for match in pattern.finditer(text):
            if (value := strength(match.group(), text)) > 0:
                taken.append(match.span())
                yield Signal(value, (match.span(),), kind)
    for match in IPV4.finditer(text):
        yield Signal(_ip(match.group()), (match.span(),), "ip")
    for match in PHONE.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in taken):
            value = phone_strength(match.group(), text[max(0, match.start() - _NEAR) : match.start()], text)
            if value > 0:
                yield Signal(value, (match.span(),), "phone")


def luhn(digits: str) -> bool:
    """Whether the digits pass the check of ISO/IEC 7812.

    >>> luhn("4539578763621486")
    True
    """
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def card_strength(value: str, text: str) -> float:
    """0.95 for a payment card by issuer range, size and Luhn digit; 0.1 for a known test number, else 0."""
    digits = re.sub(r"\D", "", value)
    groups = re.split(r"[ -]", value)
    if not luhn(digits) or len(set(digits)) < 3 or min(map(len, groups[:-1]), default=4) < 3:
        return 0.0
    issuer = digits[0] in "3456" or 22 <= int(digits[:2]) <= 27 or digits[:4] in ("1800", "2131")
    if 13 <= len(digits) <= 19 and issuer:
        return 0.1 if digits in _TEST_CARDS else 0.95
    return 0.7 if len(digits) == 12 and digits[0] in "56" and CARD_WORDS.search(text) else 0.0


_TEST_CARDS: Final = frozenset({"4111111111111111", "4242424242424242", "5555555555554444", "378282246310005"})


def iban_strength(value: str, text: str) -> float:  # noqa: ARG001  # one signature for all kinds
    """0.95 where the check digits of ISO 13616 and the form of its country hold, else 0."""
    plain = re.sub(r"[\s-]", "", value).upper()
    if len(plain) not in _IBAN_SIZES:
        return 0.0
    number = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
    return 0.95 if int(number) % 97 == 1 and iban.is_valid(plain) else 0.0


def _ssn(value: str, text: str) -> float:
    if value in ("123-45-6789", "078-05-1120", "219-09-9999"):
        return 0.1
    return 0.9 if "-" in value or "ssn" in text.lower() or "social" in text.lower() else 0.6


def _ip(value: str) -> float:
    first, second, *rest = (int(part) for part in value.split("."))
    if max(first, second, *rest) > 255:
        return 0.0
    private = (
        first in (0, 10, 127, 255)
        or (first, second) in ((192, 168), (169, 254))
        or (first == 172 and 16 <= second < 32)
    )
    documented = value.startswith(("192.0.2.", "198.51.100.", "203.0.113.")) or value in ("8.8.8.8", "1.1.1.1")
    version = first < 10 and len(value) <= 8
    return 0.2 if private or documented or version else 0.7


def _ip6(value: str) -> float:
    try:
        address = ip_address(value)
    except ValueError:
        return 0.0
    return 0.7 if address.is_global else 0.2


def phone_strength(value: str, before: str, text: str) -> float:
    """From 0.6 for a number that is written as a phone's or called one; 0 for dates, years, books and plain sums.

    `before` is what stands before it. A number that is only long needs to be called a phone's in `text`.
    """
    digits = re.sub(r"\D", "", value)
    if not 7 <= len(digits) <= 15 or DATE.match(value) or NOT_CALLED.search(before) or DOTTED.fullmatch(value):
        return 0.0
    if INVENTED_NUMBER.search(value):
        return 0.3
    if value.startswith("+"):
        return 0.9
    near = SPOKEN.search(before) is not None
    if near or "(" in value:
        return 0.8
    if SPOKEN.search(text) is not None and "." not in value:
        return 0.7
    return 0.6 if len(digits) in (10, 11) and not value.isdigit() else 0.3
