"""Safety: credentials, personal data, and recitation of the system prompt; never a bare keyword."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmmon.scorers.corpus import Lexicon
from llmmon.scorers.findings import Finding, strongest
from llmmon.scorers.personal_data import find_personal_data
from llmmon.scorers.prompt_echo import find_echo, system_part
from llmmon.scorers.secrets import find_secrets
from llmmon.scorers.texts import Batch

# Enormous outputs are searched in their two ends only, so that the time is bounded.
_END: Final = 200_000


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Finding]]:  # noqa: ARG001  # the one interface
    """secret, personal_data and prompt_echo of each output."""
    systems = map(system_part, batch.prompts, batch.column("systems"))
    return {
        "secret": [
            find_secrets(text, pieces) if len(text) <= 2 * _END else _searched(find_secrets, text)
            for text, pieces in zip(batch.outputs, batch.output_pieces, strict=True)
        ],
        "personal_data": [_searched(find_personal_data, text) for text in batch.outputs],
        "prompt_echo": [find_echo(text, system) for text, system in zip(batch.outputs, systems, strict=True)],
    }


def _searched(find: Callable[[str], Finding], text: str) -> Finding:
    if len(text) <= 2 * _END:
        return find(text)
    tail = find(text[-_END:])
    moved = tuple((start + len(text) - _END, end + len(text) - _END) for start, end in tail.spans)
    return strongest([find(text[:_END]), tail._replace(spans=moved)])
