"""A fake Cohere, v2: chat, embed, rerank. https://docs.cohere.com/reference/chat"""

import json
from typing import Any, Literal

from msgspec import Struct

from llmproxy.fakes.conversation import (
    KEY,
    Asked,
    Behaviour,
    Recorded,
    Refused,
    Script,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    joined,
    media_at,
    named,
)
from llmproxy.fakes.openai.plain import ranking, vector
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, bearer, check_model, split, sse

DOCUMENTS_MAX = 1000
TEXTS_MAX = 96
STOPS_MAX = 5

# -- requests


class Text(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ThinkingPart(Struct, frozen=True, tag_field="type", tag="thinking"):
    thinking: str


class ImageUrl(Struct, frozen=True):
    url: str
    detail: str | None = None


class Image(Struct, frozen=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class Data(Struct, frozen=True):
    data: dict[str, Any]
    id: str | None = None


class Document(Struct, frozen=True, tag_field="type", tag="document"):
    document: Data


class Function(Struct, frozen=True):
    name: str
    arguments: str


class Call(Struct, frozen=True):
    id: str
    function: Function
    type: Literal["function"] = "function"


class System(Struct, frozen=True, tag_field="role", tag="system", forbid_unknown_fields=True):
    content: str | list[Text]


class User(Struct, frozen=True, tag_field="role", tag="user", forbid_unknown_fields=True):
    content: str | list[Text | Image]


class Assistant(Struct, frozen=True, tag_field="role", tag="assistant", forbid_unknown_fields=True):
    content: str | list[Text | ThinkingPart] | None = None
    tool_calls: list[Call] | None = None
    tool_plan: str | None = None
    citations: list[dict[str, Any]] | None = None


class ToolMessage(Struct, frozen=True, tag_field="role", tag="tool", forbid_unknown_fields=True):
    tool_call_id: str
    content: str | list[Text | Document]


Message = System | User | Assistant | ToolMessage


class FunctionTool(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any]
    description: str | None = None


class OneTool(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: FunctionTool


class Form(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object"]
    json_schema: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None


class Thinking(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["enabled", "disabled"]
    token_budget: int | None = None


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    messages: list[Message]
    stream: bool | None = None
    tools: list[OneTool] | None = None
    strict_tools: bool | None = None
    documents: list[Any] | None = None
    citation_options: dict[str, Any] | None = None
    response_format: Form | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF", "NONE"] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    thinking: Thinking | None = None
    priority: int | None = None
    raw_prompting: bool | None = None


def read(recorded: Recorded, kind: type[Any], behaviour: Behaviour) -> Any:
    try:
        return fit(recorded.json, kind, ignore_unknown=not behaviour.strict_fields)
    except Misfit as misfit:
        if misfit.unknown:
            raise Refused(f"unknown field: parameter '{misfit.param}' is not a valid field", 422) from None
        raise Refused(f"invalid request: {misfit.param}: {misfit.what}") from None


def check(request: Request) -> None:
    for name, least, most in (
        ("temperature", 0, 1),
        ("frequency_penalty", 0, 1),
        ("presence_penalty", 0, 1),
        ("p", 0.01, 0.99),
        ("k", 0, 500),
    ):
        value = getattr(request, name)
        if value is not None and not least <= value <= most:
            raise Refused(f"invalid request: {name} must be between {least} and {most} inclusive.")
    if len(request.stop_sequences or []) > STOPS_MAX:
        raise Refused(f"invalid request: stop_sequences must have at most {STOPS_MAX} elements.")
    names = [tool.function.name for tool in request.tools or []]
    if request.tool_choice is not None and not names:
        raise Refused("invalid request: tool_choice requires tools.")
    if request.response_format is not None and request.response_format.type == "json_object" and names:
        raise Refused("invalid request: response_format and tools cannot be used together.")
    check_messages(request.messages)


def check_messages(messages: list[Message]) -> None:
    if not messages:
        raise Refused("invalid request: messages must have at least one element.")
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                raise Refused(
                    f"invalid request: cannot find tool call id {message.tool_call_id} in the previous messages."
                )
            waiting.discard(message.tool_call_id)
            continue
        if waiting:
            raise Refused(
                f"invalid request: messages[{index}]: missing tool results for tool call ids {sorted(waiting)}."
            )
        if isinstance(message, Assistant):
            ids = [call.id for call in message.tool_calls or []]
            if len(set(ids)) != len(ids):
                raise Refused(f"invalid request: messages[{index}]: tool call ids must be unique.")
            if not message.content and not ids:
                raise Refused(f"invalid request: messages[{index}]: must have content or tool_calls.")
            waiting = set(ids)
        elif not message.content:
            raise Refused(f"invalid request: messages[{index}]: content must not be empty.")
    if waiting:
        raise Refused(f"invalid request: missing tool results for tool call ids {sorted(waiting)}.")
    if isinstance(messages[-1], Assistant):
        raise Refused("invalid request: last message must have role user or tool.")


def turns_of(messages: list[Message]) -> tuple[Turn, ...]:
    return named(joined([turn_of(message) for message in messages]))


def turn_of(message: Message) -> Turn:
    text = text_in(message.content)
    match message:
        case System():
            return Turn("system", text)
        case Assistant():
            calls = (
                ToolUse(one.id, one.function.name, json.loads(one.function.arguments or "{}"))
                for one in message.tool_calls or []
            )
            return Turn("assistant", text or message.tool_plan or "", tuple(calls))
        case ToolMessage():
            return Turn("user", results=(ToolResult(message.tool_call_id, "", text),))
    images = (
        [part for part in message.content if isinstance(part, Image)] if not isinstance(message.content, str) else []
    )
    return Turn("user", text, media=tuple(media_at(one.image_url.url) for one in images))


def text_in(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    texts = [part.text for part in content if isinstance(part, Text)]
    texts += [
        str(part.document.data.get("text") or json.dumps(part.document.data))
        for part in content
        if isinstance(part, Document)
    ]
    return " ".join(texts)


# -- answers


class Chat:
    stream_type = "text/event-stream"
    keep_alive = b""

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request: Request = read(recorded, Request, behaviour)
        check_model(
            request.model,
            behaviour,
            f"model '{request.model}' not found, make sure the correct model ID was used and that you have access to the model.",
        )
        check(request)
        form = request.response_format
        return Asked(
            model=request.model,
            stream=bool(request.stream),
            turns=turns_of(request.messages),
            tools=tuple(Tool(tool.function.name, tool.function.parameters) for tool in request.tools or []),
            tool_choice={"REQUIRED": "required", "NONE": "none"}.get(request.tool_choice or "", "auto"),
            json_schema=(form.json_schema or form.schema) if form else None,
            json_mode=bool(form and form.type == "json_object"),
            reasoning=request.thinking is not None and request.thinking.type == "enabled",
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        message: dict[str, Any] = {"role": "assistant"}
        content = [{"type": "thinking", "thinking": script.reasoning}] if script.reasoning else []
        if script.text and not script.calls:
            content.append({"type": "text", "text": script.text})
        if content:
            message["content"] = content
        if script.calls:
            message["tool_plan"] = script.text  # What is said before tools are called stands apart.
            message["tool_calls"] = [call_of(call, json.dumps(call.arguments)) for call in script.calls]
        return as_json(
            {"id": "fake", "message": message, "finish_reason": finish_of(script), "usage": usage_of(script)}
        )

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found: list[dict[str, Any]] = [{"type": "message-start", "id": "fake", "delta": {"message": message_head()}}]
        index = 0
        for kind, pieces in (
            ("thinking", split(script.reasoning)),
            ("text", [] if script.calls else list(script.pieces)),
        ):
            if not pieces:
                continue
            found.append(
                {"type": "content-start", "index": index, "delta": {"message": {"content": {"type": kind, kind: ""}}}}
            )
            found += [
                {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: one}}}}
                for one in pieces
            ]
            found.append({"type": "content-end", "index": index})
            index += 1
        if script.calls:
            found += [{"type": "tool-plan-delta", "delta": {"message": {"tool_plan": one}}} for one in script.pieces]
        for number, call in enumerate(script.calls):
            at = {"index": number}
            found.append({"type": "tool-call-start", **at, "delta": {"message": {"tool_calls": call_of(call, "")}}})
            for piece in split(json.dumps(call.arguments)):
                found.append(
                    {
                        "type": "tool-call-delta",
                        **at,
                        "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}},
                    }
                )
            found.append({"type": "tool-call-end", **at})
        return [event(one) for one in found]

    def end(self, script: Script, asked: Asked) -> bytes:
        """Both: the typed end, and since 2025 OpenAI's."""
        end = event({"type": "message-end", "delta": {"finish_reason": finish_of(script), "usage": usage_of(script)}})
        return end + b"data: [DONE]\n\n"

    def error_event(self, message: str) -> bytes:
        return event({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}})


def message_head() -> dict[str, Any]:
    return {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}


def call_of(call: ToolUse, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def finish_of(script: Script) -> str:
    return script.finish or ("TOOL_CALL" if script.calls else "COMPLETE")


def usage_of(script: Script) -> dict[str, Any]:
    """`tokens` is what the model read and wrote; `billed_units` leaves out what the vendor adds itself."""
    counts = {"input_tokens": script.input_tokens, "output_tokens": script.output_tokens}
    return {"billed_units": counts, "tokens": counts, "cached_tokens": script.cached_tokens}


def event(value: dict[str, Any]) -> bytes:
    return sse(value, value["type"])


class EmbedRequest(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    input_type: Literal["search_document", "search_query", "classification", "clustering", "image"]
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    output_dimension: int | None = None
    embedding_types: list[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]] | None = None
    truncate: Literal["NONE", "START", "END"] | None = None
    priority: int | None = None


class Embed(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, EmbedRequest, behaviour)
        check_model(request.model, behaviour, f"model '{request.model}' not found")
        if not request.texts and not request.inputs and not request.images:
            raise Refused("invalid request: one of texts, images or inputs must be given.")
        if len(request.texts or []) > TEXTS_MAX:
            raise Refused(f"invalid request: too many texts, at most {TEXTS_MAX} are allowed.")
        texts = request.texts or [json.dumps(one) for one in request.inputs or request.images or []]
        return Asked(request.model, inputs=tuple(texts), extra={"size": request.output_dimension or 8})

    def answer(self, script: Script, asked: Asked) -> Body:
        vectors = [vector(text, asked.extra["size"]) for text in asked.inputs]
        meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": script.input_tokens}}
        return as_json({"id": "fake", "embeddings": {"float": vectors}, "texts": list(asked.inputs), "meta": meta})


class RerankRequest(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None


class Rerank(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, RerankRequest, behaviour)
        check_model(request.model, behaviour, f"model '{request.model}' not found")
        if not request.query or not request.documents:
            raise Refused("invalid request: query and documents must not be empty.")
        if len(request.documents) > DOCUMENTS_MAX:
            raise Refused(f"invalid request: at most {DOCUMENTS_MAX} documents.")
        extra = {"query": request.query, "top": request.top_n or len(request.documents)}
        return Asked(request.model, inputs=tuple(request.documents), extra=extra)

    def answer(self, script: Script, asked: Asked) -> Body:
        best = ranking(asked.extra["query"], asked.inputs)[: asked.extra["top"]]
        results = [{"index": index, "relevance_score": score} for index, score in best]
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return as_json({"id": "fake", "results": results, "meta": meta})


class Models(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return Asked(inputs=behaviour.models or ("command-a-03-2025",))

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json({"models": [{"name": name, "endpoints": ["chat"]} for name in asked.inputs]})


class Cohere:
    name = "cohere"
    key = KEY
    base = ""
    overloaded = 503
    call_id = "call_{:08d}"

    def __init__(self) -> None:
        self.operations: dict[tuple[str, str], Operation] = {
            ("POST", "/v2/chat"): Chat(),
            ("POST", "/v2/embed"): Embed(),
            ("POST", "/v2/rerank"): Rerank(),
            ("POST", "/v1/rerank"): Rerank(),
            ("GET", "/v1/models"): Models(),
        }

    def operation(self, method: str, path: str) -> Operation | None:
        return self.operations.get((method, path))

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return bearer(recorded.headers) == key

    def error(self, refused: Refused) -> dict[str, Any]:
        message = "invalid api token" if refused.status == 401 else refused.message
        return {"id": "fake", "message": message}


COHERE = Cohere()
