"""The Responses API, from the server's side. https://platform.openai.com/docs/api-reference/responses"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from llmproxy.fakes.conversation import (
    Asked,
    Behaviour,
    Media,
    Recorded,
    Refused,
    Script,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    joined,
    media_at,
    media_of,
    named,
)
from llmproxy.fakes.openai.chat_answers import CREATED
from llmproxy.fakes.openai.chat_checks import TOOL_NAME, check_strict, refusal
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, as_json, check_model, split, sse

RESPONSE_ID = "resp_fake"
OUTPUT_TOKENS_MIN = 16
STORED = "resp_stored"  # The one response that a fake remembers, for `previous_response_id`.

# -- requests


class InputText(Struct, frozen=True, tag_field="type", tag="input_text", forbid_unknown_fields=True):
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class InputImage(Struct, frozen=True, tag_field="type", tag="input_image", forbid_unknown_fields=True):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None


class InputFile(Struct, frozen=True, tag_field="type", tag="input_file", forbid_unknown_fields=True):
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: str | None = None


class InputAudio(Struct, frozen=True, tag_field="type", tag="input_audio"):
    input_audio: dict[str, str]


class OutputText(Struct, frozen=True, tag_field="type", tag="output_text"):
    text: str
    annotations: list[dict[str, Any]] = []
    logprobs: list[Any] | None = None


class OutputRefusal(Struct, frozen=True, tag_field="type", tag="refusal"):
    refusal: str


class Message(Struct, frozen=True, tag_field="type", tag="message", forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText | InputImage | InputFile | InputAudio | OutputText | OutputRefusal]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class Call(Struct, frozen=True, tag_field="type", tag="function_call", forbid_unknown_fields=True):
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    namespace: str | None = None
    caller: dict[str, Any] | None = None


class CallOutput(Struct, frozen=True, tag_field="type", tag="function_call_output", forbid_unknown_fields=True):
    call_id: str
    output: str | list[InputText | InputImage | InputFile]
    id: str | None = None
    status: str | None = None
    caller: dict[str, Any] | None = None


class SummaryText(Struct, frozen=True, tag_field="type", tag="summary_text"):
    text: str


class ReasoningText(Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    text: str


class Reasoning(Struct, frozen=True, tag_field="type", tag="reasoning", forbid_unknown_fields=True):
    id: str
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: str | None = None


class ItemReference(Struct, frozen=True, tag_field="type", tag="item_reference"):
    id: str


Item = Message | Call | CallOutput | Reasoning | ItemReference


class FunctionTool(Struct, frozen=True, tag_field="type", tag="function"):
    """Flat, unlike chat's."""

    name: str
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class NamedChoice(Struct, frozen=True, tag_field="type", tag="function"):
    name: str


class TextFormat(Struct, frozen=True, tag_field="type", tag="text"):
    pass


class JsonFormat(Struct, frozen=True, tag_field="type", tag="json_object"):
    pass


class SchemaFormat(Struct, frozen=True, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Struct, frozen=True, forbid_unknown_fields=True):
    format: TextFormat | JsonFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Struct, frozen=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: str | None = None


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    input: str | list[dict[str, Any]] = ""
    access_programs: Any = None
    background: bool | None = None
    background_options: Any = None
    context_management: Any = None
    conversation: str | dict[str, Any] | None = None
    image: Any = None
    include: list[str] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] | None = None
    moderation: Any = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    reasoning: ReasoningConfig | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, bool] | None = None
    temperature: float | None = None
    text: TextConfig | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | None = None
    tools: list[FunctionTool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None


class Items(Struct, frozen=True):
    input: list[Item]


class Responses:
    """`/responses` of one vendor."""

    stream_type = "text/event-stream"

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.keep_alive = b": keep-alive\n\n"

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        try:
            request = fit(
                recorded.json, Request, ignore_unknown=self.variant.ignores_unknown or not behaviour.strict_fields
            )
            items = items_of(request)
        except Misfit as misfit:
            raise refusal(misfit, 400) from None
        check_model(request.model, behaviour, f"The requested model '{request.model}' does not exist.")
        check(request)
        check_items(items, known=request.previous_response_id == STORED)
        form = request.text.format if request.text else None
        choice = request.tool_choice or "auto"
        return Asked(
            model=request.model,
            stream=bool(request.stream),
            turns=named(joined([*instructed(request), *(turn_of(item) for item in items)])),
            tools=tuple(Tool(one.name, one.parameters or {}) for one in request.tools or []),
            tool_choice=choice.name if isinstance(choice, NamedChoice) else choice,
            is_parallel=request.parallel_tool_calls is not False,
            json_schema=form.schema if isinstance(form, SchemaFormat) else None,
            json_mode=isinstance(form, JsonFormat),
            reasoning=bool(request.reasoning and request.reasoning.effort not in (None, "none")),
            extra={"request": recorded.json, "summary": bool(request.reasoning and request.reasoning.summary)},
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json(response(script, asked, "completed", output_of(script, asked)))

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        return [event(one, number) for number, one in enumerate(events_of(script, asked))]

    def end(self, script: Script, asked: Asked) -> bytes:
        done = {
            "type": "response.completed",
            "response": response(script, asked, "completed", output_of(script, asked)),
        }
        return event(done, sum(1 for _ in events_of(script, asked)))

    def error_event(self, message: str) -> bytes:
        error = {"code": "server_error", "message": message}
        failed = {"id": RESPONSE_ID, "object": "response", "created_at": CREATED, "status": "failed", "error": error}
        rest: dict[str, Any] = {
            "model": "fake", "output": [], "incomplete_details": None, "instructions": None, "metadata": {}, "tools": [],
            "tool_choice": "auto", "parallel_tool_calls": True, "temperature": None, "top_p": None,
        }  # fmt: skip
        return event({"type": "response.failed", "response": {**failed, **rest}}, 1000)


def items_of(request: Request) -> list[Item]:
    """An item that says nothing of its type is a message."""
    if isinstance(request.input, str):
        return [Message(role="user", content=request.input)] if request.input else []
    return fit({"input": [{"type": "message", **item} for item in request.input]}, Items).input


def check(request: Request) -> None:
    def refuse(param: str, says: str, code: str = "invalid_value") -> Refused:
        return Refused(says, 400, param, code)

    if not request.input and not request.prompt and not request.previous_response_id and not request.conversation:
        raise refuse("input", "Missing required parameter: 'input'.", "missing_required_parameter")
    if request.max_output_tokens is not None and request.max_output_tokens < OUTPUT_TOKENS_MIN:
        raise refuse(
            "max_output_tokens",
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {OUTPUT_TOKENS_MIN}.",
            "integer_below_min_value",
        )
    if request.previous_response_id is not None:
        if request.conversation is not None:
            raise refuse(
                "conversation",
                "'previous_response_id' and 'conversation' are mutually exclusive.",
                "mutually_exclusive_parameters",
            )
        if request.previous_response_id not in (STORED, RESPONSE_ID):
            says = f"Previous response with id '{request.previous_response_id}' not found."
            raise refuse("previous_response_id", says, "previous_response_not_found")
    if request.stream_options is not None and not request.stream:
        raise refuse("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise refuse("temperature", "Invalid 'temperature': must be between 0 and 2.", "decimal_out_of_range")
    for index, tool in enumerate(request.tools or []):
        if not TOOL_NAME.fullmatch(tool.name):
            raise refuse(f"tools[{index}].name", f"Invalid 'tools[{index}].name': string does not match pattern.")
        if tool.strict is not False and tool.strict is not None:
            check_strict(tool.parameters or {}, f"function '{tool.name}'", f"tools[{index}].parameters")
    if isinstance(request.tool_choice, NamedChoice) and request.tool_choice.name not in [
        one.name for one in request.tools or []
    ]:
        raise refuse(
            "tool_choice", f"Tool choice 'function' not found in 'tools' parameter: {request.tool_choice.name}"
        )
    form = request.text.format if request.text else None
    if isinstance(form, SchemaFormat) and form.strict:
        check_strict(form.schema, f"response_format '{form.name}'", "text.format.schema")


def check_items(items: list[Item], *, known: bool) -> None:
    """Every output has its call, every call its output, each once. `known`: earlier items may be in the stored response."""
    called: set[str] = set()
    answered: set[str] = set()
    for index, item in enumerate(items):
        match item:
            case Message():
                check_parts(item, index)
            case Call():
                if item.call_id in called:
                    raise Refused(f"Duplicate item found with id {item.call_id}.", 400, f"input[{index}]")
                called.add(item.call_id)
            case CallOutput():
                if item.call_id not in called and not known:
                    raise Refused(
                        f"No tool call found for function call output with call_id {item.call_id}.", 400, "input"
                    )
                answered.add(item.call_id)
            case ItemReference():
                raise Refused(f"Item with id '{item.id}' not found.", 404, "input")
    if missing := sorted(called - answered):
        raise Refused(f"No tool output found for function call {missing[0]}.", 400, "input")


def check_parts(message: Message, index: int) -> None:
    """What the assistant said is output; what the others said is input."""
    if isinstance(message.content, str):
        return
    for number, part in enumerate(message.content):
        is_output = isinstance(part, OutputText | OutputRefusal)
        if is_output != (message.role == "assistant"):
            allowed = (
                "'output_text' and 'refusal'"
                if message.role == "assistant"
                else "'input_text', 'input_image', and 'input_file'"
            )
            at = f"input[{index}].content[{number}]"
            says = f"Invalid value: '{type(part).__struct_config__.tag}'. Supported values are: {allowed}."
            raise Refused(says, 400, at, "invalid_value")


def instructed(request: Request) -> list[Turn]:
    return [Turn("system", request.instructions)] if request.instructions else []


def turn_of(item: Item) -> Turn:
    match item:
        case Call():
            return Turn("assistant", calls=(ToolUse(item.call_id, item.name, as_object(item.arguments)),))
        case CallOutput():
            return Turn(
                "user", results=(ToolResult(item.call_id, "", text_in(item.output)),), media=media_in(item.output)
            )
        case Message(role="assistant"):
            return Turn("assistant", text_in(item.content))
        case Message(role="user"):
            return Turn("user", text_in(item.content), media=media_in(item.content))
        case Message():
            return Turn("system", text_in(item.content))
    return Turn("assistant")


def as_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def text_in(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content if isinstance(part, InputText | OutputText))


def media_in(content: str | list[Any]) -> tuple[Media, ...]:
    found: list[Media] = []
    for part in [] if isinstance(content, str) else content:
        match part:
            case InputImage(image_url=str(url)):
                found.append(media_at(url))
            case InputFile(file_data=str(data)):
                found.append(media_at(data))
            case InputAudio():
                found.append(media_of(f"audio/{part.input_audio.get('format', '')}", part.input_audio.get("data", "")))
    return tuple(found)


# -- answers


def output_of(script: Script, asked: Asked) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    if script.reasoning:
        summary = [{"type": "summary_text", "text": script.reasoning}] if asked.extra["summary"] else []
        output.append({"id": "rs_fake", "type": "reasoning", "summary": summary, **encrypted(asked)})
    for number, pieces in enumerate(script.texts or ([] if script.calls else [()])):
        content = [{"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}]
        name = f"msg_fake_{number}" if number else "msg_fake"
        output.append({"id": name, "type": "message", "status": "completed", "role": "assistant", "content": content})
    return output + [call_item(call, json.dumps(call.arguments), "completed") for call in script.calls]


def encrypted(asked: Asked) -> dict[str, Any]:
    wanted = "reasoning.encrypted_content" in (asked.extra["request"].get("include") or [])
    return {"encrypted_content": "c2VhbGVk"} if wanted else {}


def call_item(call: ToolUse, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id}", "type": "function_call", "status": status, "call_id": call.id, "name": call.name,
        "arguments": arguments,
    }  # fmt: skip


def response(script: Script, asked: Asked, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    request: Mapping[str, Any] = asked.extra["request"]
    effort = request.get("reasoning") or {}
    incomplete = script.finish if status == "completed" else ""
    return {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if incomplete else status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": script.model,
        "output": output,
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": effort.get("effort"), "summary": effort.get("summary")},
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "truncation": request.get("truncation") or "disabled",
        "usage": usage_of(script) if status == "completed" else None,
        "user": request.get("user"),
        "metadata": request.get("metadata") or {},
    }


def usage_of(script: Script) -> dict[str, Any]:
    return {
        "input_tokens": script.input_tokens,
        "input_tokens_details": {"cached_tokens": script.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": script.output_tokens,
        "output_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        "total_tokens": script.input_tokens + script.output_tokens,
    }


def events_of(script: Script, asked: Asked) -> Iterator[dict[str, Any]]:
    """Everything but the last one."""
    begun = response(script, asked, "in_progress", [])
    texts = iter(script.texts)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(output_of(script, asked)):
        at = {"output_index": index}
        match item["type"]:
            case "reasoning":
                yield {"type": "response.output_item.added", **at, "item": {**item, "summary": []}}
                yield from summary_events(item, at)
            case "message":
                empty = {**item, "status": "in_progress", "content": []}
                yield {"type": "response.output_item.added", **at, "item": empty}
                yield from text_events(item, at, next(texts, ()))
            case "function_call":
                yield {
                    "type": "response.output_item.added",
                    **at,
                    "item": {**item, "status": "in_progress", "arguments": ""},
                }
                of = {"item_id": item["id"], **at}
                for piece in split(item["arguments"]):
                    yield {"type": "response.function_call_arguments.delta", **of, "delta": piece}
                yield {
                    "type": "response.function_call_arguments.done", **of, "name": item["name"], "arguments": item["arguments"],
                }  # fmt: skip
        yield {"type": "response.output_item.done", **at, "item": item}


def summary_events(item: dict[str, Any], at: dict[str, int]) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(item["summary"]):
        of = {"item_id": item["id"], **at, "summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", **of, "part": {**part, "text": ""}}
        for piece in split(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **of, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **of, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **of, "part": part}


def text_events(item: dict[str, Any], at: dict[str, int], pieces: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    of = {"item_id": item["id"], **at, "content_index": 0}
    yield {"type": "response.content_part.added", **of, "part": {**part, "text": ""}}
    for piece in pieces:
        yield {"type": "response.output_text.delta", **of, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **of, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **of, "part": part}


def event(value: dict[str, Any], number: int) -> bytes:
    return sse({"type": value["type"], "sequence_number": number, **value}, value["type"])
