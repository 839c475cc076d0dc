"""A fake Anthropic: the Messages API. https://docs.anthropic.com/en/api/messages"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from upstreams.script import KEY, Asked, Behaviour, Recorded, Refused, Script, known, plain, walk

# The current version has no sampling fields, so the SDK's types have none; the first version has them.
FIRST_VERSION = "2023-06-01"
VERSIONS = (FIRST_VERSION, "2026-10-21")
SAMPLING = frozenset({"temperature", "top_p", "top_k"})


@cache
def request_type() -> tuple[TypeAdapter[Any], TypeAdapter[Any], frozenset[str]]:
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming

    names = frozenset(get_type_hints(MessageCreateParamsStreaming))
    return TypeAdapter(MessageCreateParamsNonStreaming), TypeAdapter(MessageCreateParamsStreaming), names


def validate(body: Mapping[str, Any], version: str, behaviour: Behaviour) -> None:
    whole, streamed, names = request_type()
    known(body, names | SAMPLING if version == FIRST_VERSION else names, behaviour)
    try:
        walk((streamed if body.get("stream") else whole).validate_python(body))
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from None


def check(body: Mapping[str, Any]) -> None:
    """Rules of the reference that types cannot say."""
    if not body["messages"]:
        raise Refused("messages: at least one message is required")
    if body["messages"][0]["role"] != "user":
        raise Refused('messages: first message must use the "user" role')
    for name in SAMPLING - {"top_k"}:
        if not 0 <= body.get(name, 0) <= 1:
            raise Refused(f"{name}: range: 0..1")
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`")
    for block in body.get("system") or []:
        if isinstance(block, Mapping):
            check_text(block, "system")
    used: set[str] = set()
    for index, message in enumerate(body["messages"]):
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        if not blocks:
            raise Refused(f"messages.{index}: all messages must have non-empty content")
        for block in blocks:
            check_text(block, f"messages.{index}")
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if used - answered:
            raise Refused(f"messages.{index}: `tool_use` ids were found without `tool_result` blocks")
        if answered - used:
            raise Refused(f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks")
        used = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if used and not body.get("tools"):
            raise Refused("Requests which include `tool_use` blocks must define tools")


def check_text(block: Mapping[str, Any], at: str) -> None:
    if block["type"] == "text" and not block["text"].strip():
        raise Refused(f"{at}: text content blocks must contain non-whitespace text")


class Anthropic:
    name = "anthropic"
    key = KEY
    stream_type = "text/event-stream; charset=utf-8"
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def route(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/messages"

    def credential(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        version = recorded.headers.get("anthropic-version", "")
        if version not in VERSIONS:
            raise Refused("anthropic-version: header is required")
        body = recorded.json
        validate(body, version, behaviour)
        check(body)
        users = [message["content"] for message in body["messages"] if message["role"] == "user"]
        last = users[-1] if users else ""
        choice = body.get("tool_choice") or {"type": "auto"}
        form = (body.get("output_config") or {}).get("format") or {}
        return Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            said=plain(last),
            tools=tuple((tool["name"], tool["input_schema"]) for tool in body.get("tools") or []),
            tool_choice={"any": "required"}.get(choice["type"], choice.get("name", choice["type"])),
            is_tool_result=not isinstance(last, str) and any(block["type"] == "tool_result" for block in last),
            json_schema=form.get("schema"),
            json_mode="JSON object" in plain(body.get("system")),
            reasoning=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
        )

    def answer(self, script: Script) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        if script.reasoning:
            content.append({"type": "thinking", "thinking": script.reasoning, "signature": "c2lnbmF0dXJl"})
        if script.text:
            content.append({"type": "text", "text": script.text})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in script.calls
        ]
        return {**message(script), "content": content, "stop_reason": finish_of(script)}

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found = [event({"type": "message_start", "message": message(script)})]
        for index, (block, deltas) in enumerate(blocks(script)):
            found.append(event({"type": "content_block_start", "index": index, "content_block": block}))
            found += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
            found.append(event({"type": "content_block_stop", "index": index}))
        delta = {"stop_reason": finish_of(script), "stop_sequence": None}
        found.append(event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": script.output_tokens}}))
        return found

    def end(self, script: Script) -> bytes:
        return event({"type": "message_stop"})

    def error(self, status: int, message: str, param: str = "") -> dict[str, Any]:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            402: "billing_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            504: "timeout_error",
            529: "overloaded_error",
        }
        error = {"type": kinds.get(status, "api_error"), "message": message}
        return {"type": "error", "error": error, "request_id": "req_fake"}

    def error_event(self, message: str) -> bytes:
        return event({"type": "error", "error": {"type": "overloaded_error", "message": message}})


def blocks(script: Script) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block as it opens, with its deltas."""
    if script.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": word} for word in pieces(script.reasoning)]
        signed = [*deltas, {"type": "signature_delta", "signature": "c2lnbmF0dXJl"}]
        yield {"type": "thinking", "thinking": "", "signature": ""}, signed
    if script.text:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in script.pieces]
    for call in script.calls:
        arguments = ["", *pieces(json.dumps(call.arguments))] if call.arguments else [""]
        opened = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        yield opened, [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]


def pieces(text: str) -> list[str]:
    return [text[at : at + 6] for at in range(0, len(text), 6)]


def message(script: Script) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": script.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": script.input_tokens - script.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": script.cached_tokens,
            "output_tokens": script.output_tokens,
        },
    }


def finish_of(script: Script) -> str:
    return script.finish or ("tool_use" if script.calls else "end_turn")


def event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


ANTHROPIC = Anthropic()
