"""Safety: credentials, personal data, and recitation of the system prompt; never a bare keyword."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from llmmon.quality.scorers.corpus import Lexicon
from llmmon.quality.scorers.flags import CLEAN, UNKNOWN, Signal, strongest
from llmmon.quality.scorers.personal_data import find_personal_data
from llmmon.quality.scorers.secrets import find_secrets
from llmmon.quality.scorers.texts import Batch, both_ends, words

_RUN: Final = 8  # words in a row that chance does not repeat
_LEAST: Final = 24  # a shorter system prompt says too little
SYSTEM: Final = re.compile(
    r"(?is)\A\s{0,9}(?:\[?system\]?|<\|?(?:system|im_start\|>system)\|?>|<<SYS>>|\[INST\]\s{0,3}<<SYS>>)\s{0,3}[:\n>]?"
    r"(.{40,20000}?)(?=\n\s{0,9}(?:\[?(?:user|human)\]?\s{0,3}:|<\|?(?:user|im_end|/?s)\|?>|<</SYS>>)|\Z)"
)


def system_part(prompt: str | None, system: str | None) -> str | None:
    """The system prompt: as logged, else the leading system turn of a flattened conversation."""
    if system or not prompt:
        return system
    if "sys" not in prompt[:40].lower():
        return None
    match = SYSTEM.match(prompt[:24_000])
    return match.group(1) if match else None


def find_echo(output: str, system: str | None) -> Signal:
    """The share of the system prompt's 8-word runs that the output repeats; unknown without one."""
    if not system:
        return UNKNOWN
    wanted = words(both_ends(system))
    if len(wanted) < _LEAST:
        return UNKNOWN
    runs = _runs(wanted)
    said = _runs(words(both_ends(output)))
    if not said:
        return CLEAN
    share = len(runs & said) / len(runs)
    return Signal(min(1.0, 2.0 * share))


def _runs(found: list[bytes]) -> set[bytes]:
    return {b" ".join(found[i : i + _RUN]) for i in range(len(found) - _RUN + 1)}


# Enormous outputs are searched in their two ends only, so that the time is bounded.
_END: Final = 200_000


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Signal]]:  # noqa: ARG001  # the one interface
    """secret, personal_data and prompt_echo of each output."""
    systems = map(system_part, batch.prompts, batch.column("systems"))
    return {
        "secret": [
            find_secrets(text, pieces, digits) if len(text) <= 2 * _END else _searched(find_secrets, text)
            for text, pieces, digits in zip(batch.outputs, batch.output_pieces, batch.output_digits, strict=True)
        ],
        "personal_data": [
            find_personal_data(text, digits) if len(text) <= 2 * _END else _searched(find_personal_data, text)
            for text, digits in zip(batch.outputs, batch.output_digits, strict=True)
        ],
        "prompt_echo": [find_echo(text, system) for text, system in zip(batch.outputs, systems, strict=True)],
    }


def _searched(find: Callable[[str], Signal], text: str) -> Signal:
    if len(text) <= 2 * _END:
        return find(text)
    tail = find(text[-_END:])
    moved = tuple((start + len(text) - _END, end + len(text) - _END) for start, end in tail.spans)
    return strongest([find(text[:_END]), tail._replace(spans=moved)])
