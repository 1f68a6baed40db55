"""Azure: OpenAI diagnostics, API Management's gateway log and its log of language models."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import body_row, object_in

AZURE_OPENAI: Final = Dialect(
    name="azure_openai",
    title="Azure OpenAI diagnostics",
    marks=marks("category=RequestResponse resourceId"),
    bindings=bind(
        request_id="correlationId",
        start=("properties.requestTime:ticks", "time"),
        end="properties.responseTime:ticks",
        latency="durationMs:ms",
        model=("properties.modelName", "properties.modelDeploymentName"),
        model_requested="properties.modelDeploymentName",
        operation="operationName",
        outcome="resultSignature",
        user="properties.objectId",
    ),
    naive="UTC",
    tags_at=(("properties",),),
    lacks="no tokens, no texts",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        properties = object_in(found, "properties")
        body, asked = _body(properties, "ResponseBody"), object_in(properties, _name(properties, "RequestBody"))
        row = body_row(body) | {
            "request_id": found.get("correlationId"),
            "start": found.get("time"),
            "latency:ms": found.get("durationMs"),
            "model_requested": asked.get("model"),
            "operation": properties.get("operationId") or found.get("operationName"),
            "success": found.get("isRequestSuccess"),
            "status_code": properties.get("responseCode", properties.get("backendResponseCode")),
            "prompt": asked.get("messages"),
            "tags": (properties, found),
        }
        row.pop("start:s", None)  # the provider's own time, to the second
        return [row]

    return calls


def _name(properties: Object, kind: str) -> str:
    """`backendRequestBody`, or `requestBody` where that is not logged."""
    backend = f"backend{kind}"
    return backend if properties.get(backend) else kind[0].lower() + kind[1:]


def _body(properties: Object, kind: str) -> Any:
    return properties.get(_name(properties, kind))


AZURE_APIM_GATEWAY: Final = Dialect(
    name="azure_apim_gateway",
    title="Azure API Management gateway log",
    marks=marks("category isRequestSuccess resourceId"),
    open=_open,
    naive="UTC",
    lacks="tokens and model only where bodies are logged",
)
# a long message is split over rows of one CorrelationId, and the tokens stand in the first
AZURE_APIM_LLM: Final = Dialect(
    name="azure_apim_llm",
    title="Azure API Management log of language models",
    marks=marks("Type=ApiManagementGatewayLlmLog", "PromptTokens CompletionTokens CorrelationId"),
    bindings=bind(
        request_id=("CorrelationId", "RequestId"),
        start="TimeGenerated",
        model=("ModelName", "DeploymentName"),
        model_requested="DeploymentName",
        prompt_tokens="PromptTokens",
        completion_tokens="CompletionTokens",
        total_tokens="TotalTokens",
        prompt="RequestMessages",
        output="ResponseMessages",
    ),
    repeats=True,
    naive="UTC",
    lacks="no latency, no outcome (both are in the gateway log, under the same CorrelationId)",
)
