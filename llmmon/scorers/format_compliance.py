"""Format compliance: the JSON, and every other format, that the prompt or the schema asks for."""

from __future__ import annotations

from llmmon.scorers.constraints import judge_constraints
from llmmon.scorers.corpus import Lexicon
from llmmon.scorers.findings import UNKNOWN, Finding
from llmmon.scorers.json_answers import judge_json
from llmmon.scorers.texts import Batch


def score(batch: Batch, lexicon: Lexicon) -> dict[str, list[Finding]]:  # noqa: ARG001  # the one interface
    """invalid_json and format_broken of each output; unknown where no format is asked for."""
    pairs = list(zip(batch.prompts, batch.outputs, strict=True))
    schemas = batch.schemas()
    return {
        "invalid_json": [judge_json(*pair, schema) for pair, schema in zip(pairs, schemas, strict=True)],
        "format_broken": [judge_constraints(prompt, text) if prompt else UNKNOWN for prompt, text in pairs],
    }
