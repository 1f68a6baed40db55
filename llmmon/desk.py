"""What people do with alerts: acknowledge, resolve, silence. The same for the command line and the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from llmmon.alert import Alert, Silence, State, Transition
from llmmon.alerts import acknowledged, resolved
from llmmon.durations import iso
from llmmon.errors import UsageError
from llmmon.names import unknown
from llmmon.posting import post, send_due
from llmmon.statefile import StateFile

if TYPE_CHECKING:
    from llmmon.notifiers import Channel

Moved = tuple[Alert, list[Transition]]


def standing(state: StateFile, now_us: int, *, every: bool) -> tuple[list[Alert], list[dict[str, Any]]]:
    """The open alerts (with `every` all that are remembered), worst first, and the silences that still hold."""
    known = [a for a in state.alerts().values() if not a.resolved or (every and a.fired_us is not None)]
    known.sort(key=lambda a: (a.resolved, -a.severity.rank, -a.since_us, a.alert_id))
    held = [one for one in state.silences() if one.until_us > now_us]
    return known, [
        {**msgspec.to_builtins(one), "until": iso(one.until_us), "created": iso(one.created_us)} for one in held
    ]


def acknowledge(
    state: StateFile, ids: Iterable[str], why: str, now_us: int, channels: Sequence[Channel], env: Mapping[str, str]
) -> list[Alert]:
    """Acknowledge open alerts, and tell the services that want to know; raises `UsageError` for unknown ids."""
    reason = f"acknowledged{': ' * bool(why)}{why}"
    return _moved(state, ids, lambda alert: acknowledged(alert, now_us, reason), now_us, channels, env)


def resolve(
    state: StateFile, ids: Iterable[str], why: str, now_us: int, channels: Sequence[Channel], env: Mapping[str, str]
) -> list[Alert]:
    """Resolve open alerts by hand until their condition has cleared; raises `UsageError` for unknown ids."""

    def move(alert: Alert) -> Moved:
        if alert.state is not State.FIRING:
            held = msgspec.structs.replace(alert, resolved=True, resolved_us=now_us, held=True)
            return (alert if alert.resolved else held), []
        found: list[Transition] = []
        return resolved(alert, now_us, f"resolved by hand{': ' * bool(why)}{why}", found, held=True), found

    return _moved(state, ids, move, now_us, channels, env)


def _moved(
    state: StateFile,
    ids: Iterable[str],
    move: Callable[[Alert], Moved],
    now_us: int,
    channels: Sequence[Channel],
    env: Mapping[str, str],
) -> list[Alert]:
    by_name = {channel.name: channel for channel in channels}
    with state.transaction():
        before = state.alerts()
        chosen = [_called(before, text) for text in ids]
        after = dict(before)
        transitions: list[Transition] = []
        for alert in chosen:
            after[alert.alert_id], found = move(after[alert.alert_id])
            transitions += found
        state.save_alerts(before, after)
        post(state.outbox, transitions, by_name, now_us)
    send_due(state.outbox, by_name, [], now_us, env)
    return [after[alert.alert_id] for alert in chosen]


def _called(known: Mapping[str, Alert], text: str) -> Alert:
    found = [alert for name, alert in known.items() if name.startswith(text)]
    open_ones = [alert for alert in found if not alert.resolved]
    if len(found) == 1 or len(open_ones) == 1:
        return (open_ones or found)[0]
    if found:
        raise UsageError(f"{text!r} is the beginning of {len(found)} alert ids", hint="give more of it")
    open_ids = [name for name, alert in known.items() if not alert.resolved]
    raise UsageError(unknown("alert", text, open_ids) if open_ids else f"no alert {text!r}: none is open")


def add_silence(state: StateFile, matchers: Mapping[str, str], until_us: int, why: str, now_us: int) -> Silence:
    """Silence the alerts that fit until a moment."""
    text = "\x1f".join([str(now_us), *(f"{k}={v}" for k, v in sorted(matchers.items()))])
    made = Silence(sha256(text.encode()).hexdigest()[:8], dict(matchers), until_us, why, now_us)
    with state.transaction():
        state.save_silence(made)
    return made


def drop_silences(state: StateFile, ids: Iterable[str]) -> list[str]:
    """Take silences back, by their ids or the beginnings of them; raises `UsageError` for unknown ones."""
    dropped = []
    with state.transaction():
        for text in ids:
            known = [one.silence_id for one in state.silences()]
            found = [name for name in known if name.startswith(text)]
            if len(found) != 1:
                raise UsageError(unknown("silence", text, known) if known else f"no silence {text!r}: there is none")
            state.drop_silence(found[0])
            dropped.append(found[0])
    return dropped
