"""A fake Gemini API: generateContent. https://ai.google.dev/api/generate-content"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from upstreams.script import KEY, Asked, Behaviour, Recorded, Refused, Script, known

PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)")


@cache
def request_types() -> dict[str, TypeAdapter[Any]]:
    """The fields of a GenerateContentRequest by the SDK's types; those forbid unknown fields at every depth."""
    from google.genai import types

    return {
        "contents": TypeAdapter(list[types.Content]),
        "systemInstruction": TypeAdapter(types.Content),
        "tools": TypeAdapter(list[types.Tool]),
        "toolConfig": TypeAdapter(types.ToolConfig),
        "generationConfig": TypeAdapter(types.GenerationConfig),
        "safetySettings": TypeAdapter(list[types.SafetySetting]),
        "cachedContent": TypeAdapter(str),
    }


def validate(body: Mapping[str, Any], behaviour: Behaviour) -> None:
    known(body, request_types(), behaviour)
    for name, value in body.items():
        if name in request_types():
            try:
                request_types()[name].validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(step) for step in (name, *first["loc"]))
                raise Refused(f"Invalid JSON payload received. {first['msg']} at '{where}'") from None


def check(contents: list[dict[str, Any]]) -> None:
    if not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified")
    called = 0
    for index, content in enumerate(contents):
        if not content.get("parts"):
            raise Refused(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.")
        if content.get("role") not in ("user", "model"):
            raise Refused("Please use a valid role: user, model.")
        answered = sum("functionResponse" in part for part in content["parts"])
        if answered != called and (answered or called):
            raise Refused(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        called = sum("functionCall" in part for part in content["parts"])


class Google:
    name = "google"
    key = KEY
    stream_type = "text/event-stream"
    keep_alive = b"\r\n"

    def route(self, method: str, path: str) -> bool:
        return method == "POST" and PATH.fullmatch(path) is not None

    def credential(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "")

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        found = PATH.fullmatch(recorded.path)
        assert found is not None
        stream = found[2] == "streamGenerateContent"
        if stream and "alt=sse" not in recorded.query:
            raise Refused("this fake streams only with alt=sse")
        body = recorded.json
        validate(body, behaviour)
        contents = body.get("contents") or []
        check(contents)
        last: list[dict[str, Any]] = next(
            (content["parts"] for content in reversed(contents) if content["role"] == "user"), []
        )
        config = body.get("generationConfig") or {}
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        allowed = calling.get("allowedFunctionNames")
        modes = {"ANY": "required", "NONE": "none"}
        return Asked(
            model=found[1],
            stream=stream,
            said=" ".join(part["text"] for part in last if "text" in part),
            tools=tuple(
                (one["name"], one.get("parametersJsonSchema") or {})
                for tool in body.get("tools") or []
                for one in tool.get("functionDeclarations") or []
            ),
            tool_choice=allowed[0] if allowed else modes.get(calling.get("mode", "AUTO"), "auto"),
            is_tool_result=any("functionResponse" in part for part in last),
            json_schema=config.get("responseJsonSchema"),
            json_mode=config.get("responseMimeType") == "application/json",
            reasoning=bool((config.get("thinkingConfig") or {}).get("includeThoughts")),
            choices=config.get("candidateCount") or 1,
        )

    def answer(self, script: Script) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if script.reasoning:
            parts.append({"text": script.reasoning, "thought": True})
        if script.text:
            parts.append({"text": script.text})
        parts += calls(script)
        return reply(script, parts, finish_of(script))

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found = [event(reply(script, [{"text": script.reasoning, "thought": True}]))] if script.reasoning else []
        found += [event(reply(script, [{"text": piece}])) for piece in script.pieces]
        found += [event(reply(script, [call])) for call in calls(script)]
        return [*found, event(reply(script, [{"text": ""}], finish_of(script)))]

    def end(self, script: Script) -> bytes:
        return b""

    def error(self, status: int, message: str, param: str = "") -> dict[str, Any]:
        names = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
            504: "DEADLINE_EXCEEDED",
        }
        return {"error": {"code": status, "message": message, "status": names.get(status, "INTERNAL")}}

    def error_event(self, message: str) -> bytes:
        return event(self.error(503, message))


def calls(script: Script) -> list[dict[str, Any]]:
    """Only the first of parallel calls is signed."""
    found: list[dict[str, Any]] = [
        {"functionCall": {"name": call.name, "args": call.arguments}} for call in script.calls
    ]
    if found:
        found[0]["thoughtSignature"] = "c2lnbmF0dXJl"
    return found


def reply(script: Script, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    ended = {"finishReason": finish} if finish else {}
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, **ended, "index": index} for index in range(script.choices)
        ],
        "usageMetadata": {
            "promptTokenCount": script.input_tokens,
            "cachedContentTokenCount": script.cached_tokens,
            "candidatesTokenCount": script.output_tokens - script.reasoning_tokens,
            "thoughtsTokenCount": script.reasoning_tokens,
            "totalTokenCount": script.input_tokens + script.output_tokens,
        },
        "modelVersion": script.model,
        "responseId": "fake",
    }


def finish_of(script: Script) -> str:
    return script.finish or "STOP"


def event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\r\n\r\n".encode()


GOOGLE = Google()
