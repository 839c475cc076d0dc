"""Chat completions, from the server's side. https://platform.openai.com/docs/api-reference/chat"""

import json
import re
from typing import Any

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
from llmproxy.fakes.openai.chat_answers import (
    CREATED,
    PROMPT_FILTER,
    choices,
    filtered,
    finish_of,
    head,
    message_of,
    sources,
    usage_of,
    with_messages,
)
from llmproxy.fakes.openai.chat_checks import check, check_fields, check_messages, refusal, thinks
from llmproxy.fakes.openai.chat_request import (
    Assistant,
    AudioPart,
    Developer,
    FilePart,
    FunctionCall,
    ImagePart,
    JsonForm,
    Message,
    NamedTool,
    Request,
    SchemaForm,
    System,
    ToolMessage,
    text_in,
)
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, as_json, check_model, sse


class Chat:
    """`/chat/completions` of one vendor."""

    stream_type = "text/event-stream"

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.keep_alive = variant.keep_alive

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        variant = self.variant
        body = recorded.json
        if not isinstance(body, dict):
            raise Refused("We could not parse the JSON body of your request.")
        check_fields(body, variant, behaviour)
        try:
            request = fit(body, Request, ignore_unknown=True)
        except Misfit as misfit:
            raise refusal(misfit, variant.unknown_status) from None
        check_model(
            request.model, behaviour, f"The model `{request.model}` does not exist or you do not have access to it."
        )
        if variant.model_pattern and not re.search(variant.model_pattern, request.model):
            raise Refused(f"Unable to access model {request.model}.", 404, "model", "model_not_available")
        check(request, body, variant)
        check_messages(request, variant)
        form, choice = request.response_format, request.tool_choice or "auto"
        return Asked(
            model=request.model,
            stream=bool(request.stream),
            turns=turns_of(request.messages),
            tools=tuple(Tool(one.function.name, one.function.parameters or {}) for one in request.tools or []),
            tool_choice=choice.function.name
            if isinstance(choice, NamedTool)
            else {"any": "required"}.get(choice, choice),
            is_parallel=request.parallel_tool_calls is not False,
            json_schema=form.json_schema.schema if isinstance(form, SchemaForm) else None,
            json_mode=isinstance(form, JsonForm),
            reasoning=thinks(request, variant),
            choices=request.n or 1,
            extra={"include_usage": bool(request.stream_options and request.stream_options.include_usage)},
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        variant = self.variant
        finish = finish_of(script)
        choices = [
            {
                "index": index,
                "message": message_of(script.of(index), variant),
                "logprobs": None,
                "finish_reason": finish,
                **filtered(variant),
            }
            for index in range(script.choices)
        ]
        reply = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": CREATED,
            "model": script.model,
            "choices": choices,
            "usage": usage_of(script, variant),
            "system_fingerprint": "fp_fake",
            **({"service_tier": "default"} if variant.name == "openai" else {}),
            **sources(variant),
            **({"prompt_filter_results": PROMPT_FILTER} if variant.filters else {}),
        }
        body = as_json(reply)
        return Body(variant.before_answer + body.data)

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        variant = self.variant
        include = asked.extra["include_usage"]
        nothing: dict[str, Any] = {"usage": None} if include else {}
        chunks: list[dict[str, Any]] = []
        if variant.filters:
            chunks.append({**head(script), "model": "", "choices": [], "prompt_filter_results": PROMPT_FILTER})
        for index in range(script.choices):
            chunks += [
                {**head(script), "choices": [choice], **nothing} for choice in choices(script.of(index), index, variant)
            ]
        if variant.whole_messages:
            chunks = with_messages(chunks, script, variant)
        usage = usage_of(script, variant)
        if variant.x_groq:
            chunks[-1]["x_groq"] = {"id": "req_fake", "usage": usage}
        if variant.usage_with_finish:
            chunks[-1]["usage"] = usage
        elif include or variant.usage_unasked:
            chunks.append({**head(script), "choices": [], "usage": usage})
        return [sse(chunk, newline=variant.newline) for chunk in chunks]

    def end(self, script: Script, asked: Asked) -> bytes:
        return f"data: [DONE]{self.variant.newline * 2}".encode() if self.variant.done else b""

    def error_event(self, message: str) -> bytes:
        if self.variant.error_in_choice:
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
            error = {"code": 502, "message": message}
            return sse({"id": "gen-fake", "object": "chat.completion.chunk", "error": error, "choices": [choice]})
        return sse({"error": {"message": message, "type": "server_error", "param": None, "code": None}})


def turns_of(messages: list[Message]) -> tuple[Turn, ...]:
    return named(joined([turn_of(message) for message in messages]))


def turn_of(message: Message) -> Turn:
    text = text_in(message.content)
    if isinstance(message, System | Developer):
        return Turn("system", text)
    if isinstance(message, Assistant):
        calls = (ToolUse(one.id, one.function.name, arguments_of(one)) for one in message.tool_calls or [])
        return Turn("assistant", text, tuple(calls))
    media = (
        tuple(found for part in message.content if (found := medium(part)) is not None)
        if not isinstance(message.content, str)
        else ()
    )
    if isinstance(message, ToolMessage):
        return Turn("user", results=(ToolResult(message.tool_call_id, "", text),), media=media)
    return Turn("user", text, media=media)


def arguments_of(call: FunctionCall) -> dict[str, Any]:
    try:
        found = json.loads(call.function.arguments or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def medium(part: Any) -> Media | None:
    match part:
        case ImagePart():
            return media_at(part.image_url.url)
        case AudioPart():
            return media_of(f"audio/{part.input_audio.format}", part.input_audio.data)
        case FilePart() if part.file.file_data:
            return media_at(part.file.file_data)
    return None
