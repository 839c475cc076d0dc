"""A fake OpenAI: chat completions. https://platform.openai.com/docs/api-reference/chat"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from upstreams.script import KEY, Asked, Behaviour, Recorded, Refused, Script, known, plain, walk


@cache
def request_type() -> tuple[TypeAdapter[Any], TypeAdapter[Any], frozenset[str]]:
    from openai.types.chat.completion_create_params import (
        CompletionCreateParamsNonStreaming,
        CompletionCreateParamsStreaming,
    )

    names = frozenset(get_type_hints(CompletionCreateParamsStreaming))
    return TypeAdapter(CompletionCreateParamsNonStreaming), TypeAdapter(CompletionCreateParamsStreaming), names


def validate(body: Mapping[str, Any], behaviour: Behaviour) -> None:
    whole, streamed, names = request_type()
    known(body, names, behaviour)
    try:
        walk((streamed if body.get("stream") else whole).validate_python(body))
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(step) for step in first["loc"])
        raise Refused(f"Invalid type for '{param}': {first['msg']}", param=param) from None


def check_order(messages: list[dict[str, Any]]) -> None:
    """Every tool call is answered right after the message that made it."""
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message "
                    "with 'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            waiting.discard(message["tool_call_id"])
        elif waiting:
            raise Refused(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                "'tool_call_id'.",
                param=f"messages.[{index}].role",
            )
        else:
            waiting = {call["id"] for call in message.get("tool_calls") or []}


class OpenAI:
    name = "openai"
    key = KEY
    stream_type = "text/event-stream"
    keep_alive = b": keep-alive\n\n"

    def route(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/chat/completions"

    def credential(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        body = recorded.json
        validate(body, behaviour)
        check_order(body["messages"])
        users = [message for message in body["messages"] if message["role"] == "user"]
        form = body.get("response_format") or {}
        choice = body.get("tool_choice") or "auto"
        return Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            said=plain(users[-1]["content"]) if users else "",
            tools=tuple(
                (tool["function"]["name"], tool["function"].get("parameters") or {}) for tool in body.get("tools") or []
            ),
            tool_choice=choice if isinstance(choice, str) else choice["function"]["name"],
            is_tool_result=body["messages"][-1]["role"] == "tool",
            json_schema=form["json_schema"].get("schema") if form.get("type") == "json_schema" else None,
            json_mode=form.get("type") == "json_object",
            reasoning=body.get("reasoning_effort") not in (None, "none"),
            choices=body.get("n") or 1,
            extra={"include_usage": bool((body.get("stream_options") or {}).get("include_usage"))},
        )

    def answer(self, script: Script) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": script.text or None, "refusal": None}
        if script.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in script.calls
            ]
        elif message["content"] is None:
            message["content"] = ""
        return {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1700000000,
            "model": script.model,
            "choices": [
                {"index": index, "message": message, "logprobs": None, "finish_reason": finish_of(script)}
                for index in range(script.choices)
            ],
            "usage": usage_of(script),
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        usage = {"usage": None} if asked.extra["include_usage"] else {}
        found = [
            event({**head(script), "choices": [choice], **usage})
            for index in range(script.choices)
            for choice in choices(script, index)
        ]
        if usage:
            found.append(event({**head(script), "choices": [], "usage": usage_of(script)}))
        return found

    def end(self, script: Script) -> bytes:
        return b"data: [DONE]\n\n"

    def error(self, status: int, message: str, param: str = "") -> dict[str, Any]:
        kinds = {
            400: ("invalid_request_error", None),
            401: ("invalid_request_error", "invalid_api_key"),
            404: ("invalid_request_error", "model_not_found"),
            429: ("requests", "rate_limit_exceeded"),
        }
        kind, code = kinds.get(status, ("server_error", None))
        return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}

    def error_event(self, message: str) -> bytes:
        return event({"error": {"message": message, "type": "server_error", "param": None, "code": None}})


def choices(script: Script, index: int) -> Iterator[dict[str, Any]]:
    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

    yield choice({"role": "assistant", "content": None if script.calls else "", "refusal": None})
    for piece in script.pieces:
        yield choice({"content": piece})
    for number, call in enumerate(script.calls):
        opened = {"index": number, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield choice({"tool_calls": [opened]})
        arguments = json.dumps(call.arguments)
        for at in range(0, len(arguments), 6):
            yield choice({"tool_calls": [{"index": number, "function": {"arguments": arguments[at : at + 6]}}]})
    yield choice({}, finish_of(script))


def head(script: Script) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": script.model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def finish_of(script: Script) -> str:
    return script.finish or ("tool_calls" if script.calls else "stop")


def usage_of(script: Script) -> dict[str, Any]:
    return {
        "prompt_tokens": script.input_tokens,
        "completion_tokens": script.output_tokens,
        "total_tokens": script.input_tokens + script.output_tokens,
        "prompt_tokens_details": {"cached_tokens": script.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens, "audio_tokens": 0},
    }


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


OPENAI = OpenAI()
