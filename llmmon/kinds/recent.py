"""What rules on a window read by the minute: its metric as far as the window, and how long each group was quiet."""

from __future__ import annotations

import msgspec

from llmmon.history import Stream, stream_of
from llmmon.kinds.kind import Past
from llmmon.partials import Partials, merge
from llmmon.readings import FORGOTTEN_AFTER
from llmmon.rules import MINUTE_US, AlertRule


def recent_needs(rule: AlertRule) -> dict[Stream, int]:
    """The streams of a rule's window: its values, which are many, for the window only, sums until a group is gone."""
    stream, window = stream_of(rule), rule.window_us // MINUTE_US
    if not stream.values:
        return {stream: max(window, FORGOTTEN_AFTER)}
    return {stream: window, _sums(stream): max(window, FORGOTTEN_AFTER)}


def recent_past(past: Past, rule: AlertRule) -> Partials:
    """What `recent_needs` asked for, as one history."""
    stream = stream_of(rule)
    if not stream.values:
        return past[stream]
    return merge([past[_sums(stream)], msgspec.structs.replace(past[stream], sums={})])


def _sums(stream: Stream) -> Stream:
    return msgspec.structs.replace(stream, values=False)
