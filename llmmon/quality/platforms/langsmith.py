"""LangSmith: feedback on runs, one a request (https://docs.langchain.com/langsmith/smith-api, `POST /feedback`)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmmon.http_client import Reply
from llmmon.quality.platforms import Feedback, Target, key_of, place_of


class LangSmith:
    """Feedback on the run whose id is the call's."""

    name = "langsmith"
    call = "run"
    at_once = 1

    def target(self, row: Mapping[str, Any]) -> Target | None:
        """The run of a row: an UUID."""
        run, trace = _uuid(row.get("request_id")), _uuid(row.get("trace"))
        return None if run is None else Target(run, trace)

    def body(self, scores: list[tuple[Target, Feedback]]) -> bytes:
        """One feedback."""
        ((target, feedback),) = scores
        return orjson.dumps(
            {
                "id": target.id_of(feedback),
                "run_id": target.call,
                **({"trace_id": target.trace} if target.trace else {}),
                "key": feedback.name,
                "score": 1 if feedback.flag else feedback.score,
                **({"comment": feedback.comment} if feedback.comment else {}),
                "feedback_source": {"type": "model" if feedback.judged else "api", "metadata": {"tool": "llmmon"}},
            }
        )

    def address(self, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """LANGSMITH_ENDPOINT (or LANGCHAIN_ENDPOINT), with the API key."""
        key = key_of(environment, "LANGSMITH_API_KEY", "LANGCHAIN_API_KEY", platform=self.name)
        default = "https://api.smith.langchain.com"
        place = place_of(environment, "LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT", default=default)
        workspace = environment.get("LANGSMITH_WORKSPACE_ID", "").strip()
        tenant = {"x-tenant-id": workspace} if workspace else {}
        return f"{place}/feedback", {"x-api-key": key, "content-type": "application/json", **tenant}

    def refused(self, reply: Reply) -> int:  # noqa: ARG002 - what is wrong has a status of its own
        """None: a reply with success is for the one score that was sent."""
        return 0


def _uuid(value: Any) -> str | None:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


LANGSMITH: Final = LangSmith()
