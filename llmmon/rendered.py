"""A message as text for people, with nothing that is secret but what its body holds."""

from __future__ import annotations

import orjson

from llmmon.mail import Mail
from llmmon.outgoing import Outgoing
from llmmon.renderers.plain import plain_lines
from llmmon.transport import Request


def rendered(message: Outgoing) -> str:
    """`POST https://host` and the body; a mail's head and text; a program and what it reads."""
    payload = message.payload
    if isinstance(payload, Request):
        return plain_lines(f"{payload.method} {payload.host}\n{_indented(payload.body)}")
    if isinstance(payload, Mail):
        head = f"mail by {message.place}\nFrom: {payload.sender}\nTo: {', '.join(payload.recipients)}"
        return plain_lines(f"{head}\nSubject: {payload.subject}\n\n{payload.text}")
    return plain_lines(f"run {payload.name}\n{_indented(payload.stdin)}")


def _indented(body: bytes) -> str:
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
