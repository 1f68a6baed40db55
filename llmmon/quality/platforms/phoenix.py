"""Phoenix and what else takes OpenInference annotations of spans (https://arize.com/docs/phoenix)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmmon.http_client import Reply
from llmmon.quality.platforms import PREFIX, Feedback, Target, key_of, place_of

_SPAN: Final = 16  # hexadecimal digits
_HEX: Final = frozenset("0123456789abcdef")


class Phoenix:
    """Annotations of the span that is the call."""

    name = "phoenix"
    call = "span"
    at_once = 200

    def target(self, row: Mapping[str, Any]) -> Target | None:
        """The span of a row, as 16 hexadecimal digits."""
        return next((Target(span) for name in ("span", "request_id") if (span := _span(row.get(name)))), None)

    def body(self, scores: list[tuple[Target, Feedback]]) -> bytes:
        """Annotations; `identifier` lets a later score of the same name take its place."""
        return orjson.dumps({"data": [_annotation(*score) for score in scores]})

    def address(self, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """PHOENIX_COLLECTOR_ENDPOINT or PHOENIX_HOST, with the API key where there is one."""
        place = place_of(environment, "PHOENIX_COLLECTOR_ENDPOINT", "PHOENIX_HOST", default="http://localhost:6006")
        place = place.removesuffix("/v1/traces")
        needs_key = "phoenix.arize.com" in place
        key = environment.get("PHOENIX_API_KEY", "").strip()
        key = key_of(environment, "PHOENIX_API_KEY", platform=self.name) if needs_key else key
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        return f"{place}/v1/span_annotations?sync=true", {"content-type": "application/json", **bearer}

    def refused(self, reply: Reply) -> int:  # noqa: ARG002 - a request is accepted as a whole
        """None: a span that is not there fails the whole request."""
        return 0


def _span(value: Any) -> str | None:
    text = value.lower() if isinstance(value, str) else ""
    return text if len(text) == _SPAN and _HEX.issuperset(text) else None


def _annotation(target: Target, feedback: Feedback) -> dict[str, Any]:
    label = {"label": feedback.name.removeprefix(PREFIX)} if feedback.flag else {}
    return {
        "span_id": target.call,
        "name": feedback.name,
        "annotator_kind": "LLM" if feedback.judged else "CODE",
        "result": {
            "score": feedback.score,
            **label,
            **({"explanation": feedback.comment} if feedback.comment else {}),
        },
        "identifier": "llmmon",
    }


PHOENIX: Final = Phoenix()
