"""Samples that lm-evaluation-harness logs: what was asked, and what was answered."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

LM_EVAL: Final = Dialect(
    name="lm_eval",
    title="lm-evaluation-harness samples",
    marks=marks("doc_id doc arguments resps filtered_resps"),
    bindings=bind(
        request_id="doc_id",
        prompt=("arguments.gen_args_0.arg_0", "arguments.0.0", "arguments.0.arg_0"),
        output=("resps.0.0:plain", "filtered_resps.0:plain"),  # of choices that were only weighed there are pairs
        expected="target",
    ),
    lacks="no time, model, tokens or latency: texts to score",
)
