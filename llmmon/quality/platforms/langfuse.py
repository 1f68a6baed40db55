"""Langfuse: scores through its ingestion API, in batches (https://api.reference.langfuse.com, `POST /ingestion`)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from llmmon.http_client import Reply
from llmmon.quality.platforms import Feedback, Target, key_of, place_of

_CREATED: Final = 201


class Langfuse:
    """Scores of observations; of traces where the log has no trace beside the call's id."""

    name = "langfuse"
    call = "observation or trace"
    at_once = 500  # about 200 KB of the 3.5 MB that a batch may have

    def target(self, row: Mapping[str, Any]) -> Target | None:
        """The observation of a row, or its trace."""
        call, trace = row.get("request_id"), row.get("trace")
        if call:
            return Target(call, trace)
        return Target(trace) if trace else None

    def body(self, scores: list[tuple[Target, Feedback]]) -> bytes:
        """A batch of `score-create` events."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events = [
            {"id": str(uuid.uuid4()), "type": "score-create", "timestamp": now, "body": _body(*score)}
            for score in scores
        ]
        return orjson.dumps({"batch": events})

    def address(self, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """LANGFUSE_BASE_URL or LANGFUSE_HOST, with the project's two keys."""
        public = key_of(environment, "LANGFUSE_PUBLIC_KEY", platform=self.name)
        secret = key_of(environment, "LANGFUSE_SECRET_KEY", platform=self.name)
        place = place_of(environment, "LANGFUSE_BASE_URL", "LANGFUSE_HOST", default="https://cloud.langfuse.com")
        basic = base64.b64encode(f"{public}:{secret}".encode()).decode()
        headers = {"authorization": f"Basic {basic}", "content-type": "application/json"}
        return f"{place}/api/public/ingestion", headers

    def refused(self, reply: Reply) -> int:
        """The events that a reply with status 207 lists as errors."""
        try:
            errors = orjson.loads(reply.body).get("errors") or []
        except (orjson.JSONDecodeError, AttributeError):
            return 0
        return len([each for each in errors if each.get("status") != _CREATED])


def _body(target: Target, feedback: Feedback) -> dict[str, Any]:
    where = (
        {"traceId": target.call} if target.trace is None else {"traceId": target.trace, "observationId": target.call}
    )
    return {
        "id": target.id_of(feedback),
        **where,
        "name": feedback.name,
        "value": 1 if feedback.flag else feedback.score,
        "dataType": "BOOLEAN" if feedback.flag else "NUMERIC",
        **({"comment": feedback.comment} if feedback.comment else {}),
    }


LANGFUSE: Final = Langfuse()
