"""Sessions of Gemini CLI (one JSON document, or a line for each message) and of Qwen Code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row, Step, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of
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
        self._folder: Any = None  # a hash of it in most versions

    def __call__(self, found: Object) -> list[Row]:
        if isinstance(found.get("sessionId"), str):
            self._session, self._folder = found["sessionId"], found.get("projectHash")
        listed = found.get("messages")
        messages = listed if isinstance(listed, list) else [found]
        return [self._row(message) for message in messages if _is_answer(message)]

    def _row(self, message: Object) -> Row:
        shared = {"provider": "google", "session": self._session, "folder": self._folder, "success": True}
        return row_of(_MESSAGE, message) | shared | {CALL_KEY: f"{self._session}:{message.get('id')}"}


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("type") == "gemini" and isinstance(message.get("tokens"), dict)


class _Steps:
    """The tool calls that stand in a message, with their results; a message is written again when it grows."""

    def __init__(self) -> None:
        self._session: Any = None

    def __call__(self, found: Object) -> Iterator[Step]:
        if isinstance(found.get("sessionId"), str):
            self._session = found["sessionId"]
        listed = found.get("messages")
        for message in listed if isinstance(listed, list) else [found]:
            for call in objects_in_list(message.get("toolCalls") if isinstance(message, dict) else None):
                yield self._step(message, call)

    def _step(self, message: Object, call: Object) -> Step:
        result = [
            object_in(object_in(part, "functionResponse"), "response") for part in objects_in_list(call.get("result"))
        ]
        status = call.get("status")
        over = status in ("success", "error", "cancelled")
        return Step(
            id=call.get("id"),
            tool=call.get("name"),
            session=self._session,
            call=message.get("id"),
            start=message.get("timestamp"),
            end=call.get("timestamp"),
            arguments=call.get("args"),
            result=(result[0] if len(result) == 1 else result) if result else "" if over else None,
            failed=status != "success" if over else None,
        )


def objects_in_list(listed: Any) -> list[Object]:
    """The objects in a list, none where it is no list."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _qwen_steps(found: Object) -> Iterator[Step]:
    """`functionCall` parts of answers, and `functionResponse` parts of the results that follow."""
    place: dict[str, Any] = {"session": found.get("sessionId")}
    status = object_in(found, "toolCallResult").get("status")
    for part in objects_in_list(object_in(found, "message").get("parts")):
        call, response = part.get("functionCall"), part.get("functionResponse")
        if isinstance(call, dict):
            yield Step(
                id=call.get("id"),
                tool=call.get("name"),
                call=found.get("uuid"),
                start=found.get("timestamp"),
                arguments=call.get("args"),
                **place,
            )
        elif isinstance(response, dict):
            yield Step(
                id=response.get("id"),
                tool=response.get("name"),
                end=found.get("timestamp"),
                result=response.get("response", ""),
                failed=status != "success" if isinstance(status, str) else None,
                **place,
            )


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
    steps=_Steps,
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
            folder="cwd",
            output="message.parts",
            success="type:present",
        ),
        *GEMINI_USAGE,
    ),
    nests=True,
    steps=lambda: _qwen_steps,
    lacks="no latency; times are when the answer was written",
)
