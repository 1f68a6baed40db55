"""Open WebUI: exported chats, each with its messages by id; usage as OpenAI or Ollama names it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of

_MESSAGE: Final = bind(
    request_id="id",
    end="timestamp:s",
    model="model",
    prompt_tokens=("usage.prompt_tokens", "usage.input_tokens", "usage.prompt_eval_count", "info.prompt_eval_count"),
    completion_tokens=("usage.completion_tokens", "usage.output_tokens", "usage.eval_count", "info.eval_count"),
    cached_tokens="usage.prompt_tokens_details.cached_tokens",
    reasoning_tokens="usage.completion_tokens_details.reasoning_tokens",
    latency=("usage.total_duration:ns", "info.total_duration:ns"),
    error_message=("error.content", "error"),
    output="content:filled",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        return list(_rows(found))

    return calls


def _rows(found: Object) -> Iterator[Row]:
    chat = object_in(found, "chat")
    history = object_in(chat, "history").get("messages")
    messages: dict[Any, Any] = history if isinstance(history, dict) else {}
    listed = chat.get("messages") if not messages else None
    for message in (listed if isinstance(listed, list) else []) or messages.values():
        if isinstance(message, dict) and message.get("role") == "assistant" and message.get("model"):
            asked = messages.get(message.get("parentId"))
            row = row_of(_MESSAGE, message) | {"session": found.get("id"), "user": found.get("user_id")}
            row |= {"failed": True} if message.get("error") else {"success": True}
            yield row | {"prompt": asked.get("content")} if isinstance(asked, dict) else row


OPEN_WEBUI: Final = Dialect(
    name="open_webui",
    title="Open WebUI chat exports",
    marks=marks("chat user_id title", "chat user_id updated_at"),
    open=_open,
    lacks="latency but for Ollama's models; calls that give chats a title or tags",
)
