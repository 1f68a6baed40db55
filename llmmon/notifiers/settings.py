"""What a channel's table may hold: each key with its kind, and what is wrong with a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from llmmon.durations import duration_us
from llmmon.errors import UsageError
from llmmon.names import nearest
from llmmon.transport import check_url

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REFERENCE: Final = re.compile(r"(env|file):.+", re.DOTALL)


class Setting(msgspec.Struct, frozen=True):
    """One key of a channel's table. A `secret` is never shown; `env:NAME` and `file:PATH` stand for what they hold."""

    kind: str
    required: bool = False
    default: Any = None
    secret: bool = False

    @property
    def refers(self) -> bool:
        """Whether its value may be kept elsewhere."""
        return self.kind in _REFERRING


def is_reference(value: Any) -> bool:
    """Whether a value only says where the real one is kept."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def fault(setting: Setting, value: Any) -> str:
    """What is wrong with a value; empty if nothing is. Never repeats the value, which may be secret."""
    return "" if setting.refers and is_reference(value) else KINDS[setting.kind](value)


def table_faults(table: Mapping[str, Any], known: Mapping[str, Setting], prefix: str) -> list[str]:
    """All that is wrong with a table, each as `prefix.key: what`."""
    found = []
    for key in table:
        if key not in known:
            guess = nearest(key, known)
            tail = f"did you mean {guess!r}?" if guess else f"known: {', '.join(sorted(known))}"
            found.append(f"{prefix}.{key}: unknown key, {tail}")
    for key, setting in known.items():
        if key not in table:
            if setting.required:
                found.append(f"{prefix}.{key}: is missing")
        elif why := fault(setting, table[key]):
            found.append(f"{prefix}.{key}: {why}")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        return "must be text"
    return "must be one line" if _CONTROL.search(value) else ""


def _url(value: Any) -> str:
    if why := _text(value):
        return why
    try:
        check_url(value)
    except UsageError as error:
        return str(error)
    return ""


def _address(value: Any) -> str:
    from email.utils import parseaddr

    if _text(value) or not parseaddr(value)[1]:
        return "must be a mail address"
    return ""


def _addresses(value: Any) -> str:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or any(not is_reference(one) and _address(one) for one in listed):
        return 'must be a list of mail addresses, as ["team@example.com"]'
    return ""


def _argv(value: Any) -> str:
    fine = isinstance(value, list) and value and all(isinstance(one, str) and "\0" not in one for one in value)
    return "" if fine and value[0].strip() else 'must be a list, the program first, as ["notify-send", "llmmon"]'


def _texts(value: Any) -> str:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        return 'must be a table of texts, as { name = "value" }'
    return ""


def _headers(value: Any) -> str:
    if why := _texts(value):
        return why
    if any(not _HEADER.fullmatch(name) for name in value):
        return "holds a name that no header can have"
    if any(_CONTROL.search(text) or not text.isascii() for text in value.values()):
        return "holds a value that no header can have"
    return ""


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _port(value: Any) -> str:
    fine = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
    return "" if fine else "must be a number from 1 to 65535"


def _duration(value: Any) -> str:
    try:
        fine = isinstance(value, str) and duration_us(value) > 0
    except UsageError:
        fine = False
    return "" if fine else "must be a duration, as 10s or 5m"


KINDS: Final[dict[str, Callable[[Any], str]]] = {
    "text": _text,
    "url": _url,
    "path": _text,
    "address": _address,
    "addresses": _addresses,
    "argv": _argv,
    "texts": _texts,
    "headers": _headers,
    "flag": _flag,
    "port": _port,
    "duration": _duration,
}
_REFERRING: Final = frozenset({"text", "url", "address", "addresses", "texts", "headers"})
