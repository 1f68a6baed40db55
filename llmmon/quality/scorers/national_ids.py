"""Numbers that states give to people, by form, check digits and, where a form says little, the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Final, NamedTuple

from llmmon.quality.scorers.flags import Signal

_BEFORE: Final = 60  # characters in which a number is called what it is
_AFTER: Final = 25


class Kind(NamedTuple):
    """One number: its form, the module of `stdnum` that checks it, and words of which one must be near; None: none."""

    form: re.Pattern[str]
    module: str | None
    words: re.Pattern[str] | None


def _kind(form: str, module: str | None, words: str | None = None) -> Kind:
    return Kind(
        re.compile(rf"(?<![\w.,-]){form}(?![\w-]|[.,]\d)"), module, re.compile(rf"(?i){words}") if words else None
    )


# Forms with letters, dates or two check digits need no word beside them; for bare digits a check passes by chance.
KINDS: Final[dict[str, Kind]] = {
    "au medicare": _kind(r"[2-6]\d{3} ?\d{5} ?\d{1,2}", None, r"\bmedicare"),
    "au tfn": _kind(r"\d{3} ?\d{3} ?\d{3}", "au.tfn", r"\btfn\b|tax file"),
    "be national number": _kind(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
    "bg egn": _kind(r"\d{10}", "bg.egn", r"\begn\b|егн"),
    "br cpf": _kind(r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    "br cpf in digits": _kind(r"\d{11}", "br.cpf", r"\bcpf\b"),
    "ca sin": _kind(r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin", r"\bsin\b|social insurance"),
    "ch ahv": _kind(r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}", "ch.ssn"),
    "cl rut": _kind(r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", "cl.rut"),
    "cn id": _kind(r"[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx]", "cn.ric"),
    "cz birth number": _kind(r"\d{6}/\d{3,4}", "cz.rc"),
    "de tax id": _kind(r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", "de.idnr", r"steuer|idnr|tax.?id|\btin\b"),
    "de insurance number": _kind(r"\d{2} ?[0-3]\d[01]\d\d{2} ?[A-Z] ?\d{3}", None, r"versicherung|\bsvnr|\brvnr"),
    "dk cpr": _kind(r"[0-3]\d[01]\d{3}-\d{4}", "dk.cpr"),
    "ee id": _kind(r"[1-6]\d{10}", "ee.ik", r"isikukood|personal (?:id|code)"),
    "es dni": _kind(r"(?:\d{8}|\d{2}\.\d{3}\.\d{3})-?[A-Z]", "es.dni"),
    "es nie": _kind(r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    "fi hetu": _kind(r"[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[0-9A-Y]", "fi.hetu"),
    "fr nir": _kind(r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    "gb nhs number": _kind(r"\d{3}[ -]\d{3}[ -]\d{4}|\d{10}", "gb.nhs", r"\bnhs\b"),
    "gb nino": _kind(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", None),
    "hk id": _kind(r"[A-Z]{1,2}\d{6}\([\dA]\)", None),
    "ie pps": _kind(r"\d{7}[A-W][A-IW]?", "ie.pps", r"\bpps"),
    "il id": _kind(r"\d{9}", "il.idnr", r"teudat|israeli? id|תעודת"),
    "in aadhaar": _kind(r"[2-9]\d{3}[ :-]\d{4}[ :-]\d{4}", "in_.aadhaar"),
    "in aadhaar in digits": _kind(r"[2-9]\d{11}", "in_.aadhaar", r"aadh?aar|\buid"),
    "in pan": _kind(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", "in_.pan"),
    "it fiscal code": _kind(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    "jp my number": _kind(r"\d{4}[ -]?\d{4}[ -]?\d{4}", None, r"my ?number|マイナンバー|個人番号"),
    "kr rrn": _kind(r"\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])-[1-8]\d{6}", "kr.rrn"),
    "lt id": _kind(r"[1-6]\d{10}", "lt.asmens", r"asmens kod"),
    "mx curp": _kind(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", "mx.curp"),
    "nl bsn": _kind(r"\d{3}[. ]?\d{3}[. ]?\d{3}|\d{4}\.\d{2}\.\d{3}", "nl.bsn", r"\bbsn\b|burgerservice|sofinummer"),
    "no id": _kind(r"\d{6} ?\d{5}", "no.fodselsnummer", r"f[øo]dselsnummer|personnummer|national id"),
    "pl pesel": _kind(r"\d{11}", "pl.pesel", r"pesel"),
    "pt nif": _kind(r"\d{3} ?\d{3} ?\d{3}", "pt.nif", r"\bnif\b|contribuinte"),
    "ro cnp": _kind(r"[1-9]\d{12}", "ro.cnp", r"\bcnp\b|numeric personal"),
    "se personnummer": _kind(r"(?:19|20)?\d{2}[01]\d[0-3]\d[-+]\d{4}", "se.personnummer"),
    "se personnummer in digits": _kind(
        r"(?:19|20)?\d{2}[01]\d[0-3]\d{5}", "se.personnummer", r"personnummer|\bpnr\b|identity code"
    ),
    "sg nric": _kind(r"[STFGM]\d{7}[A-Z]", None, r"nric|\bfin\b|singapore|identity|\bic\b|\bid\b"),
    "th id": _kind(r"\d-\d{4}-\d{5}-\d{2}-\d", "th.pin"),
    "th id in digits": _kind(r"[1-8]\d{12}", "th.pin", r"thai|บัตรประชาชน"),
    "tr id": _kind(r"[1-9]\d{10}", "tr.tckimlik", r"\bt\.?c\.?\b|kimlik|turkish id"),
    "tw id": _kind(r"[A-Z][12]\d{8}", None, r"taiwan|身分證|national id"),
    "us itin": _kind(r"9\d{2}[- ]?(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])[- ]?\d{4}", None, r"itin|taxpayer"),
    "us mbi": _kind(
        r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}",
        None,
        r"medicare|\bmbi\b|patient|beneficiary",
    ),
    "us npi": _kind(r"[12]\d{9}", None, r"\bnpi\b|national provider"),
    "us passport": _kind(r"[A-Z]?\d{8,9}", None, r"passport(?: no| num|#|:| is)"),
    "us routing number": _kind(r"\d{9}", "us.rtn", r"routing|\baba\b|\brtn\b"),
    "za id": _kind(r"\d{2}[01]\d[0-3]\d ?\d{4} ?[01][89]\d", "za.idnr", r"south african?|\bsa id|\bid\b|identity"),
}
# A capital letter right before a digit: what the numbers above have that hold no seven digits in a row.
LIKELY: Final = re.compile(r"\d(?:(?<=[A-Z]\d)|(?<=[A-Z][ -]\d))")
# Where a number may be: digits, and capitals and marks between them.
CLUSTER: Final = re.compile(r"\d[\dA-Z .:/()+-]{3,40}")
_LEAD: Final = 9  # capitals before the first digit
SAMPLE: Final = re.compile(r"123.?456.?789|(\d)\1{7}|QQ ?12 ?34 ?56|AB ?12 ?34 ?56|12345678")


def find_national_ids(text: str) -> Iterator[Signal]:
    """The numbers in a text; those of documentation count little."""
    for cluster in CLUSTER.finditer(text):
        start, end = max(0, cluster.start() - _LEAD), cluster.end() + 2
        for name, kind in KINDS.items():
            for match in kind.form.finditer(text, start, end):
                if _is_called(kind, text, match) and _holds(kind.module, match.group()):
                    yield Signal(0.2 if SAMPLE.search(match.group()) else 0.85, (match.span(),), name.split(" in ")[0])


def _is_called(kind: Kind, text: str, match: re.Match[str]) -> bool:
    """Whether one of the words of its kind is near a number, where it needs one."""
    if kind.words is None:
        return True
    before = text[max(0, match.start() - _BEFORE) : match.start()]
    return kind.words.search(f"{before} {text[match.end() : match.end() + _AFTER]}") is not None


def _holds(module: str | None, value: str) -> bool:
    """Whether the check digits hold, where the number has some."""
    if module is None:
        return True
    return bool(import_module(f"stdnum.{module}").is_valid(value.replace(":", "")))
