"""Events of GitHub Copilot CLI's sessions: when a session ends, it says what each model was used for."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of

# the cache is inside the input
_USAGE: Final = bind(
    prompt_tokens="usage.inputTokens",
    completion_tokens="usage.outputTokens",
    cached_tokens="usage.cacheReadTokens",
    cache_write_tokens="usage.cacheWriteTokens",
    reasoning_tokens="usage.reasoningTokens",
)


class _Session:
    """The session that the lines are of."""

    def __init__(self) -> None:
        self._session: Any = None

    def __call__(self, found: Object) -> list[Row]:
        data = object_in(found, "data")
        if found.get("type") == "session.start":
            self._session = data.get("sessionId")
        if found.get("type") != "session.shutdown":
            return []
        metrics = object_in(data, "modelMetrics")
        return [self._row(found, model, used) for model, used in metrics.items() if isinstance(used, dict)]

    def _row(self, found: Object, model: str, used: Object) -> Row:
        shared = {"model": model, "end": found.get("timestamp"), "session": self._session, "success": True}
        return row_of(_USAGE, used) | shared


COPILOT_CLI: Final = Dialect(
    name="copilot_cli",
    title="Copilot CLI sessions",
    marks=marks("type data id timestamp parentId"),
    proof=lambda found: isinstance(found["type"], str) and "." in found["type"] and isinstance(found["data"], dict),
    open=_Session,
    splittable=False,
    lacks="single calls: one row is what a model was used for in a session",
)
