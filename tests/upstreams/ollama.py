"""A fake Ollama: its own chat API. https://github.com/ollama/ollama/blob/main/docs/api.md"""

import binascii
import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from upstreams.script import Asked, Behaviour, Recorded, Refused, Script, known

CREATED_AT = "2024-01-01T00:00:00.000000Z"


def validate(body: Mapping[str, Any], behaviour: Behaviour) -> None:
    from ollama._types import ChatRequest, Message, Options

    known(body, ChatRequest.model_fields, behaviour)
    try:
        ChatRequest.model_validate(body)
        for message in body.get("messages") or []:
            images = [{"value": image} for image in message.get("images") or []]  # The SDK's wrapper of the same.
            Message.model_validate({**message, "images": images})
            if unknown := sorted(message.keys() - Message.model_fields.keys()):
                raise Refused(f"unknown field of a message: {unknown[0]}")
            for image in message.get("images") or []:
                b64decode(image, validate=True)
        if not body.get("messages"):
            raise Refused("messages: at least one is required")  # The real one loads the model and says nothing.
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(
            f"json: cannot unmarshal {'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
        ) from None
    except binascii.Error:
        raise Refused("illegal base64 data at input byte 0") from None
    if unknown := sorted((body.get("options") or {}).keys() - Options.model_fields.keys()):
        raise Refused(f"invalid option provided: {unknown[0]}")


class Ollama:
    name = "ollama"
    key = ""
    stream_type = "application/x-ndjson"
    keep_alive = b""  # It has none.

    def route(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/api/chat"

    def credential(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        body = recorded.json
        validate(body, behaviour)
        users = [message for message in body["messages"] if message["role"] == "user"]
        form = body.get("format")
        return Asked(
            model=body["model"],
            stream=body.get("stream", True) is not False,
            said=users[-1].get("content") or "" if users else "",
            tools=tuple((tool["function"]["name"], tool["function"]["parameters"]) for tool in body.get("tools") or []),
            is_tool_result=body["messages"][-1]["role"] == "tool",
            json_schema=form if isinstance(form, dict) else None,
            json_mode=form == "json",
            reasoning=bool(body.get("think")),
        )

    def answer(self, script: Script) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": script.text}
        if script.reasoning:
            message["thinking"] = script.reasoning
        if script.calls:
            message["tool_calls"] = calls(script)
        return {**line(script, message), **done(script)}

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found: list[dict[str, Any]] = []
        if script.reasoning:
            found.append({"role": "assistant", "content": "", "thinking": script.reasoning})
        found += [{"role": "assistant", "content": piece} for piece in script.pieces]
        found += [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls(script)]
        return [encode(line(script, message)) for message in found]

    def end(self, script: Script) -> bytes:
        return encode({**line(script, {"role": "assistant", "content": ""}), **done(script)})

    def error(self, status: int, message: str, param: str = "") -> dict[str, Any]:
        return {"error": message}

    def error_event(self, message: str) -> bytes:
        return encode({"error": message})


def calls(script: Script) -> list[dict[str, Any]]:
    return [{"function": {"name": call.name, "arguments": call.arguments}} for call in script.calls]


def line(script: Script, message: dict[str, Any]) -> dict[str, Any]:
    return {"model": script.model, "created_at": CREATED_AT, "message": message, "done": False}


def done(script: Script) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": script.finish or "stop",
        "total_duration": 1000,
        "load_duration": 10,
        "prompt_eval_count": script.input_tokens,
        "prompt_eval_duration": 100,
        "eval_count": script.output_tokens,
        "eval_duration": 500,
    }


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


OLLAMA = Ollama()
