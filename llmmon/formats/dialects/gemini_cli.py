"""Sessions of Gemini CLI (one JSON document, or a line for each message) and of Qwen Code."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import row_of
from llmmon.formats.dialects.google import GEMINI_USAGE
from llmmon.formats.mapping import CALL_KEY

# thoughts are beside the answer, what tools add is beside the prompt
_MESSAGE: Final = bind(
    request_id="id",
    end="timestamp",
    model="model",
    prompt_tokens="tokens.input",
    input_tool_tokens="tokens.tool:exclusive",
    completion_tokens="tokens.output:exclusive",
    reasoning_tokens="tokens.thoughts",
    cached_tokens="tokens.cached",
    total_tokens="tokens.total",
    output="content",
)


class _Session:
    """Lines belong to the session of the last header; a message is written again when it grows."""

    def __init__(self) -> None:
        self._session: Any = None

    def __call__(self, found: Object) -> list[Row]:
        if isinstance(found.get("sessionId"), str):
            self._session = found["sessionId"]
        listed = found.get("messages")
        messages = listed if isinstance(listed, list) else [found]
        return [self._row(message) for message in messages if _is_answer(message)]

    def _row(self, message: Object) -> Row:
        shared = {"provider": "google", "session": self._session, "success": True}
        return row_of(_MESSAGE, message) | shared | {CALL_KEY: f"{self._session}:{message.get('id')}"}


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("type") == "gemini" and isinstance(message.get("tokens"), dict)


GEMINI_CLI: Final = Dialect(
    name="gemini_cli",
    title="Gemini CLI sessions",
    marks=marks(
        "sessionId projectHash startTime",
        "sessionId messages startTime",
        "id timestamp type=gemini",
        "$set",
        "$rewindTo",
    ),
    open=_Session,
    splittable=False,
    repeats=True,
    lacks="no latency; times are when the answer was written",
)
QWEN_CODE: Final = Dialect(
    name="qwen_code",
    title="Qwen Code sessions",
    marks=marks("uuid sessionId timestamp type=assistant usageMetadata", "uuid sessionId timestamp type message/parts"),
    only=marks("type=assistant usageMetadata/promptTokenCount")[0],
    bindings=(
        *bind(
            call_key="uuid",
            request_id="uuid",
            end="timestamp",
            model="model",
            session="sessionId",
            output="message.parts",
            success="type:present",
        ),
        *GEMINI_USAGE,
    ),
    nests=True,
    lacks="no latency; times are when the answer was written",
)
