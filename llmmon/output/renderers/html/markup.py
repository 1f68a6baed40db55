"""Elements of HTML and SVG: text is escaped unless it is markup."""

from __future__ import annotations

from html import escape
from typing import Final

from llmmon.text.figures import plain

_EMPTY: Final = {"meta", "line", "rect", "path", "input"}
_MIXED: Final = {
    "viewbox": "viewBox",
    "preserveaspectratio": "preserveAspectRatio",
    "patternunits": "patternUnits",
    "patterntransform": "patternTransform",
}
_SELF_CLOSED: Final = {"line", "rect", "path"}


class Html(str):
    """Text that is markup; any other text is escaped."""

    __slots__ = ()


def el(name: str, *inside: str, **attributes: str) -> Html:
    """An element; `class_` is the attribute class, `aria_label` aria-label."""
    written = "".join(f' {_attribute(key)}="{_safe(value)}"' for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{written}{'/' if name in _SELF_CLOSED else ''}>")
    return Html(f"<{name}{written}>{joined(*inside)}</{name}>")


def row(*cells: str) -> Html:
    """A row of figures, the first of which names it, without the end tags that HTML does not need.

    Tables of values are most of a page's bytes.
    """
    first, *others = (joined(cell) for cell in cells)
    return Html(f"<tr><th>{first}{''.join(f'<td>{cell}' for cell in others)}")


def joined(*parts: str) -> Html:
    """The parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else _safe(part) for part in parts))


def _attribute(key: str) -> str:
    return _MIXED.get(key) or key.rstrip("_").replace("_", "-")


def _safe(text: str) -> str:
    return escape(plain(text), quote=True)
